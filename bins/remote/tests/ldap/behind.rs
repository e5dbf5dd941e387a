//! Two providers, one of which is not told of changes any more.

use std::fs;
use std::path::Path;

use crate::host;
use crate::server::{BASE, Server};
use crate::stage::until;

#[test]
fn one_that_is_behind_takes_no_map_back() {
    let Some([one, mut two]) = Server::two() else {
        return;
    };
    one.add_entry("access", "a", "REJECT");
    let of = |servers: &[&Server]| {
        let hosts = servers.iter().map(|s| format!(" 127.0.0.1:{}", s.port));
        let first = format!("host 127.0.0.1:{}", one.port);
        let hosts = format!("host{}", hosts.collect::<String>());
        one.connection().replace(&first, &hosts)
    };
    let host = host(&of(&[&two]), &["access"]);
    let follow = || host.run("mapctl follow --once ldap:access", "");
    let replica = || host.replica("access.ldap").unwrap_or_default();
    until("replication", || {
        follow().code == 0 && replica() == ["a REJECT"]
    });
    two.kill();
    two.consume_nothing(2);
    two.run();
    one.add_entry("access", "b", "REJECT");
    host.write("access.ldap", &of(&[&one]));
    assert_eq!(follow().code, 0);
    assert_eq!(replica(), ["a REJECT", "b REJECT"]);
    // What was refused since is not let in again.
    host.write("access.ldap", &of(&[&two]));
    let ran = follow();
    assert_eq!(ran.code, 75, "{ran:?}");
    let told = "the directory is behind: it lacks the change 20";
    assert!(
        ran.err.contains(told) && ran.err.contains("#001#"),
        "{ran:?}"
    );
    assert_eq!(replica(), ["a REJECT", "b REJECT"]);
    // A follower says so, and goes on with the one that is not behind.
    host.write("access.ldap", &of(&[&two, &one]));
    let follower = host.follow("access.ldap");
    let note = follower.wait_for("trouble");
    let why = note["error"].as_str().unwrap();
    let named = format!("127.0.0.1:{} is behind", two.port);
    assert!(why.starts_with(&named), "{note}");
    one.add_entry("access", "c", "REJECT");
    until("the change", || replica().len() == 3);
    drop(follower);
    // The change comes to the other one, and it is as good.
    two.kill();
    two.consume(2, one.port);
    two.run();
    host.write("access.ldap", &of(&[&two]));
    until("replication", || follow().code == 0);
    assert_eq!(replica().len(), 3);
    two.add_entry("access", "d", "REJECT");
    assert_eq!(follow().code, 0);
    assert_eq!(replica().len(), 4);
}

#[test]
fn an_administrator_says_that_a_restored_directory_counts() {
    let Some([mut one, mut two]) = Server::two() else {
        return;
    };
    one.add_entry("access", "a", "REJECT");
    let other = host(&two.connection(), &["access"]);
    let follow = |host: &crate::stage::Host| host.run("mapctl follow --once ldap:access", "").code;
    until("replication", || {
        follow(&other) == 0 && other.replica("access.ldap").unwrap().len() == 1
    });
    two.kill();
    two.consume_nothing(2);
    two.run();
    one.add_entry("access", "b", "REJECT");
    let host = host(&one.connection(), &["access"]);
    assert_eq!(follow(&host), 0);
    // The first is lost, and all there is is what the second had.
    one.kill();
    host.write("access.ldap", &two.connection());
    assert_eq!(follow(&host), 75);
    let list = host.good("mapctl generations ldap:access", "");
    let number = list.split(':').next().unwrap();
    let ran = host.run("mapctl rollback ldap:access 7", "");
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(
        ran.err
            .contains(&format!("the directory has {number} alone")),
        "{ran:?}"
    );
    assert_eq!(host.replica("access.ldap").unwrap().len(), 2);
    host.good(&format!("mapctl rollback ldap:access {number}"), "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a REJECT"]);
    assert_eq!(follow(&host), 0);
}

/// Puts the files of a database that does not run into another folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn each_naming_context_has_changes_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (data, saved) = (folder.path().join("data"), folder.path().join("saved"));
    fs::create_dir(&data).unwrap();
    let Some(mut server) = Server::start(&Server::other_context(&data)) else {
        return;
    };
    server.add("dn: o=other\nobjectClass: organization\no: other\n");
    server.add(
        "dn: sendmailMTAKey=v,o=other\nobjectClass: sendmailMTAMapObject\nsendmailMTACluster: mail\n\
         sendmailMTAMapName: access\nsendmailMTAKey: v\nsendmailMTAMapValue: OK\n",
    );
    server.add(&format!(
        "dn: sendmailMTAKey=a,{BASE}\nobjectClass: sendmailMTAMapObject\nsendmailMTACluster: mail\n\
         sendmailMTAMapName: access\nsendmailMTAKey: a\n\
         sendmailMTAMapURL: ldap:///o=other?sendmailMTAMapValue?sub?(sendmailMTAKey=v)\n"
    ));
    server.kill();
    copy(&data, &saved);
    server.run();
    server.modify(
        "dn: sendmailMTAKey=v,o=other\nchangetype: modify\nreplace: sendmailMTAMapValue\n\
         sendmailMTAMapValue: REJECT\n",
    );
    let host = host(&server.connection(), &["access"]);
    host.good("mapctl follow --once ldap:access", "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a REJECT"]);
    // What is restored is the context that the map refers to.
    server.kill();
    copy(&saved, &data);
    server.run();
    let ran = host.run("mapctl follow --once ldap:access", "");
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.err.contains("the directory is behind"), "{ran:?}");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a REJECT"]);
    // The map moves to the other context, whose changes are older.
    let moved = server
        .connection()
        .replace(&format!("base {BASE}"), "base o=other");
    let other = crate::host(&server.connection(), &["other", "access"]);
    server.add_entry("other", "k", "v");
    other.good("mapctl follow --once ldap:other", "");
    other.write("other.ldap", &format!("{moved}map access\n"));
    other.good("mapctl follow --once ldap:other", "");
    assert_eq!(other.replica("other.ldap").unwrap(), ["v OK"]);
}

#[test]
fn a_deleted_entry_is_no_second_writer() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "a", "OK");
    server.add_entry("access", "b", "OK");
    let host = host(&server.connection(), &["access"]);
    host.good("mapctl follow --once ldap:access", "");
    server.delete(&format!("sendmailMTAKey=a,{BASE}"));
    let told = host.good("mapctl follow --once ldap:access", "");
    assert!(told.contains("1 entries"), "{told}");
    assert!(!told.contains("two writers"), "{told}");
    assert_eq!(host.replica("access.ldap").unwrap(), ["b OK"]);
}

#[test]
fn a_restored_directory_that_is_written_on_takes_no_map_back() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let saved = tempfile::tempdir().unwrap();
    server.add_entry("access", "a", "REJECT");
    server.kill();
    copy(&server.data(), saved.path());
    server.run();
    server.add_entry("access", "b", "REJECT");
    let host = host(&server.connection(), &["access"]);
    host.good("mapctl follow --once ldap:access", "");
    let both = ["a REJECT", "b REJECT"];
    server.kill();
    copy(saved.path(), &server.data());
    server.run();
    let refused = |line: &str| {
        let ran = host.run(line, "");
        assert_eq!(ran.code, 75, "{line}: {ran:?}");
        assert!(ran.err.contains("the directory is behind"), "{ran:?}");
        assert_eq!(host.replica("access.ldap").unwrap(), both, "{line}");
    };
    // Not by a change through this host either, which would make it look newer.
    refused("editmap -u ldap access d OK");
    refused("mapctl follow --once ldap:access");
    server.add_entry("other", "x", "y");
    refused("mapctl follow --once ldap:access");
    refused("mapctl follow --once ldap:access");
    refused("editmap -u ldap access d OK");
    assert!(server.read(&format!("sendmailMTAKey=d,{BASE}")).is_empty());
    // An administrator says that it counts, and it does from then on.
    let list = host.good("mapctl generations ldap:access", "");
    let number = list.split(':').next().unwrap();
    host.good(&format!("mapctl rollback ldap:access {number}"), "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a REJECT"]);
    host.good("editmap -u ldap access d OK", "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a REJECT", "d OK"]);
}

#[test]
fn one_that_shows_the_change_it_lacked_is_followed_again() {
    let Some([mut one, mut two]) = Server::two() else {
        return;
    };
    one.add_entry("access", "a", "OK");
    let other = host(&two.connection(), &["access"]);
    until("replication", || {
        other.run("mapctl follow --once ldap:access", "").code == 0
            && other.replica("access.ldap").unwrap().len() == 1
    });
    two.kill();
    two.consume_nothing(2);
    two.run();
    one.add_entry("access", "b", "OK");
    let host = host(&one.connection(), &["access"]);
    host.good("mapctl follow --once ldap:access", "");
    host.write("access.ldap", &two.connection());
    let follow = || host.run("mapctl follow --once ldap:access", "").code;
    assert_eq!(follow(), 75);
    // It has that change, and another after it, before it is asked again.
    one.add_entry("access", "c", "OK");
    two.kill();
    two.consume(2, one.port);
    two.run();
    // The entry comes before the news that all is there.
    let newest = |server: &Server| server.attribute(BASE, "contextCSN");
    until("replication", || newest(&two) == newest(&one));
    one.kill();
    assert_eq!(follow(), 0);
    assert_eq!(host.replica("access.ldap").unwrap().len(), 3);
}
