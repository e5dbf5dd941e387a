//! `Srv_Features:` entries: what a client is offered, and what it is asked for.

use crate::certificates::Authority;
use crate::client::Client;
use crate::site::Site;
use crate::tls::secured;

/// A site whose access map says this of clients on 127.0.0.2.
fn with_features(authority: &Authority, letters: &str, mc: &str) -> Site {
    let access = "FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n";
    let site = secured(authority, &format!("{access}{mc}"));
    let entry = format!("Srv_Features:127.0.0.2\t{letters}\n");
    site.table("etc/mail/access", &entry);
    site
}

#[test]
fn features_of_a_client_are_switched_both_ways() {
    let authority = Authority::new("CA");
    let site = with_features(
        &authority,
        "c e s",
        "define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl\n\
         DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, M=ES')dnl",
    );
    let server = site.start();
    let (mut client, offers) = Client::hello(server.only_port());
    assert!(!offers.contains("AUTH"), "a password in clear: {offers}");
    assert!(offers.contains("250-ETRN\n"), "{offers}");
    assert!(offers.contains("250-STARTTLS\n"), "{offers}");
    client.talk(&[("AUTH PLAIN AGEAYg==", "504 ")]);
    let offers = client.secure(None);
    assert!(offers.contains("AUTH PLAIN LOGIN\n"), "{offers}");
    // Of others nothing is said.
    let mut other = Client::connect(server.only_port());
    other.reply();
    let offers = other.say("EHLO x");
    assert!(offers.contains("AUTH PLAIN LOGIN\n"), "{offers}");
    assert!(!offers.contains("ETRN"), "{offers}");
    assert!(!offers.contains("STARTTLS"), "{offers}");
    other.talk(&[("STARTTLS", "503 5.5.0 TLS not available")]);
}

#[test]
fn a_client_may_send_passwords_in_clear_where_others_may_not() {
    let authority = Authority::new("CA");
    let site = with_features(
        &authority,
        "C",
        "define(`confAUTH_MECHANISMS', `PLAIN')dnl\ndefine(`confAUTH_OPTIONS', `p')dnl",
    );
    let server = site.start();
    let (_, offers) = Client::hello(server.only_port());
    assert!(offers.contains("AUTH PLAIN\n"), "{offers}");
    let mut other = Client::connect(server.only_port());
    other.reply();
    let offers = other.say("EHLO x");
    assert!(!offers.contains("AUTH"), "{offers}");
}

#[test]
fn a_client_is_asked_for_a_certificate_as_its_entry_says() {
    let authority = Authority::new("CA");
    for (letters, mc, verify) in [
        ("V", "dnl", "verify=NOT,"),
        ("v", "define(`confTLS_SRV_OPTIONS', `V')dnl", "verify=OK,"),
        ("z", "define(`confTLS_SRV_OPTIONS', `V')dnl", "verify=NOT,"),
    ] {
        let server = with_features(&authority, letters, mc).start();
        let (mut client, _) = Client::hello(server.only_port());
        client.secure(Some(&authority.sign("friend.example", 2).identity()));
        server.log_with(verify);
    }
}

/// With delay_checks nothing else asks the map before MAIL; it may forbid passwords in clear.
#[test]
fn nothing_is_offered_while_the_map_of_features_can_not_be_read() {
    let authority = Authority::new("CA");
    let map = "FEATURE(`access_db', `socket -T<TMPF> local:/etc/mail/access.sock')dnl";
    let mc = format!(
        "{map}\nFEATURE(`delay_checks')dnl\ndefine(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl"
    );
    let server = secured(&authority, &mc).start();
    let (mut client, offers) = Client::hello(server.only_port());
    assert!(!offers.contains("AUTH"), "{offers}");
    client.talk(&[
        ("AUTH PLAIN AGEAYg==", "450 4.3.0 Please try again later."),
        ("STARTTLS", "450 4.3.0 Please try again later."),
    ]);
    server.log_with("srv_features=tempfail");
}
