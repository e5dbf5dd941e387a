//! The policy service.

use super::server::{Server, build, site};

const CLIENT: &str =
    "client_address=192.0.2.1\nclient_name=mx.good.example\nreverse_client_name=mx.good.example";

#[test]
fn what_postfix_is_told() {
    let root = site();
    let server = Server::start(root.path(), &[]);
    // State, the attributes beside the usual client, and the action.
    let cases: &[(&str, &str, &str)] = &[
        ("CONNECT", "", "DUNNO"),
        (
            "RCPT",
            "sender=a@good.example recipient=b@example.org",
            "DUNNO",
        ),
        ("RCPT", "sender= recipient=b@example.org", "DUNNO"),
        // Nobody's word opens a relay but policy_context=permit of main.cf.
        (
            "RCPT",
            "sender=a@good.example recipient=b@other.example",
            "DUNNO",
        ),
        (
            "RCPT",
            "sender=a@good.example recipient=b@other.example policy_context=permit",
            "OK",
        ),
        (
            "RCPT",
            "sender=a@good.example recipient=b@far.example policy_context=permit",
            "550 5.7.1 Relaying denied. Proper authentication required.",
        ),
        (
            "RCPT",
            "sender=a@good.example recipient=b@far.example",
            "550 5.7.1 Relaying denied. Proper authentication required.",
        ),
        (
            "RCPT",
            "sender=a@x.example recipient=b@far.example sasl_method=PLAIN sasl_username=joe policy_context=permit",
            "OK",
        ),
        (
            "RCPT",
            "sender=a@x.example recipient=b@far.example sasl_method=LOGIN sasl_username=joe",
            "550 5.7.1 Relaying denied. Proper authentication required.",
        ),
        (
            "CONNECT",
            "client_name=host.spam.example",
            "550 5.7.1 We know you",
        ),
        (
            "RCPT",
            "client_name=host.spam.example sender=a@good.example recipient=b@example.org",
            "550 5.7.1 We know you",
        ),
        // An unverified name is no name.
        (
            "RCPT",
            "client_name=unknown reverse_client_name=mx.good.example sender=a@x.example recipient=b@example.org",
            "DUNNO",
        ),
        (
            "RCPT",
            "client_address=192.0.2.77 client_name=unknown sender=a@x.example recipient=b@example.org",
            "DISCARD by the access map",
        ),
        // What a listener for both families says of an IPv4 client is that client.
        (
            "RCPT",
            "client_address=::ffff:192.0.2.77 client_name=unknown sender=a@x.example recipient=b@example.org",
            "DISCARD by the access map",
        ),
        (
            "RCPT",
            "client_address=::FFFF:c000:258 client_name=unknown sender=a@x.example recipient=b@far.example policy_context=permit",
            "OK",
        ),
        (
            "RCPT",
            "client_address=192.0.2.88 client_name=unknown sender=a@x.example recipient=b@far.example policy_context=permit",
            "OK",
        ),
        ("MAIL", "sender=held@good.example", "HOLD look at this"),
        (
            "RCPT",
            "sender=held@good.example recipient=gone@example.org",
            "450 4.2.1 on holiday",
        ),
        (
            "RCPT",
            "sender=a@good.example recipient=",
            "553 5.1.1 User address required",
        ),
        (
            "RCPT",
            "client_name=www.bank.example encryption_protocol=TLSv1.3 encryption_keysize=128 sender=a@x.example recipient=b@example.org",
            "503 5.7.0 not authenticated",
        ),
        // Who it is must be known: mail of this host itself may go anywhere.
        (
            "RCPT",
            "client_address=unknown sender=a@x.example recipient=b@far.example policy_context=permit",
            "451 4.3.5 The request names no client_address",
        ),
        (
            "RCPT",
            "client_address= sender=a@x.example recipient=b@far.example policy_context=permit",
            "451 4.3.5 The request names no client_address",
        ),
        (
            "CONNECT",
            "client_address=unix:/x",
            "451 4.3.5 The request names no client_address",
        ),
        ("MAIL", "sender=grün@good.example", "550 5.7.1 not you"),
        // Postfix tells addresses without their quotes; what stands in them is no address.
        (
            "RCPT",
            "sender=a@x.example recipient=<b@other.example>@far.example policy_context=permit",
            "550 5.7.1 Relaying denied. Proper authentication required.",
        ),
        (
            "MAIL",
            "sender=<a@good.example>@evil.example",
            "550 5.7.1 Access denied",
        ),
        // What Postfix may route by what stands in it is never OK.
        (
            "RCPT",
            "sender=a@x.example recipient=b/c@other.example policy_context=permit",
            "DUNNO",
        ),
        (
            "RCPT",
            "client_address=192.0.2.88 client_name=unknown sender=a@x.example recipient=b%far.example@other.example policy_context=permit",
            "DUNNO",
        ),
        (
            "RCPT",
            "client_address=192.0.2.88 client_name=unknown sender=a@x.example recipient=b@c@far.example policy_context=permit",
            "DUNNO",
        ),
        // Nothing of ours to say.
        (
            "DATA",
            "client_name=host.spam.example sender=a@good.example recipient=b@example.org",
            "DUNNO",
        ),
        (
            "END-OF-MESSAGE",
            "client_name=host.spam.example policy_context=permit",
            "DUNNO",
        ),
        ("VRFY", "recipient=b@example.org", "DUNNO"),
        ("", "", "DUNNO"),
    ];
    for (state, attributes, want) in cases {
        // The first of a name counts.
        let own = attributes.split(' ').filter(|a| !a.is_empty());
        let own: Vec<&str> = own.collect();
        let lines = format!("protocol_state={state}\n{}\n{CLIENT}", own.join("\n"));
        let lines = lines.replace("\n\n", "\n");
        assert_eq!(server.policy(&lines), *want, "{state} {attributes}");
    }
    let because = "ruleset=check_relay action=\"550 5.7.1 We know you\" because=\"hash:/etc/mail/access connect:spam.example (parent domain, 1 up): ERROR:5.7.1:550 We know you\"";
    server.says(because);
    server.says("because=\"hash:/etc/mail/access from:evil.example (domain): REJECT\"");
    assert!(!server.log.lock().unwrap().contains("hush"));
}

#[test]
fn what_is_no_request_is_never_an_invitation() {
    let root = site();
    let server = Server::start(root.path(), &[]);
    let long = format!("request=smtpd_access_policy\nsender={}", "x".repeat(70_000));
    let many = format!("request=smtpd_access_policy\n{}", "a=b\n".repeat(300));
    for octets in ["\n", "request=other\n\n", "EHLO you\r\n", &long, &many] {
        let said = server.last_words("policy", octets.as_bytes());
        let want = "action=451 4.3.5 The policy service did not understand the request\n\n";
        let head: String = octets.chars().take(40).collect();
        assert_eq!(said, want, "{head}");
    }
    // A control character in an attribute makes no second line of an answer.
    let said = server
        .policy("protocol_state=RCPT\nsender=a@b.example\nrecipient=x\r\raction=OK@far.example");
    assert!(!said.contains('\r') && !said.contains('\n'), "{said}");
}

#[test]
fn without_its_maps_it_does_not_start() {
    let root = site();
    std::fs::write(root.path().join("etc/mail/access.db"), "nonsense").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mapctl"));
    let policy = format!("unix:{}", root.path().join("policy").display());
    command
        .args(["serve", "--policy", &policy, "--root"])
        .arg(root.path());
    let said = Server::spawn(command, root.path()).err().unwrap();
    assert!(
        said.contains("access.db") && said.ends_with("exit 73"),
        "{said}"
    );
}

#[test]
fn a_map_that_cannot_be_read_lets_nobody_in() {
    let root = site();
    let mc = root.path().join("etc/mail/sendmail.mc");
    let optional = super::server::MC.replace("hash -T<TMPF> /etc", "hash -o /etc");
    std::fs::write(mc, optional).unwrap();
    let access = root.path().join("etc/mail/access.db");
    let built = std::fs::read(&access).unwrap();
    std::fs::remove_file(&access).unwrap();
    let server = Server::start(root.path(), &[]);
    let ask = || {
        server.policy(
            "protocol_state=CONNECT\nclient_address=192.0.2.1\nclient_name=host.spam.example",
        )
    };
    assert_eq!(ask(), "DUNNO");
    std::fs::write(&access, "nonsense").unwrap();
    let said = ask();
    assert!(said.starts_with("451 4."), "{said}");
    server.says("access.db");
    std::fs::write(root.path().join("new"), built).unwrap();
    std::fs::rename(root.path().join("new"), &access).unwrap();
    assert_eq!(ask(), "550 5.7.1 We know you");
}

#[test]
fn a_class_keeps_the_words_of_the_start_without_its_map() {
    for presence in ["", "-o "] {
        let root = site();
        let at = |name: &str| root.path().join("etc/mail").join(name);
        let shared = super::server::MC
            .replace(
                "LOCAL_CONFIG\n",
                &format!("RELAY_DOMAIN_FILE(`@LDAP')dnl\nLOCAL_CONFIG\nF{{w}}{presence}@LDAP\n"),
            )
            .replace(
                "LOCAL_DOMAIN(",
                "define(`confLDAP_DEFAULT_SPEC', `-h localhost -b dc=x')dnl\nLOCAL_DOMAIN(",
            );
        std::fs::write(at("sendmail.mc"), shared).unwrap();
        for (class, word) in [("R", "relay.example"), ("w", "own.example")] {
            let file = format!("class-{class}.ldap");
            std::fs::write(at(&file), "host localhost\nbase dc=x\n").unwrap();
            build(
                root.path(),
                "hash",
                &format!("etc/mail/{file}"),
                &format!("{word}\t{word}\n"),
                &[],
            );
        }
        let server = Server::start(root.path(), &[]);
        // Before the first question.
        std::fs::remove_file(at("class-w.ldap.db")).unwrap();
        let ask = |to: &str| {
            let client = "client_address=192.0.2.1\nclient_name=mx.good.example";
            server.policy(&format!(
                "protocol_state=RCPT\n{client}\nsender=a@good.example\nrecipient={to}"
            ))
        };
        for _ in 0..3 {
            assert_eq!(ask("joe@own.example"), "DUNNO", "{presence}");
            assert_eq!(ask("joe@relay.example"), "DUNNO", "{presence}");
        }
        // What is withdrawn from another class is withdrawn.
        std::fs::remove_file(at("class-R.ldap.db")).unwrap();
        let next = "next.example\tnext.example\n";
        build(root.path(), "hash", "etc/mail/class-R.ldap", next, &[]);
        assert!(ask("joe@relay.example").starts_with("550 5.7.1 "));
        assert_eq!(ask("joe@next.example"), "DUNNO");
        let word = "own2.example\town2.example\n";
        build(root.path(), "hash", "etc/mail/class-w.ldap", word, &[]);
        assert_eq!(ask("joe@own2.example"), "DUNNO");
        assert!(ask("joe@own.example").starts_with("550 5.7.1 "));
        server.says("policy: class w: /etc/mail/class-w readable again");
        let log = server.log.lock().unwrap().clone();
        assert_eq!(log.matches("class w kept as it was: ").count(), 1, "{log}");
        assert!(!log.contains("class R"), "{log}");
    }
}
