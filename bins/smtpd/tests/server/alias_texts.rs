//! An alias file of which nobody has built a map.

use std::fs;

use crate::client::Client;
use crate::site::Site;
use crate::stage::mode;

const ALIASES: &str = "/etc/mail/aliases";

/// A site that names its alias file so, without a map of it.
fn site(named: &str) -> Site {
    let site = Site::new(&format!("define(`ALIAS_FILE', `{named}')dnl"));
    fs::remove_file(site.path("etc/mail/aliases.db")).unwrap();
    site
}

fn rcpt(client: &mut Client, to: &str) -> String {
    client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
    let reply = client.say(&format!("RCPT TO:<{to}>"));
    client.talk(&[("RSET", "250 ")]);
    reply.get(..9).unwrap_or_default().to_owned()
}

#[test]
fn without_a_class_the_text_is_asked_as_it_is_now() {
    let site = site(ALIASES);
    site.write(
        ALIASES,
        "postmaster: archive\narchive: /etc/mail/out.mbox\nstaff: :include:/etc/mail/staff\n",
    );
    site.write("etc/mail/staff", "archive\n");
    // The server opens it, and the list that it names, by him who may.
    mode(&site, ALIASES, 0o600);
    mode(&site, "etc/mail/staff", 0o600);
    let (status, said) = site.run_to_end(&["check"]);
    let shown = site.path(ALIASES);
    let shown = shown.display();
    assert!(
        status.success()
            && said.contains(&format!(
                "maps open, {shown} as it stands: newaliases has built no map of it"
            )),
        "{said}"
    );
    let server = site.start();
    server.log_with(&format!(
        "{shown} is read as it stands: newaliases has built no map of it"
    ));
    let (mut client, _) = Client::hello(server.only_port());
    assert_eq!(rcpt(&mut client, "archive"), "250 2.1.5");
    assert_eq!(rcpt(&mut client, "postmaster"), "250 2.1.5");
    assert_eq!(rcpt(&mut client, "staff"), "250 2.1.5");
    assert_eq!(rcpt(&mut client, "other"), "550 5.1.1");
    site.write(ALIASES, "other: /etc/mail/out.mbox\n");
    assert_eq!(rcpt(&mut client, "other"), "250 2.1.5");
    assert_eq!(rcpt(&mut client, "archive"), "550 5.1.1");
    // The last good text stays, and the fault is told.
    mode(&site, ALIASES, 0o666);
    assert_eq!(rcpt(&mut client, "other"), "250 2.1.5");
    server.log_with("World writable file");
    mode(&site, ALIASES, 0o600);
    smtpd::tables::build_aliases(&site.path(ALIASES)).unwrap();
    site.write(ALIASES, "changed: /etc/mail/out.mbox\n");
    assert_eq!(rcpt(&mut client, "other"), "250 2.1.5");
    assert_eq!(rcpt(&mut client, "changed"), "550 5.1.1");
}

#[test]
fn with_a_class_the_map_is_needed() {
    let site = site("hash:/etc/mail/aliases");
    let (status, said) = site.run_to_end(&["check"]);
    let fault = "aliases.db: not there, but ";
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains(fault) && said.contains("run newaliases"),
        "{said}"
    );
    let (status, said) = site.run_to_end(&[]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains(fault), "{said}");
    // A host without aliases is one.
    fs::remove_file(site.path(ALIASES)).unwrap();
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    assert_eq!(rcpt(&mut client, "archive"), "550 5.1.1");
    site.write(ALIASES, "archive: /etc/mail/out.mbox\n");
    assert_eq!(rcpt(&mut client, "archive"), "451 4.3.0");
    server.log_with(fault);
    smtpd::tables::build_aliases(&site.path(ALIASES)).unwrap();
    assert_eq!(rcpt(&mut client, "archive"), "250 2.1.5");
}
