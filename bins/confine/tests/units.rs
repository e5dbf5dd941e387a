//! The units of the service manager: they load, and their exposure is "OK" or better.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The most that `systemd-analyze security` calls "OK", in tenths.
const OK: &str = "49";

fn analyze(args: &[&str], unit: &Path) -> Option<(bool, String)> {
    let run = Command::new("systemd-analyze")
        .args(args)
        .arg(unit)
        .output();
    let output = run.ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// The units, below `bins`, and the programs that they start.
const UNITS: &[(&str, &str)] = &[
    ("smtpd/systemd/smtpd.service", "/usr/sbin/smtpd"),
    ("saslauthd/systemd/saslauthd.service", "/usr/sbin/saslauthd"),
    ("tools/systemd/mapctl-serve.service", "/usr/sbin/mapctl"),
    ("tools/systemd/mapctl-follow.service", "/usr/sbin/mapctl"),
];

fn text_of(file: &str) -> String {
    let bins = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(bins.join(file)).unwrap()
}

/// The words of all lines that set this.
fn words_of(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let lines = lines.filter(|(name, _)| *name == key);
    lines
        .flat_map(|(_, value)| value.split_whitespace().map(str::to_owned))
        .collect()
}

/// Without it a follower can't publish what it fetched, and maps stay as they are.
#[test]
fn whoever_follows_shared_maps_may_write_their_replicas() {
    for file in [
        "smtpd/systemd/smtpd.service",
        "tools/systemd/mapctl-follow.service",
    ] {
        let unit = text_of(file);
        // Replicas stand beside the connection files, or where mapremote(5) says that they do.
        assert_eq!(words_of(&unit, "ReadWritePaths"), ["-/etc/mail"], "{file}");
        assert_eq!(words_of(&unit, "StateDirectory"), ["mailmaps"], "{file}");
    }
    let page = text_of("../man/mapremote.5");
    assert!(page.contains("replica /var/lib/mailmaps/sasldb2.db"));
}

/// Conflicts= stops the other unit: nobody's mail server ends because a tool is started.
#[test]
fn no_tool_stops_a_server() {
    for (file, _) in UNITS.iter().filter(|(file, _)| file.starts_with("tools/")) {
        assert_eq!(words_of(&text_of(file), "Conflicts"), [""; 0], "{file}");
    }
}

#[test]
fn a_follower_does_not_start_beside_smtpd_which_has_one() {
    let unit = text_of("tools/systemd/mapctl-follow.service");
    let condition = unit
        .lines()
        .find_map(|l| l.strip_prefix("ExecCondition=+/bin/sh -c '"));
    let condition = condition.unwrap().strip_suffix('\'').unwrap();
    for (state, starts) in [(0, false), (3, true), (4, true)] {
        // As systemctl(1) answers `is-active`: 0 where it is, 3 where not, 4 where there is no such unit.
        let text = format!(
            "systemctl() {{ [ \"$*\" = '-q is-active smtpd' ] && return {state}; }}\n{condition}"
        );
        let status = Command::new("/bin/sh").args(["-c", &text]).status();
        assert_eq!(status.unwrap().success(), starts, "{state}");
    }
    // At boot, too: not before it is known whether smtpd runs.
    assert!(words_of(&unit, "After").contains(&"smtpd.service".into()));
}

/// What saslauthd is started with, given this in Debian's /etc/default/saslauthd.
fn saslauthd_with(settings: &[(&str, &str)]) -> String {
    let unit = text_of("saslauthd/systemd/saslauthd.service");
    let start = unit
        .lines()
        .find_map(|l| l.strip_prefix("ExecStart=/bin/sh -c '"));
    let command = start.unwrap().strip_suffix('\'').unwrap();
    // `$$` is how a unit writes `$`.
    let command = command.replace("$$", "$");
    let command = command.replace("exec /usr/sbin/saslauthd", "printf '[%s]'");
    let defaults = words_of(&unit, "Environment");
    let defaults = defaults.iter().filter_map(|word| word.split_once('='));
    let run = Command::new("/bin/sh")
        .args(["-c", &command])
        .env_clear()
        .envs(defaults)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn saslauthd_takes_what_debians_file_of_defaults_says() {
    assert_eq!(saslauthd_with(&[]), "[--foreground][-a][pam][-n][5]");
    let rimap = [
        ("MECHANISMS", "rimap"),
        ("MECH_OPTIONS", "imap.example.org"),
        ("THREADS", "3"),
        ("OPTIONS", "-c -m /var/run/saslauthd"),
    ];
    assert_eq!(
        saslauthd_with(&rimap),
        "[--foreground][-a][rimap][-O][imap.example.org][-c][-m][/var/run/saslauthd][-n][3]"
    );
}

#[test]
fn units_load_and_their_exposure_is_ok() {
    for (file, program) in UNITS {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let threshold = format!("--threshold={OK}");
        let args = ["security", "--offline=true", "--no-pager", &threshold];
        let Some((fine, said)) = analyze(&args, &unit) else {
            return eprintln!("skipped: there is no systemd-analyze");
        };
        if said.contains("unrecognized option") {
            return eprintln!("skipped: systemd-analyze is too old");
        }
        assert!(fine, "{said}");
        // As if it were installed: some program stands in the place of ours.
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(&unit).unwrap();
        assert!(text.contains(program), "{file}");
        let name = unit.file_name().unwrap();
        let installed = dir.path().join(name);
        fs::write(&installed, text.replace(program, "/bin/true")).unwrap();
        let Some((_, said)) = analyze(&["verify", "--man=no"], &installed) else {
            return;
        };
        // It looks at what the machine has, too.
        let name = name.to_str().unwrap();
        let about_ours: Vec<&str> = said.lines().filter(|l| l.contains(name)).collect();
        assert_eq!(about_ours, Vec::<&str>::new());
    }
}
