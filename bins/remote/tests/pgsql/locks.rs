//! A server that hangs while a writer waits for a lock.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use libmaps::map::MapClass;
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;
use remote::engine::{Amount, Engine, Left};
use remote::pgsql::Pgsql;

use crate::server::{Server, signal};
use crate::stage::until;

/// The processes of the server that wait for a lock.
const WAITING: &str = "SELECT pid FROM pg_stat_activity \
     WHERE application_name = 'mapremote' AND wait_event_type = 'Lock'";

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

#[test]
fn a_writer_waits_no_longer_for_a_server_that_hangs() {
    let Some(server) = Server::own() else { return };
    server.database("hang");
    let host = server.host("hang", &["m"]);
    host.write(
        "m.pgsql",
        &server.connection("hang").replace("timeout 10", "timeout 1"),
    );
    host.good("makemap pgsql m", "a 1\n");
    let file = host.path("m.pgsql");
    let connection = Connection::read(MapClass::Pgsql, &file, None).unwrap();
    // A map that is there, and one whose first writer makes it.
    for map in ["m", "new"] {
        runtime().block_on(async {
            let mut holder = Pgsql::connect(&connection.server).await.unwrap();
            holder.lock(map).await.unwrap();
            let at = connection.server.clone();
            let waiter = std::thread::spawn(move || {
                runtime().block_on(async {
                    let mut waiter = Pgsql::connect(&at).await.unwrap();
                    waiter.lock_within(map, Duration::from_secs(10)).await
                })
            });
            let mut process = String::new();
            until("a writer that waits", || {
                process = server.sql(WAITING);
                !process.is_empty()
            });
            signal("STOP", &process);
            let ended = waiter.join().unwrap();
            signal("CONT", &process);
            let fault = ended.unwrap_err();
            assert_eq!(fault.exit, SysExit::TempFail, "{fault}");
            assert_eq!(fault.why, "no answer within 11 s");
        });
    }
    // One that answers says who holds it.
    runtime().block_on(async {
        let mut holder = Pgsql::connect(&connection.server).await.unwrap();
        holder.lock("m").await.unwrap();
        let mut waiter = Pgsql::connect(&connection.server).await.unwrap();
        let ended = waiter.lock_within("m", Duration::from_millis(50)).await;
        assert_eq!(ended.unwrap().map(|head| head.last), None);
        holder.leave().await.unwrap();
        let ended = waiter.lock_within("m", Duration::from_millis(50)).await;
        assert_eq!(ended.unwrap().map(|head| head.last), Some(1));
    });
}

#[test]
fn writers_wait_for_one_another_whatever_the_isolation_of_the_database() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("isolated");
    server.sql("ALTER DATABASE isolated SET default_transaction_isolation = 'serializable'");
    let host = server.host("isolated", &["m"]);
    host.good("makemap pgsql m", "a 1\n");
    let piped = |command: &str| {
        let mut command = host.command(command);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut first = piped("makemap pgsql m");
    until("a writer that has the map", || {
        server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'isolated' \
             AND application_name = 'mapremote' AND state = 'idle in transaction'",
        ) == "1"
    });
    let second = piped("editmap -u pgsql m b 3");
    let waiting = format!("{WAITING} AND datname = 'isolated'");
    until("a writer that waits", || !server.sql(&waiting).is_empty());
    first.stdin.take().unwrap().write_all(b"a 2\n").unwrap();
    for writer in [first, second] {
        let out = writer.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{said}");
    }
    assert_eq!(host.good("mapctl dump pgsql:m", ""), "a\t2\nb\t3\n");
}

#[test]
fn who_has_written_does_not_wait_for_the_next_writer_to_remove_what_is_old() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("meanwhile");
    let host = server.host("meanwhile", &["m"]);
    host.write("m.pgsql", &(server.connection("meanwhile") + "keep 1\n"));
    for build in ["a 1\n", "a 2\n", "a 3\n"] {
        host.good("makemap pgsql m", build);
    }
    let file = host.path("m.pgsql");
    let connection = Connection::read(MapClass::Pgsql, &file, None).unwrap();
    runtime().block_on(async {
        let mut holder = Pgsql::connect(&connection.server).await.unwrap();
        holder.lock("m").await.unwrap();
        let mut writer = Pgsql::connect(&connection.server).await.unwrap();
        let left = writer.remove("m", 0, Amount::Little).await;
        assert_eq!(left.unwrap(), Left::Nothing);
    });
}
