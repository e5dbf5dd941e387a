//! Followers: every host has the newest map soon, and a whole one always.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use libmaps::live::{Live, Refresh};
use libmaps::store;

use crate::server::{Server, wait_for};
use crate::stage::{Follower, Host, until};

/// Keys of the map whose every value is the number of the build.
const KEYS: u32 = 2_000;

fn text(build: u64) -> String {
    (0..KEYS).map(|n| format!("k{n} {build}\n")).collect()
}

/// Asks a replica over and over, as a server does: each snapshot is of one build and has every
/// key, builds only go up. Gives the number of lookups.
fn ask(host: &Host, stop: &AtomicBool, seen: &AtomicU64) -> u64 {
    let live = Live::open(host.path("m.pgsql.db"), store::open).unwrap();
    let (mut lookups, mut last) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        if let Refresh::KeptOld(error) = live.refresh() {
            panic!("a map that can't be read: {error}");
        }
        let map = live.snapshot();
        let mut build = None;
        for n in (0..KEYS).step_by(7) {
            let rhs = map.get(format!("k{n}").as_bytes()).unwrap().unwrap();
            let number: u64 = std::str::from_utf8(rhs.as_bytes())
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(
                *build.get_or_insert(number),
                number,
                "two builds in one map"
            );
            lookups += 1;
        }
        assert_eq!(map.get(b"absent").unwrap(), None);
        let build = build.unwrap();
        assert!(build >= last, "an older map came back");
        last = build;
        seen.store(build, Ordering::Relaxed);
        std::thread::yield_now();
    }
    lookups
}

#[test]
fn five_hosts_see_each_generation_whole_even_while_the_engine_is_gone() {
    let Some(server) = Server::own() else { return };
    server.database("hosts");
    let writer = server.host("hosts", &["m"]);
    writer.good("makemap pgsql m", &text(1));
    let hosts: Vec<Host> = (0..5).map(|_| server.host("hosts", &["m"])).collect();
    let followers: Vec<Follower> = hosts.iter().map(|host| host.follow("m.pgsql")).collect();
    for follower in &followers {
        follower.wait_for_generation(1);
    }
    let stop = AtomicBool::new(false);
    let seen: Vec<AtomicU64> = hosts.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = hosts
            .iter()
            .zip(&seen)
            .map(|(host, seen)| scope.spawn(|| ask(host, &stop, seen)))
            .collect();
        let end = Ending(&stop);
        for build in 2..=6 {
            writer.good("makemap pgsql m", &text(build));
            for follower in &followers {
                let event = follower.wait_for_generation(build);
                assert_eq!(event["event"], "published");
                let [lag, began, took, fetch, publish] =
                    ["lag", "began", "took", "fetch", "publish"].map(|name| {
                        let seconds = event[format!("{name}_seconds")].as_f64().unwrap();
                        assert!(seconds >= 0.0, "{event}");
                        seconds
                    });
                assert!((lag - began - took).abs() < 1e-6, "{event}");
                assert!((took - fetch - publish).abs() < 1e-6, "{event}");
            }
        }
        // Gone without a word, for a while.
        server.kill();
        for follower in &followers {
            let event = follower.wait_for("error");
            assert_eq!(event["temporary"], true, "{event}");
        }
        let ran = writer.run("makemap pgsql m", &text(7));
        assert_eq!(ran.code, 75, "{}", ran.err);
        std::thread::sleep(Duration::from_secs(3));
        server.start();
        wait_for(&server);
        writer.good("makemap pgsql m", &text(8));
        for seen in &seen {
            until("the newest build on every host", || {
                seen.load(Ordering::Relaxed) == 8
            });
        }
        drop(end);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

/// Stops the readers also when a check fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_follower_that_is_killed_leaves_a_whole_map() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("killed");
    let (writer, host) = (server.host("killed", &["m"]), server.host("killed", &["m"]));
    writer.good("makemap pgsql m", &text(1));
    host.good("mapremote follow --once m.pgsql", "");
    for build in 2..12 {
        let mut follower = host.follow("m.pgsql");
        writer.good("makemap pgsql m", &text(build));
        std::thread::sleep(Duration::from_millis(build * 7));
        follower.process.0.kill().unwrap();
        follower.process.0.wait().unwrap();
        let lines = host.replica("m.pgsql").unwrap();
        assert_eq!(lines.len(), KEYS as usize);
        let build = lines[0].split(' ').nth(1).unwrap();
        assert!(lines.iter().all(|line| line.ends_with(build)));
    }
    host.good("mapremote follow --once m.pgsql", "");
    assert_eq!(host.replica("m.pgsql").unwrap()[0], "k0 11");
}

#[test]
fn maps_of_one_server_share_a_connection_and_a_faulty_one_holds_up_no_other() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("several");
    let names = ["a", "b", "c"];
    let (writer, host) = (
        server.host("several", &names),
        server.host("several", &names),
    );
    writer.good("makemap pgsql a", "x 1\n");
    writer.good("makemap pgsql b", "x 1\n");
    let follower = host.follow("a.pgsql b.pgsql c.pgsql");
    follower.wait(|e| e["event"] == "empty" && e["map"] == "c.pgsql");
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapremote' AND datname = 'several'";
    assert_eq!(server.sql_in("several", connections), "1");
    // One is damaged; the others go on.
    writer.good("makemap pgsql a", "x 2\ny 2\n");
    follower.wait(|e| e["map"] == "a.pgsql" && e["generation"] == 2);
    server.sql_in(
        "several",
        "UPDATE mailmaps_generation SET digest = '00' WHERE generation = 2",
    );
    server.sql_in("several", "UPDATE mailmaps_generation SET mark = 'ffffffffffffffffffffffffffffffff' WHERE generation = 2");
    server.sql_in(
        "several",
        "UPDATE mailmaps_map SET serial = serial + 1 WHERE name = 'a'",
    );
    server.sql_in("several", "NOTIFY mailmaps, 'a'");
    let told = follower.wait_for("error");
    assert_eq!(told["map"], "a.pgsql");
    writer.good("makemap pgsql c", "x 3\n");
    follower.wait(|e| e["event"] == "published" && e["map"] == "c.pgsql");
    assert_eq!(host.replica("a.pgsql").unwrap(), ["x 2", "y 2"]);
    assert_eq!(host.replica("c.pgsql").unwrap(), ["x 3"]);
    let info = host.good("mapctl --json info pgsql:a", "");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert!(
        info["engine error"]
            .as_str()
            .unwrap()
            .contains("entries with digest"),
        "{info}"
    );
}

#[test]
fn a_follower_ends_with_the_program_that_started_it() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("parent");
    let host = server.host("parent", &["m"]);
    let mut child = host
        .command("mapremote follow --with-parent m.pgsql")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_map_that_cannot_be_looked_at_holds_up_no_other() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("heldup");
    let names = ["a", "b"];
    let (writer, host) = (server.host("heldup", &names), server.host("heldup", &names));
    for name in names {
        writer.good(&format!("makemap pgsql {name}"), "x 1\n");
    }
    let follower = host.follow("a.pgsql b.pgsql");
    follower.wait(|e| e["event"] == "published" && e["map"] == "b.pgsql");
    let session = "SELECT pid FROM pg_stat_activity WHERE application_name = 'mapremote' AND datname = 'heldup'";
    let before = server.sql_in("heldup", session);
    server.sql_in(
        "heldup",
        "UPDATE mailmaps_map SET current = 77, serial = 77 WHERE name = 'a'; NOTIFY mailmaps, 'a'",
    );
    let told = follower.wait_for("error");
    assert_eq!(told["map"], "a.pgsql", "{told}");
    // The fault is of one map, not of the connection.
    for value in 2..5 {
        writer.good("makemap pgsql b", &format!("x {value}\n"));
        follower.wait(|e| e["event"] == "published" && e["map"] == "b.pgsql");
    }
    assert_eq!(host.replica("b.pgsql").unwrap(), ["x 4"]);
    assert_eq!(server.sql_in("heldup", session), before);
    let once = server.host("heldup", &names);
    let ran = once.run("mapremote follow --once a.pgsql b.pgsql", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert_eq!(once.replica("b.pgsql").unwrap(), ["x 4"]);
    // So is a connection file that can't be read.
    once.write("c.pgsql", "what\n");
    std::fs::remove_file(once.path("b.pgsql.db")).unwrap();
    let ran = once.run("mapremote follow --once c.pgsql b.pgsql d.pgsql", "");
    assert_eq!(ran.code, 78, "{ran:?}");
    for file in ["c.pgsql: ", "d.pgsql: "] {
        assert!(ran.out.contains(file), "{ran:?}");
    }
    assert_eq!(once.replica("b.pgsql").unwrap(), ["x 4"]);
}

#[test]
fn mapctl_follow_is_the_follower() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("becomes");
    let host = server.host("becomes", &["m"]);
    host.good("makemap pgsql m", "a 1\n");
    let child = host
        .command("mapctl follow pgsql:m")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Who ends what he has started ends the follower.
    let child = crate::stage::Process(child);
    let name = format!("/proc/{}/comm", child.0.id());
    until("the follower's name", || {
        std::fs::read_to_string(&name).unwrap() == "mapremote\n"
    });
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapremote' AND datname = 'becomes'";
    until("its session", || server.sql_in("becomes", sessions) == "1");
    drop(child);
    until("its end", || server.sql_in("becomes", sessions) == "0");
}
