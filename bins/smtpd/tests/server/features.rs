//! `Srv_Features:` entries: what a client is offered, and what it is asked for.

use libmaps::sasl::edit::AuthPassword;
use libmaps::sasl::mechanism::{BindingKind, ChannelBinding, Mechanism};
use rustls::{CipherSuite, ProtocolVersion};
use sha2::Digest as _;
use smtpd::tables::build_aliases;

use crate::certificates::Authority;
use crate::client::Client;
use crate::site::{HOST, Site};
use crate::tls::{login_bound, secured};

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

/// A site that says this of TLS with clients on 127.0.0.2.
fn with_tls_features(authority: &Authority, rhs: &str, mc: &str) -> Site {
    let features = "FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n\
                    FEATURE(`tls_session_features')dnl\n";
    let site = secured(authority, &format!("{features}{mc}"));
    let entry = format!("TLS_Srv_Features:127.0.0.2\t{rhs}\n");
    site.table("etc/mail/access", &entry);
    site
}

/// Version and cipher with a client on 127.0.0.2, and with one of whom nothing is said.
fn agreed(site: &Site) -> [(ProtocolVersion, CipherSuite); 2] {
    let server = site.start();
    ["127.0.0.2", "127.0.0.1"].map(|from| {
        let mut client = Client::connect_from(from, server.only_port());
        client.reply();
        client.say("EHLO client.example.com");
        client.secure(None);
        let tls = client.tls();
        let cipher = tls.negotiated_cipher_suite().unwrap().suite();
        (tls.protocol_version().unwrap(), cipher)
    })
}

#[test]
fn tls_with_one_client_is_as_its_entry_says() {
    use CipherSuite::*;
    use ProtocolVersion::{TLSv1_2, TLSv1_3};
    let authority = Authority::new("CA");
    for (rhs, mc, one, others) in [
        (
            "Options=SSL_OP_NO_TLSv1_3",
            "dnl",
            (TLSv1_2, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
            TLSv1_3,
        ),
        (
            "\"Options=SSL_OP_NO_TLSv1_3; CipherList=AES128\"",
            "dnl",
            (TLSv1_2, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
            TLSv1_3,
        ),
        // What the site says holds for all; an entry adds to it.
        (
            "Options=-SSL_OP_NO_TLSv1_3 SSL_OP_NO_TLSv1_2",
            "define(`confSERVER_SSL_OPTIONS', `+SSL_OP_NO_TLSv1_3')dnl\n\
             define(`confCIPHER_LIST', `HIGH')dnl",
            (TLSv1_3, TLS13_AES_256_GCM_SHA384),
            TLSv1_2,
        ),
    ] {
        let [this, other] = agreed(&with_tls_features(&authority, rhs, mc));
        assert_eq!((this, other.0), (one, others), "{rhs}");
    }
}

#[test]
fn a_list_without_ciphers_of_tls_1_2_leaves_1_3() {
    let authority = Authority::new("CA");
    let site = secured(&authority, "define(`confCIPHER_LIST', `AES256-SHA')dnl");
    assert_eq!(agreed(&site).map(|a| a.0), [ProtocolVersion::TLSv1_3; 2]);
    let (_, said) = site.run_to_end(&["check"]);
    assert!(said.contains("no cipher of TLS 1.2 is left"), "{said}");
}

/// As sendmail: rather no TLS than another than the entry wants.
#[test]
fn there_is_no_tls_where_an_entry_can_not_be_done() {
    let authority = Authority::new("CA");
    for (rhs, why) in [
        ("Foo=bar", "tls_srv_features=Foo is none of Options"),
        (
            "Options=SSL_OP_NO_TLSv1_2 SSL_OP_NO_TLSv1_3",
            "tls_srv_features=",
        ),
    ] {
        let server = with_tls_features(&authority, rhs, "dnl").start();
        let (mut client, offers) = Client::hello(server.only_port());
        assert!(!offers.contains("STARTTLS"), "{offers}");
        client.talk(&[
            ("STARTTLS", "454 4.3.3 TLS not available"),
            ("MAIL FROM:<a@b.example>", "250 "),
        ]);
        server.log_with(why);
        let mut other = Client::connect(server.only_port());
        other.reply();
        assert!(other.say("EHLO x").contains("STARTTLS"), "{rhs}");
    }
}

/// The key may be root's alone: it is read after the server has given up root's rights.
#[test]
fn a_client_is_shown_a_certificate_of_its_own() {
    let authority = Authority::new("CA");
    let rhs = "CertFile=/etc/mail/other.crt; KeyFile=/etc/mail/other.key";
    let site = with_tls_features(
        &authority,
        rhs,
        "define(`confAUTH_MECHANISMS', `SCRAM-SHA-1-PLUS')dnl",
    );
    let other = authority.sign("other.example", 7);
    site.write("etc/mail/other.crt", &other.cert);
    site.write_private("etc/mail/other.key", &other.key);
    site.account("alice", HOST, "secret", AuthPassword::Omit);
    let server = site.start();
    let shown = |from: &str| {
        let mut client = Client::connect_from(from, server.only_port());
        client.reply();
        client.say("EHLO client.example.com");
        client.secure(None);
        let first = client.tls().peer_certificates().unwrap()[0].clone();
        (client, first)
    };
    let (mut client, first) = shown("127.0.0.2");
    assert_eq!(first, other.identity().0[0]);
    // A login is bound to what is shown.
    let binding = ChannelBinding {
        kind: BindingKind::TlsServerEndPoint,
        data: sha2::Sha256::digest(&first).to_vec(),
    };
    let plus = Mechanism::parse(b"SCRAM-SHA-1-PLUS").unwrap();
    let reply = login_bound(&mut client, plus, vec![binding]);
    assert!(reply.starts_with("235 "), "{reply}");
    assert_ne!(shown("127.0.0.1").1, first);
    // What can't be used leaves the site's own, as with sendmail.
    site.write("etc/mail/other.crt", "nonsense");
    assert_ne!(shown("127.0.0.2").1, first);
    server.log_with("other.crt: no certificate in it; the site's own is shown");
}

/// Replies to questions about names that LUSER_RELAY, the mailertable or `.REDIRECT` refuses.
#[test]
fn refusals_of_names_keep_their_code_and_status() {
    for (luser, want) in [
        (
            "error:4.2.1:\"450 being rebuilt, try later\"",
            ["450 4.2.1 ", "being rebuilt, try later"],
        ),
        ("error:4.2.1:\"452 later\"", ["452 4.2.1 ", "later"]),
        ("error:\"451 later\"", ["451 4.0.0 ", "later"]),
        (
            "error:5.1.1:550 no such user",
            ["550 5.1.1 ", "no such user"],
        ),
        (
            "error:5.7.1:\"550 User unknown\"",
            ["550 5.7.1 ", "User unknown"],
        ),
        ("error:nouser \"550 no\"", ["553 5.3.0 ", "nouser 550 no"]),
    ] {
        let mc = format!(
            "define(`LUSER_RELAY', `{luser}')dnl\nFEATURE(`redirect')dnl\n\
             RELAY_DOMAIN(`loc.example')dnl\n\
             FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl"
        );
        let site = Site::new(&mc);
        site.table("etc/mail/mailertable", "loc.example\tlocal:\n");
        site.write(
            "etc/mail/aliases",
            "archive: /etc/mail/out.mbox\nmixed: archive, nosuch\n\
             old.user: new.user@else.example.REDIRECT\n",
        );
        build_aliases(&site.path("etc/mail/aliases")).unwrap();
        let server = site.start();
        let (mut client, _) = Client::hello(server.only_port());
        client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
        let [code, text] = want;
        let is_named = matches!(code.get(..3), Some("450" | "550" | "553"));
        for (question, name) in [
            ("RCPT TO:<nosuch>", "<nosuch>... "),
            ("RCPT TO:<nosuch@loc.example>", "<nosuch@loc.example>... "),
            ("VRFY nosuch", "nosuch... "),
            ("EXPN nosuch", "nosuch... "),
            ("EXPN mixed", "nosuch... "),
        ] {
            let name = if is_named { name } else { "" };
            let reply = client.say(question);
            assert_eq!(
                reply.trim_end(),
                format!("{code}{name}{text}"),
                "{question}"
            );
        }
        let moved = "551 5.1.1 User has moved; please try <new.user@else.example>";
        client.talk(&[
            ("EXPN old.user", moved),
            ("VRFY new.user@else.example.REDIRECT", moved),
        ]);
    }
}
