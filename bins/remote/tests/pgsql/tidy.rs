//! Old generations: they go, and nobody who writes a map waits for many entries to go.

use std::io::Write;
use std::process::{Child, Stdio};

use crate::server::Server;
use crate::stage::{Host, Process, until};

/// More than a writer removes itself.
const MANY: u32 = 25_000;

fn text(build: u32) -> String {
    (0..MANY).map(|n| format!("k{n:05} {build}\n")).collect()
}

fn host(server: &Server, database: &str) -> Host {
    server.database(database);
    let host = server.host(database, &["m"]);
    host.write("m.pgsql", &(server.connection(database) + "keep 1\n"));
    host
}

fn rows(server: &Server, database: &str, generations: &str) -> u32 {
    // Those of generation -1 are the switches that are remembered.
    let text = format!(
        "SELECT count(*) FROM mailmaps_entry WHERE generation >= 0 AND generation {generations}"
    );
    server.sql_in(database, &text).parse().unwrap()
}

/// Holds the row of a key until it is dropped.
fn hold(server: &Server, database: &str, key: &str) -> Process {
    let mut child: Child = server
        .session(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = format!("BEGIN; SELECT 1 FROM mailmaps_entry WHERE key = '{key}' FOR UPDATE;\n");
    let input = child.stdin.as_mut().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    let holds = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = '{database}' AND state = 'idle in transaction' AND query LIKE '%UPDATE%'"
    );
    until("the lock of a row", || {
        server.sql_in(database, &holds) == "1"
    });
    Process(child)
}

#[test]
fn a_writer_removes_a_little_and_another_process_the_rest() {
    let Some(server) = Server::shared() else {
        return;
    };
    let host = host(&server, "much");
    host.good("makemap pgsql m", &text(1));
    // Differences from it, which go with it.
    host.good("editmap -u pgsql m a 1", "");
    host.good("editmap -u pgsql m a 2", "");
    // Whoever removes the row of the last key waits.
    let held = hold(&server, "much", "k24999");
    host.good("makemap pgsql m", &text(2));
    let records = "SELECT string_agg(generation::text, ' ') FROM mailmaps_generation";
    assert_eq!(server.sql_in("much", records), "4");
    let left = rows(&server, "much", "= 1");
    assert!((1..=15_000).contains(&left), "{left}");
    drop(held);
    // The process may have waited for too long; then the next writer goes on.
    host.good("makemap -d pgsql m", "a 1\n");
    until("the end of what is old", || {
        rows(&server, "much", "< 5") == 0
    });
    assert_eq!(rows(&server, "much", "= 5"), 1);
}

#[test]
fn what_was_left_for_too_long_is_removed_before_a_writer_ends() {
    let Some(server) = Server::shared() else {
        return;
    };
    let host = host(&server, "long");
    host.good("makemap pgsql m", "a 1\n");
    // Built in another way, it is told whole.
    host.good("makemap -d pgsql m", "a 1\n");
    host.good("makemap pgsql m", "a 1\n");
    // As of processes that ended before their time.
    let leave = "INSERT INTO mailmaps_entry SELECT map, old, convert_to('k' || n, 'UTF8'), 0, 'v' \
         FROM (SELECT DISTINCT map FROM mailmaps_entry) AS maps, generate_series(0, 2) AS old, \
              generate_series(1, 12000) AS n";
    server.sql_in("long", leave);
    host.good("makemap -d pgsql m", "a 2\n");
    assert_eq!(rows(&server, "long", "= 0"), 0);
    until("the end of what is old", || {
        rows(&server, "long", "< 4") == 0
    });
    // And by hand.
    server.sql_in("long", leave);
    host.good("mapremote tidy m.pgsql", "");
    assert_eq!(rows(&server, "long", "< 4"), 0);
    let there = server.host("long", &["m"]);
    there.good("mapremote follow --once m.pgsql", "");
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 2"]);
}
