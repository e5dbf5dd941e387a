//! The programs in front: what they do to a local map, they do to a shared one.

use libmaps::map::{Entry, MapClass, MapName};
use libmaps::store::path::Safety;
use libmaps::store::publish::{OnDuplicate, Options, Publisher};
use libmaps::store::{self, Opened};

use crate::server::Server;

const ACCESS: &str = "Connect:192.168\tRELAY\nFrom:spam.example\tREJECT\n";

#[test]
fn a_map_is_built_read_edited_followed_and_rolled_back() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("story");
    let (here, there) = (
        server.host("story", &["access"]),
        server.host("story", &["access"]),
    );
    here.good("makemap pgsql:access", ACCESS);
    assert_eq!(
        here.good("mapctl query pgsql:access Connect:192.168", ""),
        "connect:192.168\tRELAY\n"
    );
    here.good("editmap -u pgsql access From:spam.example DISCARD", "");
    here.good("editmap -x pgsql:access connect:192.168", "");
    assert_eq!(
        here.good("makemap -u pgsql access", ""),
        "from:spam.example\tDISCARD\n"
    );

    // Nothing is there before the first look.
    assert_eq!(there.run("makemap -u pgsql access", "").code, 73);
    there.good("mapctl follow --once pgsql:access", "");
    assert_eq!(
        there.good("makemap -u pgsql access", ""),
        "from:spam.example\tDISCARD\n"
    );

    let list = here.good("mapctl --json generations pgsql:access", "");
    let list: Vec<serde_json::Value> = list
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let shown: Vec<_> = list
        .iter()
        .map(|g| {
            (
                g["generation"].as_u64().unwrap(),
                g["difference_from"].as_u64(),
                g["current"] == true,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [(3, Some(2), true), (2, Some(1), false), (1, None, false)]
    );
    assert_eq!(
        list[0]["program"],
        concat!("editmap ", env!("CARGO_PKG_VERSION"))
    );

    here.good("mapctl rollback pgsql:access 1", "");
    // As after an edit, a host has what it made current.
    assert_eq!(here.replica("access.pgsql").unwrap().len(), 2);
    there.good("mapctl follow --once pgsql:access", "");
    assert_eq!(there.replica("access.pgsql").unwrap().len(), 2);
    let gone = here.run("mapctl rollback pgsql:access 77", "");
    assert_eq!(gone.code, 69);
    assert!(
        gone.err
            .contains("generation 77 is not kept; there are 3, 2, 1"),
        "{}",
        gone.err
    );

    // What is written after a rollback stands on what was rolled back to, and has a higher number.
    here.good("editmap -u pgsql access new ok", "");
    there.good("mapctl follow --once pgsql:access", "");
    let lines = [
        "connect:192.168 RELAY",
        "from:spam.example REJECT",
        "new ok",
    ];
    assert_eq!(there.replica("access.pgsql").unwrap(), lines);
    let info = there.good("mapctl info pgsql:access", "");
    let generation = info.lines().find_map(|l| l.strip_prefix("generation:"));
    assert_eq!(generation.map(str::trim), Some("4"), "{info}");
}

#[test]
fn messages_and_exit_codes_are_those_of_a_local_map() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("semantics");
    let host = server.host("semantics", &["m"]);
    let cases = [
        ("makemap TYPE m", "b 1\na 2\nb 3\nlonely\n"),
        ("makemap --strict TYPE m", "b 9\nb 9\n"),
        ("makemap -o TYPE m", "c 3\nA 7\n"),
        ("makemap -u TYPE m", ""),
        ("makemap -r -f TYPE m", "B 1\nB 2\n"),
        ("makemap -u TYPE m", ""),
        ("makemap -d TYPE m", "x 2\nx 1\ny 0\nx 3\n"),
        ("makemap -u TYPE m", ""),
        ("makemap -o -d TYPE m", "x 4\n"),
        ("makemap -u TYPE m", ""),
        ("editmap -q TYPE m y", ""),
        ("editmap -q TYPE m nobody", ""),
        ("editmap -x TYPE m nobody", ""),
        ("editmap -u TYPE m x 9", ""),
        ("makemap -u TYPE m", ""),
        ("makemap -N TYPE m", "k v\n"),
        ("editmap -N -q TYPE m k", ""),
        ("makemap TYPE m", ""),
        ("makemap -u TYPE m", ""),
    ];
    for (line, input) in cases {
        let local = host.run(&line.replace("TYPE", "hash"), input);
        let mut shared = host.run(&line.replace("TYPE", "pgsql"), input);
        shared.err = shared.err.replace("type pgsql", "type hash");
        assert_eq!(shared, local, "{line} {input:?}");
    }
    // And another host has the same.
    let there = server.host("semantics", &["m"]);
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql"), host.replica("m.pgsql"));
}

#[test]
fn followers_get_what_makemap_d_kept_in_its_order() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("duplicates");
    let (here, there) = (
        server.host("duplicates", &["m"]),
        server.host("duplicates", &["m"]),
    );
    here.good("makemap -d pgsql m", "x 2\nx 1\ny 0\nx 3\n");
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(
        there.replica("m.pgsql").unwrap(),
        ["x 2", "x 1", "x 3", "y 0"]
    );
    here.good("makemap -d -o pgsql m", "x 0\nz 1\n");
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(
        there.replica("m.pgsql").unwrap(),
        ["x 2", "x 1", "x 3", "x 0", "y 0", "z 1"]
    );
}

#[test]
fn a_rebuild_that_changes_little_sends_little() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("little");
    let host = server.host("little", &["m"]);
    let text = |changed: u32| -> String {
        let line = |n: u32| format!("k{n} {}\n", if n == changed { "new" } else { "old" });
        (0..5_000).map(line).collect()
    };
    host.good("makemap pgsql m", &text(9_999));
    host.good("makemap pgsql m", &text(17));
    assert_eq!(
        server.sql_in(
            "little",
            "SELECT keys, entries FROM mailmaps_generation ORDER BY generation"
        ),
        "|5000\n1|5000"
    );
    assert_eq!(
        server.sql_in(
            "little",
            "SELECT count(*) FROM mailmaps_entry WHERE generation > 0"
        ),
        "5001"
    );
    // The source's digest comes along: mapctl check compares it with the text.
    let there = server.host("little", &["m"]);
    there.good("mapremote follow --once m.pgsql", "");
    let source = |info: String| {
        info.lines()
            .find_map(|l| l.strip_prefix("source:"))
            .map(|digest| digest.trim().to_owned())
    };
    let here = source(host.good("mapctl info pgsql:m", ""));
    assert!(here.is_some());
    assert_eq!(source(there.good("mapctl info pgsql:m", "")), here);
}

#[test]
fn an_edit_says_what_it_changed_and_nothing_of_a_replica_that_is_not_what_it_says() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("edits");
    let (here, there) = (server.host("edits", &["m"]), server.host("edits", &["m"]));
    here.good("makemap -d pgsql m", "a 1\na 2\nb 1\nc 1\n");
    there.good("mapremote follow --once m.pgsql", "");
    // Another value, under the name of the same generation.
    let path = here.path("m.pgsql.db");
    let Ok(Opened::Redb(map)) = store::open_any(&path, MapName::new(MapClass::Hash, &path)) else {
        panic!("a replica");
    };
    let options = Options {
        on_duplicate: OnDuplicate::KeepAll,
        origin: map.meta().origin.clone(),
        safety: Safety::SystemRules,
        ..Options::new(MapClass::Hash, "test")
    };
    let mut publisher = Publisher::edit(&path, options).unwrap();
    publisher.set(Entry::new("c", "damaged")).unwrap();
    publisher.publish().unwrap();
    here.good("editmap -u pgsql m a 9", "");
    here.good("editmap -x pgsql m b", "");
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 9", "c 1"]);
    let new = server.host("edits", &["m"]);
    new.good("mapremote follow --once m.pgsql", "");
    assert_eq!(new.replica("m.pgsql").unwrap(), ["a 9", "c 1"]);
    // What changes nothing is a generation all the same.
    here.good("editmap -u pgsql m a 9", "");
    there.good("mapremote follow --once m.pgsql", "");
    let keys = "SELECT string_agg(coalesce(keys::text, '-'), ' ' ORDER BY generation) \
         FROM mailmaps_generation";
    assert_eq!(server.sql_in("edits", keys), "- 1 1 0");
}

#[test]
fn old_generations_go_and_what_others_stand_on_stays() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("keep");
    let host = server.host("keep", &["m"]);
    host.write("m.pgsql", &(server.connection("keep") + "keep 2\n"));
    for n in 0..40 {
        host.good(&format!("editmap -u pgsql m k{n} v"), "");
    }
    let numbers =
        "SELECT string_agg(generation::text, ' ' ORDER BY generation) FROM mailmaps_generation";
    let numbers = server.sql_in("keep", numbers);
    // 34 begins anew; nothing older is needed.
    assert_eq!(numbers, "34 35 36 37 38 39 40");
    assert_eq!(
        server.sql_in(
            "keep",
            "SELECT min(generation) FROM mailmaps_entry WHERE generation > 0"
        ),
        "34"
    );
    let there = server.host("keep", &["m"]);
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql").unwrap().len(), 40);
}

#[test]
fn newaliases_and_passwords() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("accounts");
    let names = ["aliases", "sasldb2"];
    let (here, there) = (
        server.host("accounts", &names),
        server.host("accounts", &names),
    );
    here.write("aliases", "root: alice\nalice: alice@example.org\n");
    let path = here.path("aliases").display().to_string();
    let said = here.good(&format!("newaliases -OAliasFile=pgsql:{path}"), "");
    assert!(said.contains("2 aliases"), "{said}");
    // On the other host there is no text, and that is no fault.
    let other = there.path("aliases").display().to_string();
    let said = there.good(&format!("newaliases -OAliasFile=pgsql:{other}"), "");
    assert!(
        said.contains("a shared map without a text on this host"),
        "{said}"
    );

    here.good(
        "saslpasswd2 -p -c -u example.org -f pgsql:sasldb2 alice",
        "right\n",
    );
    here.good(
        "saslpasswd2 -p -c -u example.org -f sasldb2.pgsql bob",
        "other\n",
    );
    there.good("mapctl follow --once pgsql:aliases pgsql:sasldb2", "");
    assert_eq!(there.replica("aliases.pgsql").unwrap().len(), 3);
    let users = "alice@example.org: userPassword\nbob@example.org: userPassword\n";
    for file in ["pgsql:sasldb2", "sasldb2.pgsql"] {
        let listed = there.good(&format!("sasldblistusers2 -f {file}"), "");
        assert_eq!(listed.replace("hashedPassword", "userPassword"), users);
    }
    here.good("saslpasswd2 -d -u example.org -f pgsql:sasldb2 bob", "");
    there.good("mapctl follow --once pgsql:sasldb2", "");
    assert!(
        !there
            .good("sasldblistusers2 -f pgsql:sasldb2", "")
            .contains("bob")
    );
    // A password that was taken away is not left behind in a generation that differs only.
    let differences = "SELECT count(*) FROM mailmaps_generation g JOIN mailmaps_map m ON m.id = g.map \
                       WHERE m.name = 'sasldb2' AND g.base IS NOT NULL";
    assert_eq!(server.sql_in("accounts", differences), "0");
}

#[test]
fn maps_are_pushed_and_replicas_are_written_by_their_writers_alone() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("push");
    let host = server.host("push", &["m", "n"]);
    host.good("makemap -d hash local", "a 1\na 2\nb 3\n");
    host.good("mapctl push hash:local pgsql:m", "");
    assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1", "a 2", "b 3"]);
    for line in [
        "makemap hash m.pgsql",
        "editmap -u hash m.pgsql a 9",
        "mapctl convert --force hash:local hash:m.pgsql",
    ] {
        let ran = host.run(line, "a 9\n");
        assert_eq!(ran.code, 73, "{line}");
        assert!(
            ran.err.contains("a replica of a shared map"),
            "{line}: {}",
            ran.err
        );
    }
    assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1", "a 2", "b 3"]);
    // A map that stands where the first replica is to be is not taken for it by an edit.
    host.good("makemap hash n.pgsql.db", "x y\n");
    let ran = host.run("editmap -u pgsql n a 9", "");
    assert_eq!(ran.code, 73);
    assert!(
        ran.err.contains("mapctl push brings a map to the engine"),
        "{}",
        ran.err
    );
}
