//! Any octets as a request of `mapctl ask`: answered with an object.
//!
//! `cargo fuzz run ask`
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tools::ask::answer;
use tools::consult::Consultant;

static SITE: LazyLock<(tempfile::TempDir, Consultant)> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a folder");
    let mail = root.path().join("etc/mail");
    std::fs::create_dir_all(&mail).expect("folders");
    std::fs::write(mail.join("service.switch"), "hosts files\n").expect("written");
    std::fs::write(
        mail.join("sendmail.mc"),
        "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.example.org')dnl\n\
         FEATURE(`access_db', `hash -o /etc/mail/access')dnl\nFEATURE(`delay_checks', `friend')dnl\n\
         FEATURE(`blocklist_recipients')dnl\nLOCAL_DOMAIN(`example.org')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
    )
    .expect("written");
    let consultant = Consultant::open(Some(root.path()), None);
    let consultant = consultant.unwrap_or_else(|error| panic!("{error}"));
    (root, consultant)
});

fuzz_target!(|octets: &[u8]| {
    let answer = answer(&SITE.1, octets);
    assert!(answer.is_object());
});
