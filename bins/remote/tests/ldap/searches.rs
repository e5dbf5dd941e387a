//! Entries whose values are searches. What sendmail 8.17.1 makes of the same entries, with its flag
//! `-z,`, is what is expected here.

use crate::server::{BASE, Server};
use crate::stage::{Host, until};

const CASES: &str = "\
# what a map and aliases hold; kind, key, attribute and value
map v1      Value  value1
map s1      Search (&(objectClass=sendmailMTAMapObject)(sendmailMTAKey=v1))
map u1      URL    ldap:///ou=people,dc=example,dc=org?description?sub?(ou=ann)
map both    Value  own
map both    Search (sendmailMTAKey=v1)
map none    Search (sendmailMTAKey=nobody)
map loop    Search (sendmailMTAKey=loop2)
map loop2   Search (sendmailMTAKey=loop)
map deep    Search (sendmailMTAKey=s1)
map elsewhere URL  ldap://192.0.2.1:1/ou=ann,ou=people,dc=example,dc=org?description
alias staff Value  first@b.example
alias staff URL    ldap:///ou=people,dc=example,dc=org?description?one?(objectClass=organizationalUnit)
alias group Search (&(objectClass=sendmailMTAAliasObject)(sendmailMTAKey=joe))
alias joe   Value  joe@real.example
alias aloop Search (sendmailMTAKey=aloop2)
alias aloop2 Value x@c.example
alias aloop2 Search (sendmailMTAKey=aloop)
alias nothing Search (sendmailMTAKey=nobody)
";

/// The entries of [`CASES`], as LDIF.
fn entries(cases: &str) -> String {
    let mut ldif: Vec<(String, String)> = Vec::new();
    for line in cases.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (kind, key) = (words.next().unwrap(), words.next().unwrap());
        let (attribute, value) = (words.next().unwrap(), words.next().unwrap());
        let (class, name) = match kind {
            "map" => ("Map", "sendmailMTAMapName: access"),
            _ => ("Alias", "sendmailMTAAliasGrouping: aliases"),
        };
        let line = format!("sendmailMTA{class}{attribute}: {value}\n");
        match ldif.iter_mut().find(|(other, _)| other == key) {
            Some((_, text)) => text.push_str(&line),
            None => ldif.push((
                key.into(),
                format!(
                    "dn: sendmailMTAKey={key},{BASE}\nobjectClass: sendmailMTA{class}Object\n\
                     sendmailMTACluster: mail\n{name}\nsendmailMTAKey: {key}\n{line}"
                ),
            )),
        }
    }
    let texts: Vec<String> = ldif.into_iter().map(|(_, text)| text).collect();
    texts.join("\n")
}

fn host(server: &Server) -> Host {
    let host = Host::new();
    host.write_secret("secret", "right\n");
    for map in ["access", "aliases"] {
        host.write(&format!("{map}.ldap"), &server.connection());
    }
    host
}

fn person(server: &Server, name: &str, addresses: &[&str]) {
    let values = addresses.iter().map(|a| format!("description: {a}\n"));
    server.add(&format!(
        "dn: ou={name},ou=people,{BASE}\nobjectClass: organizationalUnit\nou: {name}\n{}",
        values.collect::<String>()
    ));
}

#[test]
fn searches_give_the_values_that_they_find() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add(&format!(
        "dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n"
    ));
    person(&server, "ann", &["ann@a.example"]);
    person(&server, "joe", &["joe@a.example", "joe2@a.example"]);
    server.add(&entries(CASES));
    server.add_class("R", &["one.example"]);
    server.modify(&format!(
        "dn: sendmailMTAClassName=R,{BASE}\nchangetype: modify\nadd: sendmailMTAClassURL\n\
         sendmailMTAClassURL: ldap:///ou=people,{BASE}?ou?one\n"
    ));
    let host = host(&server);
    host.write("R.ldap", &format!("{}kind class\n", server.connection()));
    let follower = host.follow("access.ldap aliases.ldap R.ldap");
    for map in ["access.ldap", "aliases.ldap", "R.ldap"] {
        follower.wait(|e| e["event"] == "published" && e["map"] == map);
    }
    assert_eq!(
        host.replica("access.ldap").unwrap(),
        [
            "both own",
            "deep value1",
            "elsewhere ann@a.example",
            "s1 value1",
            "u1 ann@a.example",
            "v1 value1",
        ]
    );
    assert_eq!(
        host.replica("aliases.ldap").unwrap(),
        [
            "@ @",
            "aloop x@c.example",
            "aloop2 x@c.example",
            "group joe@real.example",
            "joe joe@real.example",
            "staff first@b.example, ann@a.example, joe@a.example, joe2@a.example",
        ]
    );
    assert_eq!(
        host.replica("R.ldap").unwrap(),
        ["ann ann", "joe joe", "one.example one.example"]
    );
    // What a search finds changes, not the entry that names it.
    server.modify(&format!(
        "dn: ou=ann,ou=people,{BASE}\nchangetype: modify\nreplace: description\n\
         description: anna@a.example\n"
    ));
    until("the change", || {
        let map = host.replica("access.ldap").unwrap();
        map.contains(&"u1 anna@a.example".to_owned())
    });
}

#[test]
fn a_search_that_cannot_be_followed_is_told_with_its_entry() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add(&format!(
        "dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n"
    ));
    person(&server, "joe", &["joe@a.example", "joe2@a.example"]);
    server.add(&entries("map a Value OK\nalias a2 Value joe\n"));
    let host = host(&server);
    host.good("mapctl follow --once ldap:access ldap:aliases", "");
    let mut chain = String::new();
    for n in 0..20 {
        chain += &format!("alias c{n} Search (sendmailMTAKey=c{})\n", n + 1);
    }
    for (cases, at, why) in [
        (
            "map bad URL ldap:///ou=people,dc=example,dc=org?description?sub?(ou=joe)",
            "bad",
            "its searches find several values",
        ),
        ("map bad Search (((a=b)", "bad", "its search (((a=b): "),
        (
            "map bad URL ldap:///ou=people,dc=example,dc=org??sub",
            "bad",
            "it does not name the attributes that are values",
        ),
        (
            "alias bad URL ldap:///dc=elsewhere?mail?sub",
            "bad",
            "its search ldap:///dc=elsewhere?mail?sub: ",
        ),
        (
            &format!("alias bad Search {}", "(!".repeat(50_000)),
            "bad",
            "a search of more than 65536 octets",
        ),
        (
            &format!("alias bad Search {}", "(!".repeat(1_000)),
            "bad",
            "a filter that is nested too deeply",
        ),
        (&chain, "c0", "its searches lead more than 16 deep"),
    ] {
        server.add(&entries(cases));
        let ran = host.run("mapctl follow --once ldap:access ldap:aliases", "");
        assert_eq!(ran.code, 65, "{cases}: {ran:?}");
        let told = format!("sendmailMTAKey={at},{BASE}: ");
        assert!(
            ran.err.contains(&told) && ran.err.contains(why),
            "{why}: {ran:?}"
        );
        assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
        assert_eq!(host.replica("aliases.ldap").unwrap(), ["@ @", "a2 joe"]);
        for line in cases.lines() {
            let key = line.split(' ').nth(1).unwrap();
            server.delete(&format!("sendmailMTAKey={key},{BASE}"));
        }
    }
    assert_eq!(
        host.run("mapctl follow --once ldap:access ldap:aliases", "")
            .code,
        0
    );
}
