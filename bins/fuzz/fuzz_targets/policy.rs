//! Any octets as requests of Postfix's policy protocol: the answer is a line and an empty
//! one, and nothing that is no request lets anybody in.
//!
//! `cargo fuzz run policy`
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tools::serve::policy::{PolicyService, Verbosity};
use tools::serve::{Service, Turn};

static SITE: LazyLock<(tempfile::TempDir, PolicyService)> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a folder");
    let mail = root.path().join("etc/mail");
    std::fs::create_dir_all(&mail).expect("folders");
    std::fs::write(mail.join("service.switch"), "hosts files\n").expect("written");
    std::fs::write(
        mail.join("sendmail.mc"),
        "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.example.org')dnl\n\
         FEATURE(`access_db', `hash -o /etc/mail/access')dnl\n\
         FEATURE(`blocklist_recipients')dnl\nLOCAL_DOMAIN(`example.org')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
    )
    .expect("written");
    let loaded = libmaps::site::load(Some(root.path()), None).expect("a site");
    let service = PolicyService::of(Arc::new(loaded.site), Verbosity::Everything, |_| ());
    (root, service.expect("no maps"))
});

fuzz_target!(|octets: &[u8]| {
    let mut talk = SITE.1.begin();
    let mut rest = octets;
    loop {
        let mut out = Vec::new();
        let turn = talk.turn(rest, &mut out);
        let text = String::from_utf8_lossy(&out);
        match turn {
            Turn::More => return assert!(out.is_empty()),
            Turn::Closed => return assert!(text.starts_with("action=451 ")),
            Turn::Answered { used } => {
                assert!(text.starts_with("action=") && text.ends_with("\n\n"));
                assert_eq!(text.trim_end().lines().count(), 1);
                rest = &rest[used..];
            }
        }
    }
});
