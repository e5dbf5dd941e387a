//! Engines that lost what they had confirmed, and maps that are damaged there: the last good map
//! stays, and a new build or a rollback goes on from there.

use crate::server::Server;
use crate::stage::Host;

/// Two hosts whose replicas hold generation 2 of a map.
fn two_hosts(server: &Server, database: &str) -> (Host, Host) {
    server.database(database);
    let (here, there) = (server.host(database, &["m"]), server.host(database, &["m"]));
    here.good("makemap pgsql m", "a 1\n");
    here.good("makemap pgsql m", "a 2\n");
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 2"]);
    (here, there)
}

/// What a server comes to that is restored from a backup of before generation 2.
fn restore_generation_1(server: &Server, database: &str) {
    server.sql_in(
        database,
        "UPDATE mailmaps_map SET current = 1, last = 1, serial = 1;
         DELETE FROM mailmaps_generation WHERE generation > 1;
         DELETE FROM mailmaps_entry WHERE generation > 1;
         DELETE FROM mailmaps_entry WHERE generation = -1 AND key > decode(lpad('1', 16, '0'), 'hex')",
    );
}

fn info(host: &Host, key: &str) -> serde_json::Value {
    let info = host.good("mapctl --json info pgsql:m", "");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    info[key].clone()
}

#[test]
fn an_engine_that_has_gone_back_is_not_followed() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (here, there) = two_hosts(&server, "back");
    restore_generation_1(&server, "back");
    let why = "the engine has gone back: generation 1 by switch 1 is current there, and \
               generation 2 by switch 2, which is here,";
    for _ in 0..2 {
        let ran = there.run("mapremote follow --once m.pgsql", "");
        assert_eq!(ran.code, 74, "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
        assert_eq!(there.replica("m.pgsql").unwrap(), ["a 2"]);
    }
    let told = info(&there, "engine error");
    assert!(told.as_str().unwrap().contains(why), "{told}");
    // An edit would be one of the older map.
    let ran = here.run("editmap -u pgsql m b 1", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");

    // A new build of a host that knows what was lost goes on from there, under a new number.
    here.good("makemap pgsql m", "a 3\n");
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 3"]);
    assert_eq!(info(&there, "generation"), 3);
    assert_eq!(info(&there, "engine error"), serde_json::Value::Null);
}

#[test]
fn a_rollback_says_that_the_older_map_counts() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (here, there) = two_hosts(&server, "backroll");
    restore_generation_1(&server, "backroll");
    // It is current already, and the switch is made all the same.
    here.good("mapctl rollback pgsql:m 1", "");
    for host in [&here, &there] {
        host.good("mapremote follow --once m.pgsql", "");
        assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1"]);
    }
    let serial = "SELECT serial FROM mailmaps_map";
    assert_eq!(server.sql_in("backroll", serial), "3");
}

#[test]
fn an_engine_that_lost_the_map_is_no_silence() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (here, there) = two_hosts(&server, "lost");
    let tables = "mailmaps_entry, mailmaps_generation, mailmaps_map, mailmaps_schema";
    server.sql_in("lost", &format!("DROP TABLE {tables}"));
    let why = "the engine has no generation of the map, and generation 2 is here: it lost the map";
    let ran = there.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
    assert!(
        info(&there, "engine error").as_str().unwrap().contains(why),
        "{ran:?}"
    );
    // One without a replica could not be brought up to date either.
    let new = server.host("lost", &["m"]);
    let ran = new.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 69, "{ran:?}");
    here.good("mapctl push hash:m.pgsql.db pgsql:m", "");
    for host in [&there, &new] {
        host.good("mapremote follow --once m.pgsql", "");
        assert_eq!(host.replica("m.pgsql").unwrap(), ["a 2"]);
    }
}

#[test]
fn an_engine_that_is_gone_is_told_beside_the_replica() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (_, there) = two_hosts(&server, "gone");
    let good = server.connection("gone");
    there.write("m.pgsql", &good.replace("user admin", "user nobody"));
    let ran = there.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 78, "{ran:?}");
    let told = info(&there, "engine error");
    assert!(
        told.as_str().unwrap().contains("\"nobody\" does not exist"),
        "{told}"
    );
    // What was known before is not forgotten.
    assert_eq!(info(&there, "engine generation"), 2);
    there.write("m.pgsql", &good);
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(info(&there, "engine error"), serde_json::Value::Null);
}

#[test]
fn a_damaged_generation_is_replaced_by_the_next_build() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (here, there) = two_hosts(&server, "mend");
    let (builder, text) = (server.host("mend", &["m"]), "a 5\nb 5\n");
    builder.good("mapremote follow --once m.pgsql", "");
    for damage in [
        // The difference that the builder would take first.
        "DELETE FROM mailmaps_entry WHERE generation = (SELECT current FROM mailmaps_map)",
        "DELETE FROM mailmaps_generation WHERE generation = (SELECT current FROM mailmaps_map)",
        "UPDATE mailmaps_generation SET digest = 'x' WHERE generation = (SELECT current FROM mailmaps_map)",
        // Not even the current one.
        "UPDATE mailmaps_generation SET class = 'x' WHERE generation < (SELECT current FROM mailmaps_map)",
    ] {
        here.good("editmap -u pgsql m damaged x", "");
        server.sql_in("mend", damage);
        builder.good("makemap pgsql m", text);
        there.good("mapremote follow --once m.pgsql", "");
        assert_eq!(
            there.replica("m.pgsql").unwrap(),
            ["a 5", "b 5"],
            "{damage}"
        );
        here.good("mapremote follow --once m.pgsql", "");
    }
}

#[test]
fn a_rollback_mends_a_map_whose_current_record_is_gone() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (here, there) = two_hosts(&server, "mendroll");
    server.sql_in(
        "mendroll",
        "DELETE FROM mailmaps_generation WHERE generation = 2",
    );
    let why = "generation 2 is current, and is not there";
    let list = here.good("mapctl generations pgsql:m", "");
    assert!(list.contains(why), "{list}");
    let ran = here.run("editmap -u pgsql m a 9", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
    here.good("mapctl rollback pgsql:m 1", "");
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 1"]);
}

#[test]
fn everything_is_sent_where_that_is_asked_for() {
    let Some(server) = Server::shared() else {
        return;
    };
    let (here, there) = two_hosts(&server, "fullpush");
    // The host that holds it does not see that the engine lost it.
    server.sql_in(
        "fullpush",
        "DELETE FROM mailmaps_entry WHERE generation = 2",
    );
    let new = server.host("fullpush", &["m"]);
    let ran = new.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    here.good("mapctl push --full hash:m.pgsql.db pgsql:m", "");
    for host in [&there, &new] {
        host.good("mapremote follow --once m.pgsql", "");
        assert_eq!(host.replica("m.pgsql").unwrap(), ["a 2"]);
    }
}
