//! Maps in a real directory, with sendmail's schema.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod behind;
mod classes;
mod edit;
mod searches;
mod server;
mod site;
#[path = "../stage/mod.rs"]
mod stage;
mod whole;
mod writers;

use server::{BASE, Server};
use stage::{Host, until};

fn host(connection: &str, names: &[&str]) -> Host {
    let host = Host::new();
    host.write_secret("secret", "right\n");
    for name in names {
        host.write(&format!("{name}.ldap"), connection);
    }
    host
}

#[test]
fn maps_and_aliases_are_followed() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "Connect:192.168", "RELAY");
    server.add_entry("access", "From:spam.example", "REJECT");
    server.add_entry("other", "x", "y");
    server.add(&format!(
        "dn: sendmailMTAKey=staff,{BASE}\nobjectClass: sendmailMTAAliasObject\nsendmailMTACluster: mail\n\
         sendmailMTAAliasGrouping: aliases\nsendmailMTAKey: Staff\nsendmailMTAAliasValue: joe\n\
         sendmailMTAAliasValue: ann@example.org\n\n\
         dn: sendmailMTAKey=elsewhere,{BASE}\nobjectClass: sendmailMTAAliasObject\nsendmailMTACluster: web\n\
         sendmailMTAAliasGrouping: aliases\nsendmailMTAKey: elsewhere\nsendmailMTAAliasValue: joe\n"
    ));
    let host = host(&server.connection(), &["access", "aliases"]);
    let follower = host.follow("access.ldap aliases.ldap");
    let access = |e: &serde_json::Value| e["event"] == "published" && e["map"] == "access.ldap";
    follower.wait(access);
    follower.wait(|e| e["event"] == "published" && e["map"] == "aliases.ldap");
    assert_eq!(
        host.replica("access.ldap").unwrap(),
        ["connect:192.168 RELAY", "from:spam.example REJECT"]
    );
    assert_eq!(
        host.replica("aliases.ldap").unwrap(),
        ["@ @", "staff joe, ann@example.org"]
    );
    assert_eq!(
        host.good("mapctl query ldap:access Connect:192.168", ""),
        "connect:192.168\tRELAY\n"
    );
    // Changed, added and removed.
    server.modify(&format!(
        "dn: sendmailMTAKey=From:spam.example,{BASE}\nchangetype: modify\nreplace: sendmailMTAMapValue\n\
         sendmailMTAMapValue: DISCARD\n\n\
         dn: sendmailMTAKey=Connect:192.168,{BASE}\nchangetype: delete\n"
    ));
    until("the change", || {
        host.replica("access.ldap").unwrap() == ["from:spam.example DISCARD"]
    });
    let list = host.good("mapctl generations ldap:access", "");
    assert!(list.contains("1 entries"), "{list}");
    assert!(list.ends_with(", current, replica\n"), "{list}");
}

#[test]
fn what_goes_wrong_is_told_and_the_last_good_map_stays() {
    let Some(server) = Server::start("limits users size=3") else {
        return;
    };
    server.add_entry("access", "a", "OK");
    server.add(&format!(
        "dn: cn=reader,{BASE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: right\n"
    ));
    let good = server.connection().replace("cn=admin", "cn=reader");
    let host = host(&good, &["access"]);
    host.good("mapctl follow --once ldap:access", "");
    host.write_secret("wrong", "wrong\n");
    let cases = [
        (
            good.replace("file secret", "file wrong"),
            78,
            "invalidCredentials",
        ),
        (
            good.replace(&format!("base {BASE}"), "base dc=nobody"),
            78,
            "the server does not hold dc=nobody",
        ),
        (good.replace("tls off", "tls starttls"), 78, ""),
        (
            good.replace(&format!("base {BASE}\n"), ""),
            78,
            "base: it is missing",
        ),
        (
            good.replace(&server.port.to_string(), "1"),
            75,
            "Connection refused",
        ),
    ];
    for (file, code, why) in cases {
        host.write("access.ldap", &file);
        let ran = host.run("mapctl follow --once ldap:access", "");
        assert_eq!(ran.code, code, "{file}\n{ran:?}");
        assert!(ran.err.contains(why), "{file}\n{ran:?}");
        assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    }
    host.write("access.ldap", &good);
    // Two values of one key, and more entries than the server gives.
    server.add_entry("access", "b", "OK");
    server.modify(&format!(
        "dn: sendmailMTAKey=b,{BASE}\nchangetype: modify\nadd: sendmailMTAMapValue\nsendmailMTAMapValue: REJECT\n"
    ));
    let ran = host.run("mapctl follow --once ldap:access", "");
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(
        ran.err.contains(&format!(
            "sendmailMTAKey=b,{BASE}: it has several sendmailMTAMapValue"
        )),
        "{ran:?}"
    );
    server.modify(&format!(
        "dn: sendmailMTAKey=b,{BASE}\nchangetype: delete\n"
    ));
    for n in 0..5 {
        server.add_entry("access", &format!("k{n}"), "OK");
    }
    let ran = host.run("mapctl follow --once ldap:access", "");
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    // Nobody writes a whole map there, and the reason is told.
    for line in ["makemap ldap access", "makemap -o ldap:access"] {
        let ran = host.run(line, "a b\n");
        assert_eq!(ran.code, 78);
        assert!(ran.err.contains("`transactions yes`"), "{ran:?}");
    }
}

#[test]
fn a_search_that_finds_nothing_or_not_all_is_no_map() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "From:spam.example", "REJECT");
    let host = host(&server.connection(), &["access"]);
    let follow = || host.run("mapctl follow --once ldap:access", "");
    assert_eq!(follow().code, 0);
    let good = ["from:spam.example REJECT"];
    assert_eq!(host.replica("access.ldap").unwrap(), good);
    // A part of the tree is on another server.
    let referral = format!("ou=elsewhere,{BASE}");
    server.add(&format!(
        "dn: {referral}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n\
         ref: ldap://ldap2.example/{referral}\n"
    ));
    let ran = follow();
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(
        ran.err.contains("elsewhere, which is not searched"),
        "{ran:?}"
    );
    assert_eq!(host.replica("access.ldap").unwrap(), good);
    server.delete(&referral);
    assert_eq!(follow().code, 0);
    // Another cluster's name, as lost rights or a wrong base would do.
    let connection = server.connection();
    let other = connection.replace("cluster-name mail", "cluster-name web");
    host.write("access.ldap", &other);
    let ran = follow();
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(ran.err.contains("the search finds nothing"), "{ran:?}");
    assert_eq!(host.replica("access.ldap").unwrap(), good);
    host.write("access.ldap", &format!("{other}empty yes\n"));
    assert_eq!(follow().code, 0);
    assert!(host.replica("access.ldap").unwrap().is_empty());
}

#[test]
fn one_of_two_providers_goes_and_the_other_is_followed() {
    let Some([mut one, two]) = Server::two() else {
        return;
    };
    one.add_entry("access", "a", "OK");
    let connection = one.connection();
    let first = format!("host 127.0.0.1:{}", one.port);
    let both = connection.replace(&first, &format!("{first} 127.0.0.1:{}", two.port));
    let host = host(&both, &["access"]);
    let follower = host.follow("access.ldap");
    follower.wait_for("published");
    // The other provider has it too before the first is gone.
    let other = host_of(&two);
    until("replication", || {
        other.run("mapctl follow --once ldap:access", "").code == 0
            && other.replica("access.ldap").is_some_and(|r| r == ["a OK"])
    });
    one.kill();
    follower.wait_for("error");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    two.add_entry("access", "b", "OK");
    until("the change", || {
        host.replica("access.ldap").unwrap() == ["a OK", "b OK"]
    });
    // And back: what the first missed, it gets from the other.
    one.run();
    let first = host_of(&one);
    until("replication", || {
        first.run("mapctl follow --once ldap:access", "").code == 0
            && first.replica("access.ldap").is_some_and(|r| r.len() == 2)
    });
}

fn host_of(server: &Server) -> Host {
    host(&server.connection(), &["access"])
}

#[test]
fn a_faulty_map_holds_up_no_other_of_its_server() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "a", "OK");
    server.add_entry("mailertable", "m", "smtp:one");
    let host = host(&server.connection(), &["access", "mailertable"]);
    let follower = host.follow("access.ldap mailertable.ldap");
    follower.wait(|e| e["event"] == "published" && e["map"] == "mailertable.ldap");
    // An entry without a value.
    server.add(&format!(
        "dn: sendmailMTAKey=none,{BASE}\nobjectClass: sendmailMTAMapObject\nsendmailMTACluster: mail\n\
         sendmailMTAMapName: access\nsendmailMTAKey: none\n"
    ));
    let told = follower.wait_for("error");
    assert_eq!(told["map"], "access.ldap", "{told}");
    server.add_entry("mailertable", "n", "smtp:two");
    follower.wait(|e| e["event"] == "published" && e["map"] == "mailertable.ldap");
    assert_eq!(
        host.replica("mailertable.ldap").unwrap(),
        ["m smtp:one", "n smtp:two"]
    );
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    let other = host_of(&server);
    other.write("mailertable.ldap", &server.connection());
    let ran = other.run("mapremote follow --once access.ldap mailertable.ldap", "");
    assert_eq!(ran.code, 65, "{ran:?}");
    assert_eq!(other.replica("mailertable.ldap").unwrap().len(), 2);
}

#[test]
fn a_server_that_never_answers_is_left() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It takes connections and says nothing.
    let held = std::thread::spawn(move || {
        let taken = listener.incoming().take(3);
        taken.map(Result::unwrap).collect::<Vec<_>>()
    });
    let host = host(
        &format!("host 127.0.0.1:{port}\ntls off\nbase {BASE}\ncluster-name mail\ntimeout 1\n"),
        &["access"],
    );
    for line in [
        "mapctl follow --once ldap:access",
        "mapctl generations ldap:access",
        "editmap -u ldap access a OK",
    ] {
        let ran = host.run(line, "");
        assert_eq!(ran.code, 75, "{line}: {ran:?}");
        assert!(ran.err.contains("no answer within 1 s"), "{line}: {ran:?}");
    }
    drop(held.join());
}
