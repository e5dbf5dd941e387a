//! Two writers that went on from one generation without each other: the engine lost what it had
//! confirmed, and hosts which never had that wrote on. Whoever has it stays with it.

use crate::server::Server;
use crate::stage::Host;

/// What the host has that saw everything: alice's password was taken away.
const NEWEST: [&str; 2] = ["bob 1", "carol 1"];

/// A database as it was before the last two switches, `NAME_old`, and hosts that saw those, whose
/// connection files name it now: a standby that was behind has taken the place of the server.
fn failed_over(server: &Server, name: &str, hosts: usize) -> Vec<Host> {
    server.database(name);
    let writer = server.host(name, &["m"]);
    writer.good("makemap pgsql m", "alice 1\n");
    writer.good("editmap -u pgsql m carol 1", "");
    server.sql(&format!("CREATE DATABASE {name}_old TEMPLATE {name}"));
    writer.good("editmap -x pgsql m alice", "");
    writer.good("editmap -u pgsql m bob 1", "");
    let all = (0..hosts).map(|_| {
        let host = server.host(name, &["m"]);
        host.good("mapremote follow --once m.pgsql", "");
        host.write("m.pgsql", &server.connection(&format!("{name}_old")));
        host
    });
    all.collect()
}

/// A host that knows of nothing, and writes so often.
fn write_apart(server: &Server, name: &str, times: usize) -> Host {
    let host = server.host(&format!("{name}_old"), &["m"]);
    for n in 0..times {
        host.good(&format!("editmap -u pgsql m apart {n}"), "");
    }
    host
}

fn stays(host: &Host, why: &str) {
    let ran = host.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
    assert_eq!(host.replica("m.pgsql").unwrap(), NEWEST);
    let info = host.good("mapctl --json info pgsql:m", "");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert!(
        info["engine error"].as_str().unwrap().contains(why),
        "{info}"
    );
}

fn follows(host: &Host, entries: &[&str]) {
    host.good("mapremote follow --once m.pgsql", "");
    assert_eq!(host.replica("m.pgsql").unwrap(), entries);
    let info = host.good("mapctl --json info pgsql:m", "");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["engine error"], serde_json::Value::Null, "{info}");
}

const APART: &str = "has gone another way";

#[test]
fn however_many_writes_follow_a_host_that_has_more_does_not_go_back() {
    let Some(server) = Server::shared() else {
        return;
    };
    let hosts = failed_over(&server, "apart", 1);
    stays(&hosts[0], "the engine has gone back");
    // Switch 4 of the others, and 5, and so many that the engine keeps none of those.
    for writes in [2, 1, 5] {
        let apart = write_apart(&server, "apart", writes);
        let why = match writes {
            2 => "the engine has gone back",
            _ => APART,
        };
        stays(&hosts[0], why);
        follows(
            &apart,
            &["alice 1", &format!("apart {}", writes - 1), "carol 1"],
        );
    }
    // An edit would be one of the other map.
    let ran = hosts[0].run("editmap -u pgsql m dora 1", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(APART), "{ran:?}");
    stays(&hosts[0], APART);
    let list = hosts[0].good("mapctl generations pgsql:m", "");
    assert!(list.contains(APART), "{list}");
}

#[test]
fn a_follower_that_runs_says_it_and_stays() {
    let Some(server) = Server::shared() else {
        return;
    };
    let hosts = failed_over(&server, "tells", 1);
    let apart = write_apart(&server, "tells", 3);
    let follower = hosts[0].follow("m.pgsql");
    let event = follower.wait_for("error");
    assert!(event["error"].as_str().unwrap().contains(APART), "{event}");
    assert_eq!(event["exit"], 74);
    // It goes on with what its administrator decides.
    hosts[0].good("mapctl rollback pgsql:m 5", "");
    follows(&hosts[0], &["alice 1", "apart 2", "carol 1"]);
    apart.good("editmap -u pgsql m dora 4", "");
    follower.wait(|e| e["event"] == "published" && e["generation"] == 6);
    follows(&hosts[0], &["alice 1", "apart 2", "carol 1", "dora 4"]);
}

#[test]
fn a_rollback_where_it_is_known_decides_for_all_that_have_the_same() {
    let Some(server) = Server::shared() else {
        return;
    };
    let hosts = failed_over(&server, "decided", 2);
    let apart = write_apart(&server, "decided", 3);
    // One of a host that does not know of it is a switch as any other.
    apart.good("mapctl rollback pgsql:m 4", "");
    apart.good("mapctl rollback pgsql:m 5", "");
    stays(&hosts[0], APART);
    // It is current, and decided all the same.
    hosts[0].good("mapctl rollback pgsql:m 5", "");
    for host in hosts.iter().chain([&apart]) {
        follows(host, &["alice 1", "apart 2", "carol 1"]);
    }
    // And so it stays.
    hosts[1].good("editmap -x pgsql m alice", "");
    for host in hosts.iter().chain([&apart]) {
        follows(host, &["apart 2", "carol 1"]);
    }
}

#[test]
fn a_build_or_a_push_where_it_is_known_decides_too() {
    let Some(server) = Server::shared() else {
        return;
    };
    for (name, line) in [
        ("build", "makemap pgsql m"),
        ("push", "mapctl push hash:m.pgsql.db pgsql:m"),
        ("whole", "mapctl push --full hash:m.pgsql.db pgsql:m"),
    ] {
        for writes in [0, 1, 3] {
            let name = format!("{name}{writes}");
            let hosts = failed_over(&server, &name, 2);
            let apart = write_apart(&server, &name, writes);
            hosts[0].good(line, "bob 1\ncarol 1\n");
            for host in hosts.iter().chain([&apart]) {
                follows(host, &NEWEST);
            }
            // A new host's writes are followed by all of them.
            let _new = write_apart(&server, &name, 2);
            for host in hosts.iter().chain([&apart]) {
                follows(host, &["apart 1", "bob 1", "carol 1"]);
            }
        }
    }
}

#[test]
fn one_that_knows_less_does_not_decide_for_one_that_knows_more() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("more");
    let writer = server.host("more", &["m"]);
    writer.good("makemap pgsql m", "alice 1\n");
    server.sql("CREATE DATABASE more_old TEMPLATE more");
    writer.good("editmap -u pgsql m carol 1", "");
    let less = server.host("more", &["m"]);
    less.good("mapremote follow --once m.pgsql", "");
    writer.good("editmap -x pgsql m alice", "");
    writer.good("editmap -u pgsql m bob 1", "");
    for host in [&writer, &less] {
        host.write("m.pgsql", &server.connection("more_old"));
    }
    less.good("makemap pgsql m", "alice 1\n");
    stays(&writer, "the engine has gone back");
    for _ in 0..3 {
        less.good("editmap -u pgsql m apart 1", "");
        less.good("editmap -x pgsql m apart", "");
        let ran = writer.run("mapremote follow --once m.pgsql", "");
        assert_eq!(ran.code, 74, "{ran:?}");
    }
    stays(&writer, APART);
}

/// As if so many switches had been made meanwhile.
fn switch_often(server: &Server, database: &str, from: u64, to: u64) {
    server.sql_in(
        database,
        &format!(
            "INSERT INTO mailmaps_entry
             SELECT id, -1, decode(lpad(to_hex(n), 16, '0'), 'hex'), 0, md5(n::text)::bytea
               FROM mailmaps_map, generate_series({from}, {to}) AS n;
             UPDATE mailmaps_map SET serial = {to}"
        ),
    );
}

#[test]
fn a_follower_that_was_away_for_long_is_no_alarm() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("away");
    let (here, there) = (server.host("away", &["m"]), server.host("away", &["m"]));
    here.good("makemap pgsql m", "a 1\n");
    there.good("mapremote follow --once m.pgsql", "");
    for _ in 0..4 {
        here.good("mapctl push --full hash:m.pgsql.db pgsql:m", "");
    }
    // Generation 1 is not kept any more.
    let numbers = "SELECT min(generation) FROM mailmaps_generation";
    assert_ne!(server.sql_in("away", numbers), "1");
    switch_often(&server, "away", 6, 1_005);
    here.good("editmap -u pgsql m b 1", "");
    follows(&there, &["a 1", "b 1"]);
    let serial = "SELECT serial FROM mailmaps_map";
    assert_eq!(server.sql_in("away", serial), "1006");
}

#[test]
fn what_the_engine_does_not_know_any_more_is_not_believed() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("forgot");
    let (here, there) = (server.host("forgot", &["m"]), server.host("forgot", &["m"]));
    here.good("makemap pgsql m", "a 1\n");
    there.good("mapremote follow --once m.pgsql", "");
    here.good("makemap pgsql m", "a 2\n");
    switch_often(&server, "forgot", 3, 40_000);
    here.good("makemap pgsql m", "a 3\n");
    let kept = "SELECT count(*) FROM mailmaps_entry WHERE generation = -1";
    // Beside so many that which the writer had.
    assert_eq!(server.sql_in("forgot", kept), "32769");
    let ran = there.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(
        ran.err
            .contains("does not remember as far back as switch 1"),
        "{ran:?}"
    );
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 1"]);
    // Without the replica it is a new host.
    std::fs::remove_file(there.path("m.pgsql.db")).unwrap();
    follows(&there, &["a 3"]);
}

#[test]
fn what_older_programs_wrote_is_judged_by_the_numbers() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("older");
    let (here, there) = (server.host("older", &["m"]), server.host("older", &["m"]));
    here.good("makemap pgsql m", "a 1\n");
    here.good("makemap pgsql m", "a 2\n");
    there.good("mapremote follow --once m.pgsql", "");
    // They note no switches.
    let forget = "DELETE FROM mailmaps_entry WHERE generation = -1";
    for n in 3..8 {
        here.good("makemap pgsql m", &format!("a {n}\n"));
        server.sql_in("older", forget);
    }
    follows(&there, &["a 7"]);
    // Where the number of what is here was given to another, nothing else needs to be known.
    server.sql_in(
        "older",
        "UPDATE mailmaps_generation SET mark = 'ffffffffffffffffffffffffffffffff'
          WHERE generation = 7;
         UPDATE mailmaps_map SET serial = 9",
    );
    let ran = there.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(APART), "{ran:?}");
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 7"]);
    there.good("mapctl rollback pgsql:m 7", "");
    follows(&there, &["a 7"]);
}
