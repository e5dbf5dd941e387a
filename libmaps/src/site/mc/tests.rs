//! Readable cases: `testdata/site/*.case` hold a `.mc` file, and below it the lines that the model and the findings must show.

use std::path::Path;

use super::*;
use crate::site::show;

fn machine() -> Machine {
    Machine {
        name: "host.example.org".to_owned(),
        aliases: vec!["host".to_owned()],
        own: Vec::new(),
        interfaces: vec!["127.0.0.1".parse().unwrap()],
    }
}

/// Everything about a text that a case may name, a line each.
fn lines(text: &[u8]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let files = root.path().join("etc/mail");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(
        files.join("local-host-names"),
        "# ours\none.example two.example\nthree.example\n",
    )
    .unwrap();
    std::fs::write(files.join("relay-domains"), "relay.example # comment\n").unwrap();
    std::fs::write(files.join("loop.m4"), "include(`loop.m4')").unwrap();
    std::fs::write(
        files.join("site.m4"),
        "define(`SMART_HOST', `included.example')dnl\n",
    )
    .unwrap();
    let path = files.join("sendmail.mc");
    let read = read(Some(root.path()), &path, text.to_vec(), &machine());
    let prefix = format!("{}/", files.display());
    let mut lines: Vec<String> = read
        .diagnostics
        .iter()
        .map(|d| d.to_string().replace(&prefix, ""))
        .collect();
    for section in show::sections(&read.site) {
        for (name, value) in section.lines {
            lines.push(format!("{}: {name}: {value}", section.title));
        }
    }
    lines
}

/// `=` the line is there; `~` a line with this in it is there; `!` no line has this in it.
#[test]
fn cases_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/site/cases");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for case in text.split("\n==== ") {
            let (title, case) = case.split_once('\n').unwrap();
            let (mc, expected) = case
                .split_once("\n----\n")
                .unwrap_or_else(|| panic!("{title}: no ----"));
            let found = lines(mc.as_bytes());
            for want in expected.lines().filter(|l| !l.is_empty()) {
                let (mark, want) = want.split_at(2);
                let holds = match mark {
                    "= " => found.iter().any(|line| line == want),
                    "~ " => found.iter().any(|line| line.contains(want)),
                    "! " => !found.iter().any(|line| line.contains(want)),
                    _ => panic!("{}: {title}: {mark}{want}", path.display()),
                };
                if !holds {
                    failures.push(format!(
                        "{title}\n    expected {mark}{want}\n    found\n      {}",
                        found.join("\n      ")
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        parts in proptest::collection::vec("(FEATURE|MAILER|define|DAEMON_OPTIONS|LOCAL_CONFIG|LOCAL_RULESETS|OSTYPE|include|divert|EXPOSED_USER|dnl|`|'|\\(|\\)|,|[a-zA-Z=:;<>$@*-]{1,6}|access_db|dnsbl|O |D|C|F|K|M|S|R|\n| ){1}", 0..60)
    ) {
        lines(parts.concat().as_bytes());
    }
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic(
        damage in proptest::collection::vec((proptest::prelude::any::<u16>(), 0usize..40, "[`'(),$a-z\n]{0,3}"), 1..6)
    ) {
        let mut text = include_bytes!("../../../../testdata/site/mc/everything.mc").to_vec();
        for (at, octets, instead) in damage {
            let at = usize::from(at) % text.len().max(1);
            let end = text.len().min(at + octets);
            text.splice(at..end, instead.bytes());
        }
        let read = read(Some(Path::new("/nonexistent")), Path::new("damaged.mc"), text, &machine());
        let _ = show::json(&read.site);
    }
}

#[test]
fn the_addresses_of_the_name_are_ours_whatever_is_asked_of_interfaces() {
    let mut machine = machine();
    machine.own = vec!["127.0.0.2".parse().unwrap()];
    machine.interfaces.push("192.0.2.1".parse().unwrap());
    for (probe, loopback, other) in [
        ("True", false, false),
        ("loopback", false, true),
        ("False", true, true),
    ] {
        let text = format!("define(`confDONT_PROBE_INTERFACES', `{probe}')dnl\n");
        let path = Path::new("/etc/mail/sendmail.mc");
        let site = read(None, path, text.into_bytes(), &machine).site;
        let has = |literal: &str| site.classes.local_hosts.contains(literal.as_bytes());
        assert!(has("[127.0.0.2]"), "{probe}");
        assert_eq!(has("[127.0.0.1]"), loopback, "{probe}");
        assert_eq!(has("[192.0.2.1]"), other, "{probe}");
    }
}
