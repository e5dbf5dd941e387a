//! `mapctl serve` as other mail programs see it: over its sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod confinement;
mod decisions;
mod server;
mod sockets;

use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use server::{Server, build, carried, netstring, site};

#[test]
fn lookups() {
    let root = site();
    let long = format!("big\t{}\n", "x".repeat(990));
    build(root.path(), "hash", "etc/mail/big", &long, &[]);
    let big = format!("big=hash:{}", root.path().join("etc/mail/big").display());
    // --root holds for maps of the command line, too.
    let big = big.replace(&root.path().display().to_string(), "");
    // Asked in the letters that it was built with.
    build(
        root.path(),
        "hash",
        "etc/mail/capitals",
        "Key\tv\n",
        &["-f"],
    );
    let capitals = "capitals=hash:/etc/mail/capitals";
    let server = Server::start(
        root.path(),
        &["--map", &big, "--map", capitals, "--max-reply", "900"],
    );
    for (asked, want) in [
        ("access from:good.example", "OK OK"),
        ("access From:GOOD.example", "OK OK"),
        ("ACCESS from:good.example", "OK OK"),
        ("access from:absent.example", "NOTFOUND "),
        ("access ", "NOTFOUND "),
        (
            "access authinfo:hub.example",
            "PERM an entry with a login, which is not served",
        ),
        (
            "access AuthInfo:hub.example",
            "PERM an entry with a login, which is not served",
        ),
        ("access authinfo:other.example", "NOTFOUND "),
        (
            "authinfo authinfo:hub.example",
            "PERM authinfo: no such map here",
        ),
        ("mailertable far.example", "OK smtp:[127.0.0.1]"),
        ("virtusertable info@shop.example", "OK alice"),
        // sendmail's own names of its maps.
        ("virtuser @shop.example", "OK bob"),
        ("Alias0 staff", "OK alice, bob"),
        ("Alias1 staff", "NOTFOUND "),
        ("extra k", "OK v"),
        ("capitals Key", "OK v"),
        ("capitals key", "NOTFOUND "),
        // All alias files, the first that knows the name.
        ("aliases staff", "OK alice, bob"),
        ("aliases list", "OK :include:/etc/list"),
        ("aliases both", "OK first"),
        ("aliases nobody", "NOTFOUND "),
        // It is optional and missing.
        ("domaintable a.example", "NOTFOUND "),
        ("big big", "PERM a value of 993 octets; --max-reply is 900"),
        // Searches, as sendmail's rules make them, for clients that ask for whole addresses.
        ("search-virtusertable info@shop.example", "OK alice"),
        ("search-virtusertable Info+lists@Shop.example", "OK alice"),
        ("search-virtusertable x@shop.example", "OK bob"),
        ("search-virtusertable x@elsewhere.example", "NOTFOUND "),
        ("search-virtusertable old@gone.example", "NOTFOUND "),
        ("search-virtusertable later@gone.example", "TEMP come back"),
        ("search-virtusertable x", "NOTFOUND "),
        ("search-virtusertable @", "NOTFOUND "),
        ("search-aliases staff@example.org", "OK alice, bob"),
        ("search-aliases Staff", "OK alice, bob"),
        ("search-aliases staff@elsewhere.example", "NOTFOUND "),
        ("search-aliases staff+x@example.org", "OK alice, bob"),
        ("search-aliases star+x", "OK bob"),
        ("search-aliases star", "NOTFOUND "),
        // Who keeps a copy: an alias that leads to itself ends there.
        ("search-aliases joe@example.org", "OK joe, ann@far.example"),
        ("search-aliases kept", "NOTFOUND "),
        (
            "search-aliases other",
            "TEMP an alias of addresses and of programs, files or lists",
        ),
        // For a delivery agent, not for a list of addresses.
        ("search-aliases list", "NOTFOUND "),
        // Either answer would lose mail.
        (
            "search-aliases sales",
            "TEMP an alias of addresses and of programs, files or lists",
        ),
        ("search-mailertable a@far.example", "OK smtp:[127.0.0.1]"),
        ("search-mailertable far.example", "OK smtp:[127.0.0.1]"),
        (
            "search-mailertable a@host.lab.example",
            "OK smtp:hub.lab.example",
        ),
        (
            "search-mailertable a@closed.example",
            "OK error:5.7.0 closed",
        ),
        ("search-mailertable a@later.example", "OK retry:4.2.1 later"),
        ("search-mailertable a@far.org", "OK smtp:[hub.example.net]"),
        // Local mail never comes to the table.
        ("search-mailertable a@example.org", "NOTFOUND "),
        ("search-mailertable a", "NOTFOUND "),
        // transport(5) names no other user.
        (
            "search-mailertable a@user.example",
            "TEMP an entry of another user, which transport(5) can't name",
        ),
        (
            "search-mailertable a@moved.example",
            "TEMP an entry of another user, which transport(5) can't name",
        ),
        ("search-mailertable a@own.example", "OK procmail:/etc/rc"),
        ("search-mailertable a@row.example", "OK smtp:hub1,[hub2]"),
        ("search-mailertable a@near.example", "NOTFOUND "),
        (
            "extra alice\0example.org\0hashedPassword",
            "PERM the record of an account, which is not served",
        ),
        ("sasldb alice", "PERM sasldb: no such map here"),
        (
            "hash:/etc/mail/access from:good.example",
            "PERM hash:/etc/mail/access: no such map here",
        ),
        ("/etc/shadow root", "PERM /etc/shadow: no such map here"),
        (
            "access",
            "PERM expected the name of a map, a blank and a key",
        ),
        ("", "PERM expected the name of a map, a blank and a key"),
    ] {
        assert_eq!(server.lookup(asked), want, "{asked}");
    }
}

#[test]
fn details_stay_where_the_site_has_it() {
    let root = site();
    let mc = root.path().join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&mc).unwrap();
    let text = text.replacen(
        "FEATURE(",
        "FEATURE(`preserve_local_plus_detail')dnl\nFEATURE(",
        1,
    );
    fs::write(&mc, text).unwrap();
    let server = Server::start(root.path(), &[]);
    for (asked, want) in [
        ("search-aliases staff", "OK alice, bob"),
        ("search-aliases staff+x", "NOTFOUND "),
        ("search-aliases star+x", "NOTFOUND "),
    ] {
        assert_eq!(server.lookup(asked), want, "{asked}");
    }
}

#[test]
fn logins_are_served_where_that_is_wanted() {
    let root = site();
    let server = Server::start(root.path(), &["--secrets"]);
    for asked in [
        "access authinfo:hub.example",
        "authinfo AuthInfo:hub.example",
    ] {
        assert!(server.lookup(asked).starts_with("OK \"U:joe\""), "{asked}");
    }
}

#[test]
fn many_requests_in_one_connection_in_any_pieces() {
    let root = site();
    let server = Server::start(root.path(), &[]);
    let mut stream = server.connect("maps");
    let asked = ["extra k", "extra no", "nowhere k"].map(netstring).concat();
    for octet in asked.as_bytes() {
        stream.write_all(&[*octet]).unwrap();
    }
    let many = netstring("extra k").repeat(5000);
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(many.as_bytes()).unwrap());
    for want in ["OK v", "NOTFOUND ", "PERM nowhere: no such map here"] {
        assert_eq!(carried(&mut stream), want);
    }
    for _ in 0..5000 {
        assert_eq!(carried(&mut stream), "OK v");
    }
    writer.join().unwrap();
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let root = site();
    let server = Server::start(root.path(), &[]);
    let endless = "9".repeat(1 << 20);
    let zeros = "0".repeat(1 << 20);
    let huge_key = format!("{}:extra {}", 300_000, "k".repeat(300_000));
    for (octets, why) in [
        ("x", "expected a length in digits and a colon"),
        (":", "expected a length in digits and a colon"),
        ("-3:abc,", "expected a length in digits and a colon"),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "expected a length in digits and a colon",
        ),
        ("07:extra k,", "the length starts with a zero"),
        (&zeros, "the length starts with a zero"),
        (
            "6:extra k,",
            "no comma after as many octets as were announced",
        ),
        (
            "7:extra k;",
            "no comma after as many octets as were announced",
        ),
        ("999999:", "longer than 100257 octets"),
        ("18446744073709551623:extra k,", "longer than 100257 octets"),
        (&endless, "longer than 100257 octets"),
        (&huge_key, "longer than 100257 octets"),
    ] {
        let said = server.last_words("maps", octets.as_bytes());
        let want = netstring(&format!("PERM no netstring: {why}"));
        let head: String = octets.chars().take(30).collect();
        assert_eq!(said, want, "{head}");
    }
    // The largest key is an ordinary one.
    let asked = format!("extra {}", "k".repeat(100_000));
    assert_eq!(server.lookup(&asked), "NOTFOUND ");
    // What came before the nonsense is answered.
    let said = server.last_words("maps", b"7:extra k,7:extra");
    assert_eq!(said.get(..7), Some("4:OK v,"), "{said}");
}

#[test]
fn each_request_sees_the_newest_map_and_a_broken_one_is_never_empty() {
    let root = site();
    let server = Server::start(root.path(), &[]);
    let mut stream = server.connect("maps");
    let mut ask = |asked: &str| {
        stream.write_all(netstring(asked).as_bytes()).unwrap();
        carried(&mut stream)
    };
    assert_eq!(ask("extra k"), "OK v");
    build(root.path(), "hash", "etc/mail/extra", "k\tnew\n", &[]);
    assert_eq!(ask("extra k"), "OK new");
    // One that can't be read: the last good one answers.
    let path = root.path().join("etc/mail/extra.db");
    fs::write(root.path().join("wreck"), "nonsense").unwrap();
    fs::rename(root.path().join("wreck"), &path).unwrap();
    assert_eq!(ask("extra k"), "OK new");
    assert_eq!(ask("extra absent"), "NOTFOUND ");
    fs::remove_file(&path).unwrap();
    assert_eq!(ask("extra k"), "OK new");
    server.says("map extra: ");
    drop(server);
    // A server that never saw a good one.
    fs::write(&path, "nonsense").unwrap();
    let server = Server::start(root.path(), &[]);
    let said = server.lookup("extra k");
    assert!(
        said.starts_with("TEMP ") && said.contains("extra.db"),
        "{said}"
    );
    assert_eq!(
        server.lookup("mailertable far.example"),
        "OK smtp:[127.0.0.1]"
    );
    fs::remove_file(&path).unwrap();
    assert!(server.lookup("extra k").starts_with("TEMP "));
    build(root.path(), "hash", "etc/mail/extra", "k\tagain\n", &[]);
    assert_eq!(server.lookup("extra k"), "OK again");
}

#[test]
fn a_missing_alias_map_is_not_an_empty_one_unless_it_is_optional() {
    let root = site();
    fs::remove_file(root.path().join("etc/lists.db")).unwrap();
    let server = Server::start(root.path(), &[]);
    server.says("lists.db: No such file");
    assert_eq!(server.lookup("aliases staff"), "OK alice, bob");
    assert_eq!(server.lookup("Alias0 nobody"), "NOTFOUND ");
    for asked in [
        "aliases list",
        "Alias1 list",
        "search-aliases list",
        "search-aliases nobody@example.org",
    ] {
        let said = server.lookup(asked);
        assert!(
            said.starts_with("TEMP ") && said.contains("lists"),
            "{asked}: {said}"
        );
    }
    // What does not ask it does not need it.
    for asked in [
        "search-virtusertable x@elsewhere.example",
        "search-mailertable a@near.example",
    ] {
        assert_eq!(server.lookup(asked), "NOTFOUND ", "{asked}");
    }
    // `-o` says that it may be missing.
    drop(server);
    let mc = server::MC.replace("/etc/aliases,/etc/lists", "/etc/aliases,hash:-o /etc/lists");
    fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let server = Server::start(root.path(), &[]);
    for asked in ["aliases list", "Alias1 list", "search-aliases nobody"] {
        assert_eq!(server.lookup(asked), "NOTFOUND ", "{asked}");
    }
}

#[test]
fn mapctl_and_a_site_ask_maps_behind_the_socket() {
    let root = site();
    let _server = Server::start(root.path(), &[]);
    let socket = root.path().join("maps");
    let query = |map: String, key: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
            .args(["query", &map, key])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (text, output.status.code())
    };
    let socket = socket.display();
    let found = query(format!("socketmap:unix:{socket}:aliases"), "Staff");
    assert_eq!(found, ("staff\talice, bob\n".into(), Some(0)));
    let found = query(format!("socket:unix:{socket}@access"), "From:no.example");
    assert_eq!(found, (String::new(), Some(69)));
    let found = query(format!("socketmap:unix:{socket}:nowhere"), "k");
    assert_eq!(found, (String::new(), Some(78)));
    let found = query(format!("socketmap:unix:{socket}"), "k");
    assert_eq!(found, (String::new(), Some(64)));

    // A second site has no maps of its own.
    let other = tempfile::tempdir().unwrap();
    fs::create_dir_all(other.path().join("etc/mail")).unwrap();
    let mc = server::MC
        .replace(
            "hash -T<TMPF> /etc/mail/access",
            &format!("socket -T<TMPF> unix:{socket}"),
        )
        .replace(
            "hash -o /etc/mail/virtusertable",
            &format!("socket -d9 unix:{socket}"),
        )
        .replace(
            "/etc/aliases,/etc/lists",
            &format!("socket:unix:{socket}:aliases"),
        );
    fs::write(other.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
            .arg(args[0])
            .arg("--root")
            .arg(other.path())
            .args(&args[1..])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let said = run(&[
        "explain",
        "--client-name",
        "host.spam.example",
        "--rcpt",
        "a@example.org",
    ]);
    assert!(said.contains("550 5.7.1 We know you"), "{said}");
    assert!(
        said.contains("by maps:access: connect:spam.example"),
        "{said}"
    );
    let said = run(&["query", "virtusertable", "info@shop.example"]);
    assert_eq!(said, "info@shop.example\talice\n");
    let said = run(&["expand", "staff"]);
    assert!(said.contains("alice") && said.contains("bob"), "{said}");
}

#[test]
fn a_client_that_dawdles_is_sent_away() {
    let root = site();
    let server = Server::start(root.path(), &["--patience", "1", "--idle", "1"]);
    // Half a request; then nothing; then a drop now and then.
    assert_eq!(server.last_words("maps", b"7:ext"), "");
    assert_eq!(server.last_words("maps", b""), "");
    assert_eq!(
        server.last_words("policy", b"request=smtpd_access_policy\nsend"),
        ""
    );
    let mut stream = server.connect("maps");
    let mut dripping = stream.try_clone().unwrap();
    let dripper = std::thread::spawn(move || {
        while dripping.write_all(b"1").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
    });
    // Digits without end are told early, drops that might become a request by the clock.
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    dripper.join().unwrap();
}
