//! `mapctl explain` and `mapctl ask`, as a person and a program see them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const MC: &str = "OSTYPE(`linux')dnl\n\
    define(`confDOMAIN_NAME', `mx.example.org')dnl\n\
    FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n\
    FEATURE(`blocklist_recipients')dnl\n\
    LOCAL_DOMAIN(`example.org')dnl\n\
    MAILER(`local')dnl\nMAILER(`smtp')dnl\n";

const ACCESS: &str = "# who may not\n\
    Connect:spam.example\tERROR:5.7.1:550 We know you\n\
    From:good.example\tOK\n\
    AuthInfo:hub.example\t\"U:joe\" \"P:hush\"\n\
    TLS_Clt:bank.example\tPERM+VERIFY:256\n";

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    std::fs::create_dir_all(&mail).unwrap();
    std::fs::write(mail.join("sendmail.mc"), MC).unwrap();
    std::fs::write(mail.join("access"), ACCESS).unwrap();
    std::fs::write(mail.join("service.switch"), "hosts files\n").unwrap();
    std::fs::write(root.path().join("etc/hosts"), "192.0.2.2 good.example\n").unwrap();
    let source = std::fs::File::open(mail.join("access")).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_makemap"))
        .arg("hash")
        .arg(mail.join("access"))
        .stdin(source)
        .status();
    assert!(made.unwrap().success());
    root
}

fn explain(root: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .args(["explain", "--root"])
        .arg(root)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_ipv4_client_of_a_listener_for_both_families_is_that_client() {
    let root = site();
    let plain = explain(root.path(), &["--client-addr", "203.0.113.66"]);
    let mapped = explain(root.path(), &["--client-addr", "::ffff:203.0.113.66"]);
    assert!(plain.contains("203.0.113.66"), "{plain}");
    assert_eq!(mapped, plain);
}

fn ask(root: &Path, requests: &[u8]) -> Vec<serde_json::Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .args(["ask", "--root"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(requests).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_refusal_at_connect_is_told_with_its_line() {
    let root = site();
    let told = explain(
        root.path(),
        &[
            "--client-addr",
            "203.0.113.9",
            "--client-name",
            "host.spam.example",
            "--from",
            "a@good.example",
            "--rcpt",
            "joe@example.org",
        ],
    );
    assert_eq!(
        told,
        "host.spam.example [203.0.113.9] (address resolves: OK)
HELO client.invalid, without TLS, not logged in
MAIL FROM:<a@good.example>  RCPT TO:<joe@example.org>

connect  check_relay refuses: 550 5.7.1 We know you
      not in access: connect:host.spam.example, host.spam.example
    > access  connect:spam.example  ERROR:5.7.1:550 We know you   /etc/mail/access:2

MAIL     check_mail accepts
      not in access: tls_clt:host.spam.example, tls_clt:spam.example, tls_clt:example,
          tls_clt:203.0.113.9, tls_clt:203.0.113, tls_clt:203.0, tls_clt:203, tls_clt:
    > canonical name  good.example       yes
      not in access: from:a@good.example, a@good.example, from:a@, a@
    > access          from:good.example  OK   /etc/mail/access:3

RCPT     check_rcpt accepts
      no canonical name is known of example.org
      not in access: to:joe@example.org, joe@example.org, to:joe@, joe@, to:example.org,
          example.org, to:org, org
    > local-host-names  example.org  yes

delivery route local takes it for joe

In short: the mail is refused at connect, by access: connect:spam.example ERROR:5.7.1:550 We know
  you (/etc/mail/access:2)
"
    );
}

#[test]
fn denied_relaying_comes_with_advice() {
    let root = site();
    let args = [
        "--client-addr",
        "192.0.2.1",
        "--client-name",
        "x.other.example",
        "--from",
        "a@good.example",
    ];
    let told = explain(
        root.path(),
        &[&args[..], &["--rcpt", "b@far.example"]].concat(),
    );
    assert!(
        told.contains("check_rcpt refuses: 550 5.7.1 Relaying denied\n"),
        "{told}"
    );
    assert!(
        told.contains("refused at RCPT, as nothing allows relaying here."),
        "{told}"
    );
    assert!(
        told.contains("`Connect:192.0.2.1 RELAY` in /etc/mail/access"),
        "{told}"
    );
    assert!(told.contains("`To:far.example RELAY`"), "{told}");
}

#[test]
fn requests_are_answered_in_order_whatever_they_hold() {
    let root = site();
    let long = format!(
        "{{\"ask\":\"expand\",\"address\":\"{}\"}}\n",
        "a".repeat(10 << 10)
    );
    let huge = "x".repeat(2 << 20) + "\n";
    let mut requests =
        b"not json\n\n{\"ask\":\"session\",\"session\":{\"mail_from\":\"a@@\",\"rcpt_to\":\"\"}}\n"
            .to_vec();
    requests.extend(b"{\"ask\":\"session\",\"session\":{\"tls\":5}}\n\xff\xfe\n");
    requests.extend(long.as_bytes());
    requests.extend(huge.as_bytes());
    requests.extend(
        b"{\"ask\":\"query\",\"map\":\"access\",\"keys\":[\"From:good.example\",\"nobody\"]}\n",
    );
    requests.extend(b"{\"ask\":\"query\",\"map\":\"access\",\"keys\":[\"authinfo:hub.example\"]}");
    let answers = ask(root.path(), &requests);
    assert_eq!(answers.len(), 8, "{answers:?}");
    assert!(
        answers[0]["error"]
            .as_str()
            .unwrap()
            .starts_with("not a JSON object")
    );
    assert_eq!(answers[1]["check_rcpt"]["at"], "nouser");
    assert_eq!(answers[1]["check_mail"]["action"], "error");
    assert_eq!(answers[2]["error"], "tls: expected an object");
    assert!(answers[3]["error"].is_string());
    assert!(answers[4].is_object());
    assert!(
        answers[5]["error"]
            .as_str()
            .unwrap()
            .contains("longer than")
    );
    assert_eq!(answers[6]["found"]["From:good.example"][0], "OK");
    assert!(answers[7]["error"].as_str().unwrap().contains("passwords"));
}

#[test]
fn a_broken_map_is_not_an_empty_one() {
    let root = site();
    std::fs::write(root.path().join("etc/mail/access.db"), "nonsense").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .args(["explain", "--root"])
        .arg(root.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("access.db"), "{text}");
}

/// Writes a text below the root and builds a map of it.
fn build(root: &Path, name: &str, text: &str, flags: &[&str]) {
    let path = root.join("etc/mail").join(name);
    std::fs::write(&path, text).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_makemap"))
        .args(flags)
        .arg("hash")
        .arg(&path)
        .stdin(std::fs::File::open(&path).unwrap())
        .status();
    assert!(made.unwrap().success());
}

#[test]
fn a_map_whose_keys_end_in_nul_counts_as_any_other() {
    let root = site();
    let text = "Connect:203.0.113.9\tREJECT\nTo:else.example\tRELAY\n";
    build(root.path(), "access", text, &["-N"]);
    let told = explain(root.path(), &["--client-addr", "203.0.113.9"]);
    assert!(
        told.contains("check_relay refuses: 550 5.7.1 Access denied")
            && told.contains("connect:203.0.113.9  REJECT")
            && told.contains("/etc/mail/access:1"),
        "{told}"
    );
    let answers = ask(
        root.path(),
        br#"{"ask":"session","session":{"client_addr":"192.0.2.7","mail_from":"a@good.example","rcpt_to":"joe@else.example"}}
"#,
    );
    let text = answers[0].to_string();
    assert!(!text.contains("Relaying denied"), "{text}");
}

#[test]
fn the_flags_of_a_map_are_those_that_it_is_asked_with() {
    let root = site();
    let mc = MC.replace(
        "FEATURE(`blocklist_recipients')dnl",
        "FEATURE(`virtusertable', `hash -f -a.suffix /etc/mail/virtusertable')dnl\n\
         VIRTUSER_DOMAIN(`v.example')dnl",
    );
    std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let text = "Joe@v.example\tsupport@there.example\n";
    build(root.path(), "virtusertable", text, &["-f"]);
    let expand = |address: &str| {
        let request = format!("{{\"ask\":\"expand\",\"address\":\"{address}\"}}\n");
        ask(root.path(), request.as_bytes())[0].to_string()
    };
    let told = expand("Joe@v.example");
    assert!(told.contains("support@there.example.suffix"), "{told}");
    let told = expand("joe@v.example");
    assert!(!told.contains("there.example"), "{told}");
    let asked = |key: &str| {
        let asked = Command::new(env!("CARGO_BIN_EXE_mapctl"))
            .args(["query", "--root"])
            .arg(root.path())
            .args(["virtusertable", key])
            .output();
        asked.unwrap().status.code()
    };
    assert_eq!(asked("Joe@v.example"), Some(0));
    assert_eq!(asked("joe@v.example"), Some(69));
}

#[test]
fn certificates_are_asked_for_by_the_part_that_the_site_takes_of_them() {
    let root = site();
    let mc = MC.replace(
        "LOCAL_DOMAIN",
        "define(`_CERT_REGEX_ISSUER_', `-s1 /CN=([^/]+)')dnl\n\
         define(`_CERT_REGEX_SUBJECT_', `-s1 /CN=([^/]+)')dnl\n\
         define(`TLS_PERM_ERR')dnl\nLOCAL_DOMAIN",
    );
    std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let text = "CERTISSUER:Good+20CA\tRELAY\nCERTISSUER:Other\tSUBJECT\nCERTSUBJECT:laptop\tRELAY\n\
                TLS_Clt:weak.example\tENCR:256\n";
    build(root.path(), "access", text, &[]);
    let ask_with = |issuer: &str, subject: &str| {
        let request = format!(
            concat!(
                r#"{{"ask":"session","session":{{"client_addr":"192.0.2.7","client_name":"weak.example","#,
                r#""mail_from":"a@good.example","rcpt_to":"joe@else.example","#,
                r#""tls":{{"verify":"OK","cipher_bits":128,"cert_issuer":"{}","cert_subject":"{}"}}}}}}"#,
                "\n"
            ),
            issuer, subject
        );
        ask(root.path(), request.as_bytes())[0].to_string()
    };
    for (issuer, subject, relays) in [
        ("/O=Acme/CN=Good+20CA", "/CN=any", true),
        ("/O=Acme/CN=Other", "/O=x/CN=laptop", true),
        ("/O=Acme/CN=Other", "/O=x/CN=desktop", false),
        ("/O=Acme/CN=Third", "/CN=laptop", false),
    ] {
        let told = ask_with(issuer, subject);
        let denied = told.contains("Relaying denied");
        assert_eq!(!denied, relays, "{issuer} {subject}: {told}");
        assert!(told.contains("554") && told.contains("5.7.0"), "{told}");
    }
}

#[test]
fn aliases_of_class_cdb_are_built_printed_and_read() {
    let root = site();
    let mc = MC.replace(
        "LOCAL_DOMAIN",
        "define(`ALIAS_FILE', `cdb:/etc/mail/aliases')dnl\nLOCAL_DOMAIN",
    );
    let mail = root.path().join("etc/mail");
    std::fs::write(mail.join("sendmail.mc"), mc).unwrap();
    std::fs::write(mail.join("aliases"), "list: a@x.example, b@x.example\n").unwrap();
    for (program, want) in [
        (env!("CARGO_BIN_EXE_newaliases"), "1 aliases"),
        (
            env!("CARGO_BIN_EXE_praliases"),
            "list:a@x.example, b@x.example",
        ),
    ] {
        let ran = Command::new(program)
            .arg("-C")
            .arg(mail.join("sendmail.mc"))
            .arg("--root")
            .arg(root.path())
            .output()
            .unwrap();
        let out = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success() && out.contains(want), "{out}");
    }
    assert!(mail.join("aliases.cdb").exists());
    let told = ask(root.path(), b"{\"ask\":\"expand\",\"address\":\"list\"}\n");
    let told = told[0].to_string();
    assert!(
        told.contains("a@x.example") && told.contains("b@x.example"),
        "{told}"
    );
}

#[test]
fn a_limit_of_connections_says_on_which_hosts_they_are_counted() {
    let root = site();
    let mail = root.path().join("etc/mail");
    build(root.path(), "access", "ClientConn:\t3\n", &[]);
    for (more, on_all_hosts) in [
        ("", false),
        (
            "define(`confCONNECTION_RATE_MAP', `redis:/etc/mail/throttle')dnl\n",
            true,
        ),
    ] {
        let feature = format!("{more}FEATURE(`conncontrol')dnl\nFEATURE(`blocklist_recipients')");
        let mc = MC.replace("FEATURE(`blocklist_recipients')", &feature);
        std::fs::write(mail.join("sendmail.mc"), mc).unwrap();
        let told = explain(root.path(), &["--client-connections", "4"]);
        assert!(told.contains("Too many open connections."), "{told}");
        assert_eq!(
            told.contains("open connections, on all hosts"),
            on_all_hosts,
            "{told}"
        );
        let told = explain(root.path(), &["--client-connections", "3"]);
        assert!(!told.contains("Too many open connections."), "{told}");
    }
}
