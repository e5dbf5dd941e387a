//! editmap on a directory: one entry at once.

use crate::host;
use crate::server::{BASE, Server};

#[test]
fn an_entry_is_set_changed_and_deleted() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "From:spam.example", "REJECT");
    // Of another map and of another cluster.
    server.add_entry("other", "a.example", "OK");
    server.add(&format!(
        "dn: sendmailMTAKey=a.example+sendmailMTACluster=web,{BASE}\n\
         objectClass: sendmailMTAMapObject\nsendmailMTACluster: web\nsendmailMTAMapName: access\n\
         sendmailMTAKey: a.example\nsendmailMTAMapValue: OK\n"
    ));
    let host = host(&server.connection(), &["access", "aliases"]);
    // On a host that has no replica yet, too.
    for (line, entries) in [
        (
            "editmap -u ldap access A.example RELAY",
            &["a.example RELAY", "from:spam.example REJECT"][..],
        ),
        (
            "editmap -u ldap:access from:spam.example DISCARD",
            &["a.example RELAY", "from:spam.example DISCARD"],
        ),
        (
            "editmap -u ldap access a,b+c=d\"(*) x\\y",
            &[
                "a,b+c=d\"(*) x\\y",
                "a.example RELAY",
                "from:spam.example DISCARD",
            ],
        ),
        (
            "editmap -x ldap access a,b+c=d\"(*)",
            &["a.example RELAY", "from:spam.example DISCARD"],
        ),
        (
            "editmap -x ldap access FROM:spam.example",
            &["a.example RELAY"],
        ),
    ] {
        assert_eq!(host.good(line, ""), "", "{line}");
        assert_eq!(host.replica("access.ldap").unwrap(), entries, "{line}");
    }
    assert_eq!(host.good("editmap -q ldap access a.example", ""), "RELAY\n");
    // Exit codes and words are those of any other map.
    let ran = host.run("editmap -q ldap access nobody", "");
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (69, "editmap: couldn't find key nobody in map access\n")
    );
    let ran = host.run("editmap -x ldap access nobody", "");
    let told = "editmap: key nobody doesn't exist in map access\n";
    assert_eq!((ran.code, ran.err.as_str()), (0, told));
    // Another host follows it, and the directory's other entries are as they were.
    let there = crate::host(&server.connection(), &["access", "other"]);
    there.good("mapctl follow --once ldap:access ldap:other", "");
    assert_eq!(there.replica("access.ldap").unwrap(), ["a.example RELAY"]);
    assert_eq!(there.replica("other.ldap").unwrap(), ["a.example OK"]);
    host.good("editmap -u ldap aliases staff joe,ann", "");
    assert_eq!(
        host.replica("aliases.ldap").unwrap(),
        ["@ @", "staff joe,ann"]
    );
}

#[test]
fn what_cannot_be_changed_is_told_and_stays() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "a", "OK");
    server.add_entry("access", "b", "OK");
    server.add(&format!(
        "dn: sendmailMTAKey=two,{BASE}\nobjectClass: sendmailMTAMapObject\nsendmailMTACluster: mail\n\
         sendmailMTAMapName: access\nsendmailMTAKey: two\nsendmailMTAKey: three\nsendmailMTAMapValue: OK\n\n\
         dn: sendmailMTAKey=b+sendmailMTAMapName=access,{BASE}\nobjectClass: sendmailMTAMapObject\n\
         sendmailMTACluster: mail\nsendmailMTAMapName: access\nsendmailMTAKey: b\nsendmailMTAMapValue: OK\n\n\
         dn: sendmailMTAKey=search,{BASE}\nobjectClass: sendmailMTAMapObject\nsendmailMTACluster: mail\n\
         sendmailMTAMapName: access\nsendmailMTAKey: search\nsendmailMTAMapSearch: (sendmailMTAKey=a)\n"
    ));
    let host = host(&server.connection(), &["access", "words"]);
    host.good("mapctl follow --once ldap:access", "");
    let before = host.replica("access.ldap").unwrap();
    let connection = server.connection();
    host.write("words.ldap", &format!("{connection}kind class\n"));
    host.write(
        "own.ldap",
        &format!("{connection}filter (sendmailMTAMapName=access)\nempty yes\n"),
    );
    host.write(
        "gone.ldap",
        &connection.replace(&server.port.to_string(), "1"),
    );
    let nobody = connection.replace("file secret", "file wrong");
    host.write_secret("wrong", "wrong\n");
    host.write("denied.ldap", &nobody);
    for (line, code, why) in [
        (
            "editmap -u ldap access two x",
            65,
            "other keys would change",
        ),
        (
            "editmap -x ldap access three",
            65,
            "other keys would change",
        ),
        (
            "editmap -u ldap access b x",
            65,
            "the key is in several entries",
        ),
        (
            "editmap -u ldap access search x",
            65,
            "its value is a search",
        ),
        ("editmap -u ldap words w x", 78, "the words of a class"),
        ("editmap -u ldap own new x", 78, "what else a new one needs"),
        ("editmap -N -u ldap access k x", 65, "a text without NUL"),
        ("editmap -u ldap gone k x", 75, "Connection refused"),
        ("editmap -x ldap denied a", 78, "invalidCredentials"),
    ] {
        let ran = host.run(line, "");
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        let told = "editmap: error opening type ldap map ";
        assert!(
            ran.err.starts_with(told) && ran.err.contains(why),
            "{ran:?}"
        );
        host.good("mapctl follow --once ldap:access", "");
        assert_eq!(host.replica("access.ldap").unwrap(), before, "{line}");
    }
    // An entry of the site's own filter can be changed, where it is there.
    host.good("editmap -u ldap own a REJECT", "");
    assert!(
        host.replica("own.ldap")
            .unwrap()
            .contains(&"a REJECT".into())
    );
    // The last entry of a map may be deleted where an empty map is one.
    let other = crate::host(&connection, &["one"]);
    server.add_entry("one", "k", "v");
    other.good("mapctl follow --once ldap:one", "");
    let ran = other.run("editmap -x ldap one k", "");
    assert_eq!(ran.code, 65, "{ran:?}");
    let told = "the directory has the change, and not the replica: the search finds nothing";
    assert!(ran.err.contains(told), "{ran:?}");
    assert_eq!(other.replica("one.ldap").unwrap(), ["k v"]);
    other.write("one.ldap", &format!("{connection}empty yes\n"));
    other.good("mapctl follow --once ldap:one", "");
    assert!(other.replica("one.ldap").unwrap().is_empty());
}

#[test]
fn changes_at_once_are_all_there() {
    let Some(server) = Server::start("") else {
        return;
    };
    let hosts: Vec<_> = (0..4)
        .map(|_| host(&server.connection(), &["access"]))
        .collect();
    std::thread::scope(|scope| {
        for (h, host) in hosts.iter().enumerate() {
            scope.spawn(move || {
                for n in 0..5 {
                    host.good(&format!("editmap -u ldap access h{h}k{n} v"), "");
                    // All of them make this one, or change it.
                    host.good(&format!("editmap -u ldap access shared v{h}"), "");
                }
            });
        }
    });
    for host in &hosts {
        host.good("mapctl follow --once ldap:access", "");
        assert_eq!(host.replica("access.ldap").unwrap().len(), 21);
    }
}

#[test]
fn what_is_more_than_an_entry_of_the_map_is_not_deleted() {
    let Some(server) = Server::start("") else {
        return;
    };
    let person = format!("uid=joe,{BASE}");
    server.add(&format!(
        "dn: {person}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: joe\n\
         userPassword: secret\ndescription: OK\nhost: one\n"
    ));
    server.add(&format!(
        "dn: sendmailMTAKey=shared,{BASE}\nobjectClass: sendmailMTAMapObject\n\
         sendmailMTACluster: mail\nsendmailMTACluster: web\nsendmailMTAMapName: access\n\
         sendmailMTAKey: shared\nsendmailMTAMapValue: OK\n\n\
         dn: sendmailMTAKey=more,{BASE}\nobjectClass: sendmailMTAMapObject\n\
         objectClass: extensibleObject\nsendmailMTACluster: mail\nsendmailMTAMapName: access\n\
         sendmailMTAKey: more\nsendmailMTAMapValue: OK\ncn: printer\n\n\
         dn: sendmailMTAKey=sales,{BASE}\nobjectClass: sendmailMTAAliasObject\n\
         sendmailMTACluster: mail\nsendmailMTAAliasGrouping: aliases\n\
         sendmailMTAAliasGrouping: others\nsendmailMTAKey: sales\nsendmailMTAAliasValue: joe\n"
    ));
    let host = host(&server.connection(), &["access", "aliases"]);
    let connection = server.connection();
    let own = "filter (&(objectClass=account)(description=*))\nkey-attribute uid\n";
    host.write(
        "people.ldap",
        &format!("{connection}{own}value-attribute description\n"),
    );
    host.good("mapctl follow --once ldap:people", "");
    for (line, dn, why) in [
        (
            "editmap -x ldap people joe",
            person.clone(),
            "the site's own",
        ),
        (
            "editmap -x ldap access shared",
            format!("sendmailMTAKey=shared,{BASE}"),
            "several hosts or clusters",
        ),
        (
            "editmap -x ldap access more",
            format!("sendmailMTAKey=more,{BASE}"),
            "other object classes",
        ),
        (
            "editmap -x ldap aliases sales",
            format!("sendmailMTAKey=sales,{BASE}"),
            "several maps",
        ),
    ] {
        let before = server.read(&dn);
        let ran = host.run(line, "");
        assert_eq!(ran.code, 78, "{line}: {ran:?}");
        for told in [why, dn.as_str(), "ldapmodify(1)", "ldapdelete(1)"] {
            assert!(ran.err.contains(told), "{told}: {ran:?}");
        }
        assert_eq!(server.read(&dn), before, "{line}");
        assert!(!before.is_empty());
        // A value is changed, and nothing else.
        let set = format!("{} NEW", line.replace("-x", "-u"));
        host.good(&set, "");
        let changed = |line: &String| {
            let value = [
                "description",
                "sendmailMTAMapValue",
                "sendmailMTAAliasValue",
            ];
            let name = line.split(':').next().unwrap_or_default().to_owned();
            value.contains(&name.as_str())
        };
        let rest = |lines: Vec<String>| {
            lines
                .into_iter()
                .filter(|l| !changed(l))
                .collect::<Vec<_>>()
        };
        let after = server.read(&dn);
        assert_eq!(after.iter().filter(|l| changed(l)).count(), 1, "{after:?}");
        assert!(after.iter().any(|l| l.ends_with(": NEW")), "{after:?}");
        assert_eq!(rest(after), rest(before), "{set}");
    }
    assert_eq!(host.replica("people.ldap").unwrap(), ["joe NEW"]);
    // A key that is not there is no fault, as ever.
    let ran = host.run("editmap -x ldap people ann", "");
    assert_eq!(ran.code, 0, "{ran:?}");
}
