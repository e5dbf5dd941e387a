//! A site whose `sendmail.mc` has maps and aliases by LDAP, as sendmail's cf/README writes it.

use std::fs;

use crate::server::{BASE, Server};
use crate::stage::Host;
use crate::stage::running::Running;

pub(crate) const MAILERS: &str = "MAILER(`local')dnl\nMAILER(`smtp')dnl\n";

/// A `sendmail.mc` that names a directory at this port, with these lines at the end.
pub(crate) fn mc(port: u16, lines: &str) -> String {
    format!(
        "OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mail.example.test')dnl
define(`confLDAP_DEFAULT_SPEC', `-h \"127.0.0.1\" -p {port} -b {BASE} -d cn=admin,{BASE} -M simple -P /etc/mail/secret')dnl
define(`confLDAP_CLUSTER', `mail')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
{lines}"
    )
}

/// A mail server of this configuration.
pub(crate) fn host(mc: &str) -> Host {
    let host = Host::with_site(mc);
    host.write_secret("etc/mail/secret", "right\n");
    host
}

/// As cf/README has it, with virtual users by this definition.
fn maps(virtusertable: &str) -> String {
    format!(
        "define(`ALIAS_FILE', `ldap:')dnl
FEATURE(`access_db', `LDAP')dnl
FEATURE(`virtusertable', `{virtusertable}')dnl
VIRTUSER_DOMAIN(`shop.example')dnl
{MAILERS}"
    )
}

const OWN_FILTER: &str = "ldap -k (&(objectClass=sendmailMTAMapObject)(sendmailMTAMapName=shops)(sendmailMTAKey=%0)) -v sendmailMTAMapValue";

/// An entry of a map for a host, or for nobody in particular.
fn add_for(server: &Server, whose: &str, map: &str, key: &str, value: &str) {
    server.add(&format!(
        "dn: sendmailMTAKey={key},{BASE}\nobjectClass: sendmailMTAMapObject\n{whose}\
         sendmailMTAMapName: {map}\nsendmailMTAKey: {key}\nsendmailMTAMapValue: {value}\n"
    ));
}

#[test]
fn a_site_of_sendmails_own_definitions_is_served_from_replicas() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let host = host(&mc(server.port, &maps(OWN_FILTER)));
    server.add_entry("access", "From:spam.example", "REJECT");
    let here = "sendmailMTAHost: mail.example.test\n";
    add_for(&server, here, "access", "From:junk.example", "REJECT");
    let there = "sendmailMTAHost: other.example.test\n";
    add_for(&server, there, "access", "From:fine.example", "REJECT");
    add_for(&server, "", "shops", "orders@shop.example", "sales");
    let nobody = "error:nouser Nobody here";
    add_for(&server, "", "shops", "gone@shop.example", nobody);
    server.add(&format!(
        "dn: sendmailMTAKey=sales,{BASE}\nobjectClass: sendmailMTAAliasObject\nsendmailMTACluster: mail\n\
         sendmailMTAAliasGrouping: aliases\nsendmailMTAKey: sales\n\
         sendmailMTAAliasValue: nobody@elsewhere.example\n"
    ));
    // The server makes the connection files, fetches the maps, and answers by them.
    let smtpd = Running::start(&host);
    let rcpt = |from: &str, to: &str| smtpd.rcpt(from, to);
    let sales = "sales@mail.example.test";
    assert!(rcpt("a@spam.example", sales).starts_with("550"), "cluster");
    assert!(rcpt("a@junk.example", sales).starts_with("550"), "host");
    assert!(rcpt("a@fine.example", sales).starts_with("250"), "aliases");
    let info = "info@mail.example.test";
    assert!(rcpt("a@fine.example", info).starts_with("550"));
    assert!(rcpt("a@fine.example", "orders@shop.example").starts_with("250"));
    let gone = rcpt("a@fine.example", "gone@shop.example");
    assert!(
        gone.starts_with("553") && gone.contains("Nobody here"),
        "{gone}"
    );
    let file = fs::read_to_string(host.path("etc/mail/access.ldap")).unwrap();
    assert!(file.starts_with("# Made of "), "{file}");
    assert!(file.contains("sendmail.mc:9.\nhost 127.0.0.1:"), "{file}");
    // The directory is gone, and mail goes on.
    server.kill();
    assert!(rcpt("a@spam.example", sales).starts_with("550"));
    assert!(rcpt("a@fine.example", sales).starts_with("250"));
    drop(smtpd);
    server.run();
    // What somebody has written stays; what was made is made anew.
    let root = host.path("").display().to_string();
    let follow = format!("mapctl follow --once --root {root}");
    let own = format!("{}poll 5\n", file.replace("# Made of ", "# After "));
    host.write("etc/mail/access.ldap", &own);
    host.write("etc/mail/aliases.ldap", "# Made of nothing\n");
    assert_eq!(host.run(&follow, "").code, 0);
    let read = |name: &str| fs::read_to_string(host.path(name)).unwrap();
    assert_eq!(read("etc/mail/access.ldap"), own);
    assert!(read("etc/mail/aliases.ldap").contains("kind aliases\n"));
}

#[test]
fn what_no_replica_can_hold_is_told_with_its_line() {
    for (virtusertable, why) in [
        (
            "ldap -k (mail=%0@example.org) -v uid",
            "(mail=%0@example.org): only (attribute=%0) can be the LHS",
        ),
        (
            "ldap -k (|(mail=%0)(uid=%0)) -v uid",
            "it must not stand below | or !",
        ),
        ("ldap -k (uid=%0)", "-v is missing"),
        (
            "ldap -h ldap.example.org -k (uid=%0) -v mail",
            "a password is not sent in clear to another host",
        ),
    ] {
        let host = host(&mc(1, &maps(virtusertable)));
        let root = host.path("").display().to_string();
        let ran = host.run(&format!("smtpd check --root {root}"), "");
        assert_eq!(ran.code, 78, "{}", ran.out);
        let line = ran.out.lines().find(|line| line.contains(why));
        let line = line.unwrap_or_else(|| panic!("{why}: {}", ran.out));
        assert!(
            line.contains("sendmail.mc:10: error: FEATURE(virtusertable): "),
            "{line}"
        );
    }
}
