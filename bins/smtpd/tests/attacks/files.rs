//! Hostile Berkeley DB files in the place of a site's map.

use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::site::{Server, Site};

/// Every file of testdata that is damaged or odd.
fn hostile() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/berkeley");
    let is_hostile = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.ends_with(".db") && (name.starts_with("corrupt-") || name.starts_with("odd-"))
    };
    let all = std::fs::read_dir(folder).unwrap();
    let mut all: Vec<_> = all.map(|e| e.unwrap().path()).filter(is_hostile).collect();
    all.sort();
    assert!(all.len() >= 30, "{}", all.len());
    all
}

const MC: &str = "FEATURE(`access_db', `hash -o /etc/mail/access')dnl";

/// Replies to a sender and a recipient that the map is asked about.
fn ask(server: &Server) -> (String, String) {
    let mut client = Client::connect_from("127.0.0.2", server.only_port());
    let greeting = client.reply();
    if !greeting.starts_with("220 ") {
        return (greeting, String::new());
    }
    client.say("EHLO client.example.com");
    let mail = client.say("MAIL FROM:<a@b.example>");
    (mail, client.say("RCPT TO:<archive>"))
}

#[test]
fn a_map_that_was_replaced_by_a_hostile_file() {
    let site = Site::new(MC);
    site.table("etc/mail/access", "From:spam.example\tREJECT\n");
    let server = site.start();
    for path in hostile() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::copy(&path, site.path("etc/mail/new")).unwrap();
        std::fs::rename(site.path("etc/mail/new"), site.path("etc/mail/access.db")).unwrap();
        let (mail, rcpt) = ask(&server);
        // The old map goes on, or the new one can't tell.
        let either = |reply: &str| reply.starts_with("250 ") || reply.starts_with("451 4.3.0");
        assert!(either(&mail), "{name}: {mail}");
        assert!(either(&rcpt) || mail.starts_with("451"), "{name}: {rcpt}");
    }
    // And a good one counts again.
    site.table("etc/mail/access", "From:b.example\tREJECT\n");
    let (mail, _) = ask(&server);
    assert!(mail.starts_with("550 5.7.1"), "{mail}");
}

#[test]
fn a_server_that_starts_on_a_hostile_file() {
    let site = Site::new(MC);
    for path in hostile() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::copy(&path, site.path("etc/mail/access.db")).unwrap();
        let (status, said) = site.run_to_end(&["check"]);
        if status.success() {
            // Only asking finds the damage.
            let server = site.start();
            let (mail, rcpt) = ask(&server);
            for reply in [mail, rcpt] {
                assert!(
                    ["250 ", "451 4.3.0", "503 ", ""]
                        .iter()
                        .any(|w| reply.starts_with(w)),
                    "{name}: {reply}"
                );
            }
        } else {
            assert_eq!(status.code(), Some(78), "{name}: {said}");
            assert!(said.contains("access.db"), "{name}: {said}");
        }
    }
}
