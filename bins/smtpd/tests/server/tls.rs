//! TLS: client certificates, revocation, replaced and unusable files, channel binding.

use libmaps::sasl::edit::AuthPassword;
use libmaps::sasl::mechanism::{
    BindingKind, ChannelBinding, ClientExchange, ClientSetup, Mechanism, Nonce, Offer,
};
use libmaps::sasl::password::Password;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificates::{Authority, TLS_MC};
use crate::client::Client;
use crate::site::{HOST, Site};

/// A site with a certificate of this authority.
pub(crate) fn secured(authority: &Authority, mc: &str) -> Site {
    let site = Site::new(&format!("{TLS_MC}{mc}"));
    site.write("etc/mail/ca.crt", &authority.pem);
    authority.sign(HOST, 1).install(&site);
    site
}

#[test]
fn a_client_certificate_is_verified_and_may_relay() {
    let authority = Authority::new("CA of the site");
    let site = secured(
        &authority,
        "FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl",
    );
    site.table(
        "etc/mail/access",
        "CERTISSUER:/CN=CA+20of+20the+20site\tSUBJECT\nCERTSUBJECT:/CN=friend.example\tRELAY\n",
    );
    let server = site.start();
    let relay = |identity: Option<&_>| {
        let (mut client, _) = Client::hello(server.only_port());
        client.secure(identity);
        client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
        client.say("RCPT TO:<x@far.example>")
    };
    let friend = authority.sign("friend.example", 2).identity();
    assert!(relay(Some(&friend)).starts_with("250 "), "a known subject");
    server.log_with("verify=OK");
    server.log_with("cert-subject=/CN=friend.example, cert-issuer=/CN=CA+20of+20the+20site");
    let other = authority.sign("other.example", 3).identity();
    assert!(relay(Some(&other)).starts_with("550 5.7.1"), "another");
    let foreign = Authority::new("CA of the site").sign("friend.example", 2);
    let reply = relay(Some(&foreign.identity()));
    assert!(reply.starts_with("550 5.7.1"), "another authority: {reply}");
    server.log_with("verify=FAIL");
    assert!(relay(None).starts_with("550 5.7.1"), "no certificate");
    server.log_with("verify=NO,");
}

#[test]
fn a_revoked_certificate_is_not_verified() {
    let authority = Authority::new("CA");
    let site = secured(
        &authority,
        "define(`confCRL', `/etc/mail/ca.crl')dnl\nFEATURE(`access_db')dnl",
    );
    site.table("etc/mail/access", "CERTISSUER:/CN=CA\tRELAY\n");
    site.write("etc/mail/ca.crl", &authority.revoke(99));
    let server = site.start();
    let relay = |serial: u64| {
        let (mut client, _) = Client::hello(server.only_port());
        let friend = authority.sign("friend.example", serial).identity();
        client.secure(Some(&friend));
        client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
        client.say("RCPT TO:<x@far.example>")
    };
    assert!(relay(2).starts_with("250 "));
    assert!(relay(99).starts_with("550 5.7.1"));
    // A list that comes later counts from the next handshake on.
    site.write("etc/mail/ca.crl.new", &authority.revoke(2));
    std::fs::rename(
        site.path("etc/mail/ca.crl.new"),
        site.path("etc/mail/ca.crl"),
    )
    .unwrap();
    assert!(relay(2).starts_with("550 5.7.1"));
    assert!(relay(99).starts_with("250 "));
}

#[test]
fn without_being_asked_no_certificate_is_shown() {
    let authority = Authority::new("CA");
    let site = secured(&authority, "define(`confTLS_SRV_OPTIONS', `V')dnl");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    client.secure(Some(&authority.sign("friend.example", 2).identity()));
    server.log_with("verify=NOT,");
}

#[test]
fn a_replaced_certificate_counts_from_the_next_handshake_on() {
    let authority = Authority::new("CA");
    let site = secured(&authority, "");
    let server = site.start();
    let shown = || {
        let (mut client, _) = Client::hello(server.only_port());
        client.secure(None);
        let first = client.tls().peer_certificates().unwrap()[0].to_vec();
        client.say("QUIT");
        first
    };
    let pem = |name: &str| {
        let pair = authority.sign(name, 5);
        let der = pair.identity().0[0].to_vec();
        (pair, der)
    };
    let before = shown();
    let (pair, der) = pem(HOST);
    pair.install(&site);
    assert_ne!(before, der);
    assert_eq!(shown(), der, "without a signal");
    // What can't be used is told, and what was good stays.
    site.write("etc/mail/server.crt", "nonsense");
    assert_eq!(shown(), der);
    server.log_with("TLS kept as it was: ");
    let (pair, der) = pem(HOST);
    pair.install(&site);
    server.signal("-HUP");
    server.log_with("configuration read anew");
    assert_eq!(shown(), der, "after SIGHUP");
    // A site that wants no TLS any more has none.
    site.write("etc/mail/sendmail.mc", &Site::mc("dnl"));
    server.signal("-HUP");
    let gone = crate::site::wait_until(|| {
        let (_, offers) = Client::hello(server.only_port());
        !offers.contains("STARTTLS")
    });
    assert!(gone, "after SIGHUP");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new("CA");
    let site = secured(&authority, "");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("etc/mail/server.key"), open).unwrap();
    let server = site.start();
    server.log_with("server.key: group or world readable: STARTTLS is not offered");
    let (mut client, offers) = Client::hello(server.only_port());
    assert!(!offers.contains("STARTTLS"), "{offers}");
    assert!(client.say("STARTTLS").starts_with("454 "));
    let (status, said) = site.run_to_end(&["check"]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("tls ERROR"), "{said}");
}

#[test]
fn a_certificate_is_warned_about_before_its_end() {
    let authority = Authority::new("CA");
    let site = secured(&authority, "");
    let now = smtpd::clock::now_unix();
    let at = |days: i64| {
        let end = i64::try_from(now).unwrap() + days * 86_400 + 3_600;
        let pair = authority.sign_with(HOST, 6, |params| {
            let zero = rcgen::date_time_ymd(1970, 1, 1);
            params.not_before = zero;
            params.not_after = zero + std::time::Duration::from_secs(end as u64);
        });
        pair.install(&site);
        site.start()
    };
    at(9).log_with("server.crt: the certificate expires in 9 days");
    at(-2).log_with("server.crt: the certificate has expired");
    let log = at(60).log();
    assert!(!log.iter().any(|l| l.contains("expire")), "{log:?}");
}

#[test]
fn tls_from_the_first_octet() {
    let authority = Authority::new("CA");
    let site = secured(
        &authority,
        "DAEMON_OPTIONS(`Name=TLSMTA, Addr=127.0.0.1, Port=0, M=s')dnl",
    );
    let server = site.start();
    let mut client = Client::connect(server.only_port());
    client.handshake(None);
    assert!(client.reply().starts_with("220 "));
    let offers = client.say("EHLO x");
    assert!(!offers.contains("STARTTLS"), "{offers}");
}

/// As sendmail 8.17.1.9: its nullserver of tls_client, and its greeting.
#[test]
fn tls_from_the_first_octet_is_judged_at_the_connection() {
    let authority = Authority::new("CA");
    let site = secured(
        &authority,
        "FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n\
         DAEMON_OPTIONS(`Name=TLSMTA, Addr=127.0.0.1, Port=0, M=s')dnl",
    );
    site.table("etc/mail/access", "TLS_Clt:\tVERIFY\n");
    let server = site.start();
    let greeted = |identity: Option<&_>| {
        let mut client = Client::connect(server.only_port());
        client.handshake(identity);
        assert!(client.reply().starts_with("220 "));
        let offers = client.say("EHLO x");
        (client, offers)
    };
    let (mut client, offers) = greeted(None);
    assert!(offers.ends_with("250 ENHANCEDSTATUSCODES"), "{offers}");
    for command in ["VRFY alice", "EXPN alice", "ETRN x", "AUTH PLAIN", "HELP"] {
        client.talk(&[(command, "454 4.7.0 not authenticated")]);
    }
    client.talk(&[("NOOP", "250 "), ("QUIT", "221 ")]);
    server.log_with("version=TLSv1.3, verify=NO,");
    let friend = authority.sign("friend.example", 2).identity();
    let (mut client, offers) = greeted(Some(&friend));
    assert!(offers.contains("250-ETRN"), "{offers}");
    client.talk(&[
        ("VRFY no.such", "550 "),
        ("MAIL FROM:<a@b.example>", "250 "),
    ]);
}

#[test]
fn what_follows_starttls_is_not_obeyed() {
    let authority = Authority::new("CA");
    let site = secured(&authority, "");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    client.send(b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n");
    assert!(client.reply().starts_with("503 5.5.0 "));
    assert!(client.is_closed());
}

/// A login by a `-PLUS` mechanism: the last reply.
pub(crate) fn login_bound(
    client: &mut Client,
    mechanism: Mechanism,
    bindings: Vec<ChannelBinding>,
) -> String {
    let setup = ClientSetup {
        authzid: Vec::new(),
        authid: b"alice".to_vec(),
        password: Password::new(b"secret".to_vec()).unwrap(),
        realm: None,
        service: "smtp".into(),
        host: HOST.into(),
        bindings,
        plus: Offer::Offered,
    };
    let mut exchange = ClientExchange::new(mechanism, setup, Nonce::random().unwrap());
    let first = exchange.initial().unwrap();
    let mut reply = client.say(&format!(
        "AUTH {mechanism} {}",
        STANDARD.encode(first.unwrap())
    ));
    while let Some(challenge) = reply.strip_prefix("334 ") {
        let challenge = STANDARD.decode(challenge).unwrap();
        reply = match exchange.respond(&challenge) {
            Ok(answer) => client.say(&STANDARD.encode(answer)),
            Err(_) => client.say("*"),
        };
    }
    reply
}

#[test]
fn logins_can_be_bound_to_the_channel() {
    let authority = Authority::new("CA");
    let site = secured(
        &authority,
        "define(`confAUTH_MECHANISMS', `SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256')dnl",
    );
    site.account("alice", HOST, "secret", AuthPassword::Omit);
    let server = site.start();
    let (mut client, offers) = Client::hello(server.only_port());
    assert!(
        offers.contains("AUTH SCRAM-SHA-256\n"),
        "in clear: {offers}"
    );
    let offers = client.secure(None);
    assert!(
        offers.contains("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256\n"),
        "{offers}"
    );
    let exporter = |client: &Client| {
        let mut data = [0; 32];
        let label = b"EXPORTER-Channel-Binding";
        client
            .tls()
            .export_keying_material(&mut data, label, None)
            .unwrap();
        ChannelBinding {
            kind: BindingKind::TlsExporter,
            data: data.to_vec(),
        }
    };
    let end_point = |client: &Client| {
        use sha2::Digest as _;
        let own = &client.tls().peer_certificates().unwrap()[0];
        ChannelBinding {
            kind: BindingKind::TlsServerEndPoint,
            // The certificate is signed by ECDSA with SHA-256.
            data: sha2::Sha256::digest(own).to_vec(),
        }
    };
    let plus = Mechanism::parse(b"SCRAM-SHA-256-PLUS").unwrap();
    let wrong = ChannelBinding {
        kind: BindingKind::TlsExporter,
        data: vec![0; 32],
    };
    let reply = login_bound(&mut client, plus, vec![wrong]);
    assert!(reply.starts_with("535 "), "{reply}");
    let bindings = vec![exporter(&client)];
    let reply = login_bound(&mut client, plus, bindings);
    assert!(reply.starts_with("235 "), "{reply}");
    let (mut client, _) = Client::hello(server.only_port());
    client.secure(None);
    let bindings = vec![end_point(&client)];
    let plus = Mechanism::parse(b"SCRAM-SHA-1-PLUS").unwrap();
    let reply = login_bound(&mut client, plus, bindings);
    assert!(reply.starts_with("235 "), "{reply}");
}
