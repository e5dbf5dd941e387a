//! `-q` and `-bp`, with a server and without one.

use crate::site::Site;

fn is_deferred(site: &Site, count: usize) -> bool {
    site.mailq(&[]).matches("(Deferred").count() == count
}

/// How often each message was tried, by its sender.
fn tries(site: &Site) -> Vec<(String, u64)> {
    let text = site.mailq(&["--json"]);
    let rows = text.lines().filter(|line| line.starts_with('{'));
    let mut all: Vec<(String, u64)> = rows
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            (
                row["sender"].as_str().unwrap().to_owned(),
                row["tries"].as_u64().unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

fn of(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect()
}

#[test]
fn the_server_runs_what_is_asked_for() {
    let site = Site::with_server();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.sendmail(&["-f", "ann@x.example", "later"], b"Subject: x\n\n2\n");
    site.until("both were tried", |s| is_deferred(s, 2));
    assert_eq!(site.sendmail_as_owner(&["-qSjoe"]).status.code(), Some(0));
    let want = of(&[("ann@x.example", 1), ("joe@x.example", 2)]);
    site.until("joe's was tried again", |s| tries(s) == want);
    assert_eq!(
        site.sendmail_as_owner(&["-q!Sjoe", "-qRlater"])
            .status
            .code(),
        Some(0)
    );
    let want = of(&[("ann@x.example", 2), ("joe@x.example", 2)]);
    site.until("ann's was tried again", |s| tries(s) == want);
    assert_eq!(
        site.sendmail_as_owner(&["-qSnobody"]).status.code(),
        Some(0)
    );
    assert_eq!(site.sendmail_as_owner(&["-q"]).status.code(), Some(0));
    let want = of(&[("ann@x.example", 3), ("joe@x.example", 3)]);
    site.until("both were tried again", |s| tries(s) == want);
}

#[test]
fn without_a_server_one_run_is_made() {
    let site = Site::new();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.sendmail(&["-f", "ann@x.example", "box"], b"Subject: x\n\n2\n");
    let listed = site.sendmail_as_owner(&["-bp"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("MSP Queue status...\n\t\t"), "{listed}");
    assert!(listed.contains(" (2 requests)\n"), "{listed}");
    assert!(listed.ends_with("\t\tTotal requests: 0\n"), "{listed}");
    // As the packages' mailq asks for one after the other.
    let part = |which: &str| {
        let out = site.sendmail_as_owner(&["-bp", which]);
        String::from_utf8(out.stdout).unwrap()
    };
    let (client, server) = (part("-Ac"), part("-Am"));
    assert!(client.ends_with("\t\tTotal requests: 2\n"), "{client}");
    assert_eq!(client.lines().count(), 4, "{client}");
    assert!(server.contains("mqueue is empty\n"), "{server}");
    assert_eq!(server.lines().count(), 2, "{server}");
    let out = site.sendmail_as_owner(&["-q", "-v"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(
        said.contains("stat=Sent") && said.contains("Deferred"),
        "{said}"
    );
    assert!(site.read("open/box").contains("\n2\n"));
    assert_eq!(tries(&site), of(&[("joe@x.example", 1)]));
    let listed = site.sendmail_as_owner(&["-bp"]);
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("(1 request)")
    );
    let client = part("-Ac");
    assert!(
        client.contains(" is empty\n\t\tTotal requests: 0\n"),
        "{client}"
    );
}
