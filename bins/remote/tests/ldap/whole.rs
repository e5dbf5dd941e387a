//! Whole maps, which makemap, newaliases and mapctl push write by a transaction.

use std::io::Write;
use std::process::Stdio;

use crate::server::{BASE, Server};
use crate::stage::Host;

/// A host that may write whole maps of these names.
fn host(server: &Server, names: &[&str]) -> Host {
    crate::host(&format!("{}transactions yes\n", server.connection()), names)
}

/// The name of an entry that is made for a key.
fn made(map: &str, key: &str) -> String {
    format!("sendmailMTAKey={key}+sendmailMTAMapName={map}+sendmailMTACluster=mail,{BASE}")
}

/// The newest change of an entry.
fn csn(server: &Server, dn: &str) -> String {
    let lines = server.attribute(dn, "entryCSN");
    lines.first().unwrap_or_else(|| panic!("{dn}")).to_owned()
}

#[test]
fn a_build_makes_the_directorys_map_what_the_text_says() {
    let Some(server) = Server::start("") else {
        return;
    };
    // Made by hand, of another map, and of another cluster.
    server.add_entry("access", "From:spam.example", "REJECT");
    server.add_entry("access", "stays", "OK");
    server.add_entry("other", "a", "OK");
    server.add(&format!(
        "dn: sendmailMTAKey=a+sendmailMTACluster=web,{BASE}\nobjectClass: sendmailMTAMapObject\n\
         sendmailMTACluster: web\nsendmailMTAMapName: access\nsendmailMTAKey: a\n\
         sendmailMTAMapValue: WEB\n"
    ));
    let host = host(&server, &["access", "other"]);
    let stays = csn(&server, &format!("sendmailMTAKey=stays,{BASE}"));
    let there = crate::host(&server.connection(), &["access"]);
    let follow = || there.good("mapctl follow --once ldap:access", "");
    follow();
    let told = host.good(
        "makemap -v ldap:access",
        "A\tRELAY\nstays\tOK\nx,y+z \"(*)\n",
    );
    assert_eq!(
        told,
        "key=`a', val=`RELAY'\nkey=`stays', val=`OK'\nkey=`x,y+z', val=`\"(*)'\n"
    );
    let entries = ["a RELAY", "stays OK", "x,y+z \"(*)"];
    assert_eq!(host.replica("access.ldap").unwrap(), entries);
    follow();
    assert_eq!(there.replica("access.ldap").unwrap(), entries);
    // What is the same already is not touched.
    assert_eq!(csn(&server, &format!("sendmailMTAKey=stays,{BASE}")), stays);
    // The replica is the directory's map, and knows so.
    let told = host.good("mapctl follow --once ldap:access", "");
    assert!(told.contains("is current"), "{told}");
    let list = host.good("mapctl generations ldap:access", "");
    assert!(
        list.contains("3 entries") && list.ends_with(", current, replica\n"),
        "{list}"
    );
    assert_eq!(list.lines().count(), 1, "{list}");
    // A value, a key less, and a key that was there once.
    host.good(
        "makemap ldap access",
        "a\tREJECT\nfrom:spam.example DISCARD\n",
    );
    let entries = ["a REJECT", "from:spam.example DISCARD"];
    assert_eq!(host.replica("access.ldap").unwrap(), entries);
    follow();
    assert_eq!(there.replica("access.ldap").unwrap(), entries);
    assert!(
        server
            .read(&format!("sendmailMTAKey=stays,{BASE}"))
            .is_empty()
    );
    host.good("mapctl follow --once ldap:other", "");
    assert_eq!(host.replica("other.ldap").unwrap(), ["a OK"]);
    let web = format!("sendmailMTAKey=a+sendmailMTACluster=web,{BASE}");
    assert!(
        server
            .read(&web)
            .contains(&"sendmailMTAMapValue: WEB".to_owned())
    );
    // What was made by makemap is changed by editmap, and the other way round.
    there.good("editmap -u ldap access a OK", "");
    host.good("editmap -x ldap access from:spam.example", "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    host.good("makemap ldap:access", "a OK\n");
    assert!(!server.read(&made("access", "a")).is_empty());
}

#[test]
fn flags_and_messages_are_those_of_any_map() {
    let Some(server) = Server::start("") else {
        return;
    };
    let host = host(&server, &["access"]);
    let map = || host.replica("access.ldap").unwrap();
    host.good("makemap ldap:access", "a OK\nb OK\n");
    // The good lines count, and the others are told.
    let ran = host.run("makemap ldap:access", "a REJECT\nb\nc OK\na RELAY\n");
    assert_eq!(ran.code, 65, "{ran:?}");
    assert_eq!(
        ran.err,
        "makemap: access: line 2: no RHS for LHS b\nmakemap: access: line 4: key a: duplicate key\n"
    );
    assert_eq!(map(), ["a REJECT", "c OK"]);
    let ran = host.run("makemap --strict ldap:access", "a x\nb\n");
    assert_eq!(ran.code, 65, "{ran:?}");
    assert_eq!(map(), ["a REJECT", "c OK"]);
    host.good("makemap -r -D; ldap:access", "a 1\n; comment\na 2\nd 3\n");
    assert_eq!(map(), ["a 2", "d 3"]);
    host.good("makemap -o -r ldap:access", "a 4\ne 5\n");
    assert_eq!(map(), ["a 4", "d 3", "e 5"]);
    let ran = host.run("makemap -o ldap:access", "a 6\nf 7\n");
    assert_eq!(ran.code, 65, "{ran:?}");
    assert_eq!(ran.err, "makemap: access: line 1: key a: duplicate key\n");
    assert_eq!(map(), ["a 4", "d 3", "e 5", "f 7"]);
    assert_eq!(
        host.good("makemap -u ldap:access", ""),
        "a\t4\nd\t3\ne\t5\nf\t7\n"
    );
    let report = host.good("makemap --json ldap:access", "a 4\n");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["map"], &report["stored"]),
        (&"ldap:access".into(), &1.into())
    );
    // On a host that has no replica, what is added is added to what the directory has.
    let other = self::host(&server, &["access", "new"]);
    other.good("makemap -o ldap:access", "z 1\n");
    assert_eq!(other.replica("access.ldap").unwrap(), ["a 4", "z 1"]);
    // As of any map, there must be one to add to.
    let ran = other.run("makemap -o ldap:new", "z 1\n");
    assert_eq!(ran.code, 73, "{ran:?}");
    other.good("makemap ldap:new", "z 1\n");
    assert_eq!(other.replica("new.ldap").unwrap(), ["z 1"]);
    // Nothing to do is done.
    other.good("makemap ldap:new", "z 1\n");
    assert_eq!(other.replica("new.ldap").unwrap(), ["z 1"]);
}

#[test]
fn aliases_are_built_and_maps_are_pushed() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add(&format!(
        "dn: sendmailMTAKey=staff,{BASE}\nobjectClass: sendmailMTAAliasObject\nsendmailMTACluster: mail\n\
         sendmailMTAAliasGrouping: aliases\nsendmailMTAKey: Staff\nsendmailMTAAliasValue: joe\n\
         sendmailMTAAliasValue: ann@example.org\n"
    ));
    let host = host(&server, &["aliases", "access"]);
    host.write(
        "aliases",
        "root: joe\nstaff: joe, ann@example.org\nROOT: ann\n",
    );
    let before = csn(&server, &format!("sendmailMTAKey=staff,{BASE}"));
    let path = host.path("aliases").display().to_string();
    let ran = host.run(&format!("newaliases -OAliasFile=ldap:{path}"), "");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        format!(
            "{path}: line 3: ROOT... Warning: duplicate alias name root\n\
             {path}: 3 aliases, longest 20 bytes, 39 bytes total\n"
        )
    );
    let entries = ["@ @", "root ann", "staff joe, ann@example.org"];
    assert_eq!(host.replica("aliases.ldap").unwrap(), entries);
    // Without that word the directory's aliases are no business of newaliases, as in sendmail.
    let other = crate::host(&server.connection(), &["aliases"]);
    other.write("aliases", "x: y\n");
    let path = other.path("aliases").display().to_string();
    assert_eq!(
        other.good(&format!("newaliases -OAliasFile=ldap:{path}"), ""),
        ""
    );
    // Two values are the same as one that lists both.
    assert_eq!(
        csn(&server, &format!("sendmailMTAKey=staff,{BASE}")),
        before
    );
    let there = crate::host(&server.connection(), &["aliases"]);
    there.good("mapctl follow --once ldap:aliases", "");
    assert_eq!(there.replica("aliases.ldap").unwrap(), entries);
    host.good("makemap hash here", "a OK\nb RELAY\n");
    let told = host.good("mapctl push hash:here ldap:access", "");
    assert!(told.contains("2 entries"), "{told}");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK", "b RELAY"]);
}

#[test]
fn what_is_not_written_is_told_and_all_stays() {
    let Some(server) = Server::start("") else {
        return;
    };
    let host = host(&server, &["access", "aliases"]);
    host.good("makemap ldap:access", "a OK\n");
    let connection = format!("{}transactions yes\n", server.connection());
    let plain = server.connection();
    for (name, text) in [
        ("silent", plain.clone()),
        ("no", format!("{plain}transactions no\n")),
        ("bad", format!("{plain}transactions perhaps\n")),
        ("class", format!("{connection}kind class\n")),
        (
            "own",
            format!("{connection}filter (sendmailMTAMapName=access)\n"),
        ),
        ("gone", connection.replace(&server.port.to_string(), "1")),
    ] {
        host.write(&format!("{name}.ldap"), &text);
    }
    let long = "k".repeat(200);
    let fits =
        "k".repeat(240 - "sendmailMTAKey=+sendmailMTAMapName=access+sendmailMTACluster=mail".len());
    for (line, input, code, why) in [
        (
            "makemap ldap:silent",
            "a x",
            78,
            "has to say `transactions yes`",
        ),
        (
            "makemap -o ldap:no",
            "a x",
            78,
            "has to say `transactions yes`",
        ),
        (
            "makemap ldap:bad",
            "a x",
            78,
            "transactions: expected yes or no",
        ),
        ("makemap ldap:class", "a x", 78, "the words of a class"),
        ("makemap ldap:own", "a x", 78, "the site's own"),
        ("makemap ldap:gone", "a x", 75, "Connection refused"),
        ("makemap ldap:access", "", 65, "`empty yes`"),
        (
            "makemap -d ldap:access",
            "a x\na y",
            65,
            "one value of a key",
        ),
        (
            "makemap -N ldap:access",
            "a x",
            65,
            "key a\0: a key and a value",
        ),
        (
            "makemap -e ldap:access",
            "b x\na",
            65,
            "key a: a directory has no empty",
        ),
        (
            "makemap -f ldap:access",
            "A x\na y",
            65,
            "key a: it comes twice",
        ),
        (
            "makemap -t: ldap:access",
            "a  b:x\na b:y",
            65,
            "the key a  b is the same",
        ),
        (
            "makemap ldap:access",
            &format!("{long} x"),
            65,
            "a directory takes 240",
        ),
    ] {
        let ran = host.run(line, &format!("{input}\n"));
        assert_eq!(ran.code, code, "{line} {input}: {ran:?}");
        assert!(ran.err.contains(&why.replace('\0', " ")), "{why}: {ran:?}");
        assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"], "{line}");
        assert!(!server.read(&made("access", "a")).is_empty(), "{line}");
    }
    let mut child = host.command("makemap ldap:access");
    let mut child = child
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"b x\na \xff\n")
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("key a: the value is no UTF-8"));
    // The longest key that is taken fits.
    host.good("makemap ldap:access", &format!("a OK\n{fits} x\n"));
    host.write("access.ldap", &format!("{connection}empty yes\n"));
    host.good("makemap ldap:access", "");
    assert!(host.replica("access.ldap").unwrap().is_empty());
}

#[test]
fn what_is_more_than_an_entry_of_the_map_is_not_written() {
    let Some(server) = Server::start("") else {
        return;
    };
    let host = host(&server, &["access"]);
    let entry = |more: &str| {
        server.add(&format!(
            "dn: sendmailMTAKey=k,{BASE}\nobjectClass: sendmailMTAMapObject\n\
             sendmailMTACluster: mail\nsendmailMTAMapName: access\nsendmailMTAKey: k\n{more}"
        ));
    };
    let dn = format!("sendmailMTAKey=k,{BASE}");
    for (more, kept, code, why) in [
        (
            "sendmailMTAMapValue: OK\nsendmailMTACluster: web\n",
            "a NEW\nk OK\n",
            78,
            "valid for several hosts or clusters",
        ),
        (
            "sendmailMTAMapValue: OK\nobjectClass: extensibleObject\ncn: printer\n",
            "a NEW\nk OK\n",
            78,
            "other object classes",
        ),
        (
            "sendmailMTAMapValue: OK\nsendmailMTAKey: other\n",
            "a NEW\nk OK\nother OK\n",
            65,
            "other keys would change",
        ),
        (
            "sendmailMTAMapSearch: (sendmailMTAKey=a)\n",
            "a OK\nk OK\n",
            65,
            "its value is a search",
        ),
    ] {
        server.add_entry("access", "a", "OK");
        entry(more);
        let before = server.read(&dn);
        for text in ["a x\n", "a x\nk y\nother y\n"] {
            let ran = host.run("makemap ldap:access", text);
            assert_eq!(ran.code, code, "{why}: {ran:?}");
            assert!(
                ran.err.contains(why) && ran.err.contains(&dn),
                "{why}: {ran:?}"
            );
            assert!(ran.err.contains("ldapmodify(1)"), "{ran:?}");
            assert_eq!(server.read(&dn), before);
            let a = server.read(&format!("sendmailMTAKey=a,{BASE}"));
            assert!(a.contains(&"sendmailMTAMapValue: OK".to_owned()), "{a:?}");
        }
        // As it is, it may stay.
        host.good("makemap ldap:access", kept);
        assert_eq!(server.read(&dn), before);
        for dn in [dn.clone(), format!("sendmailMTAKey=a,{BASE}")] {
            server.delete(&dn);
        }
    }
}
