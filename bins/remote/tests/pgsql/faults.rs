//! What goes wrong: a clear error, and the last good map stays.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::server::Server;
use crate::stage::{Host, PATIENCE, until};

/// A host whose replica holds a first generation, from which it has to recover.
fn with_a_good_map(server: &Server, database: &str) -> Host {
    server.database(database);
    let host = server.host(database, &["m"]);
    host.good("makemap pgsql m", "a 1\nb 2\nc 3\n");
    host
}

#[test]
fn wrong_credentials_and_wrong_tls_are_told() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("credentials");
    let host = Host::new();
    host.write_secret("right", "right\n");
    host.write_secret("wrong", "wrong\n");
    host.write("open", "right\n");
    let (port, ca) = (server.port, server.path("ca.pem"));
    let base = format!("port {port}\ndatabase credentials\ntimeout 10\n");
    let verified = format!("{base}host localhost\nca-file {}\n", ca.display());
    for (file, code, why) in [
        (format!("{verified}user mail\npassword-file right\n"), 0, ""),
        (
            format!("{verified}user mail\npassword-file wrong\n"),
            78,
            "password authentication failed for user \"mail\" (28P01)",
        ),
        (format!("{verified}user mail\n"), 78, "password missing"),
        (
            format!("{verified}user mail\npassword-file open\n"),
            78,
            "open: mode 0644: a password file is out of the reach of others",
        ),
        // The certificate is good for localhost, not for the address.
        (
            format!(
                "{base}host 127.0.0.1\nca-file {}\nuser mail\npassword-file right\n",
                ca.display()
            ),
            78,
            "certificate not valid for name \"127.0.0.1\"",
        ),
        // Nobody vouches for it.
        (
            format!("{base}host localhost\nca-file other.pem\nuser mail\npassword-file right\n"),
            78,
            "invalid peer certificate: ",
        ),
        (
            format!("{base}host 127.0.0.1\ntls off\nuser mail\npassword-file right\n"),
            78,
            "no pg_hba.conf entry for host \"127.0.0.1\", user \"mail\"",
        ),
        (
            format!("{verified}user mail\npassword-file right\ndatabase2 x\n"),
            78,
            "line 8: \"database2\" is no setting of class pgsql",
        ),
        (
            format!(
                "{base}host {}\nuser admin\n",
                host.path("nowhere").display()
            ),
            75,
            "No such file or directory",
        ),
    ] {
        use rcgen::{CertificateParams, KeyPair};
        let other = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let other = other.self_signed(&KeyPair::generate().unwrap()).unwrap();
        host.write("other.pem", &other.pem());
        host.write("m.pgsql", &file);
        let ran = host.run("makemap pgsql m", "a 1\n");
        assert_eq!(ran.code, code, "{file}\n{}", ran.err);
        assert!(ran.err.contains(why), "{file}\n{}", ran.err);
        assert_eq!(
            ran.err.lines().count(),
            usize::from(code != 0),
            "{}",
            ran.err
        );
        // The map of the first one stays.
        assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1"]);
    }
}

#[test]
fn a_map_that_was_never_here_is_told_as_such() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("never");
    let host = server.host("never", &["m"]);
    let text = std::fs::read_to_string(host.path("m.pgsql")).unwrap();
    host.write(
        "m.pgsql",
        &text.replace("user admin\n", "user nobody-here\n"),
    );
    host.run("mapremote follow --once m.pgsql", "");
    let ran = host.run("mapctl info pgsql:m", "");
    assert_eq!(ran.code, 66);
    let why = "the replica was not made yet; the follower met: ";
    assert!(ran.err.contains(why), "{}", ran.err);
}

#[test]
fn tables_of_another_version_are_not_touched() {
    let Some(server) = Server::shared() else {
        return;
    };
    let host = with_a_good_map(&server, "version");
    server.sql_in("version", "UPDATE mailmaps_schema SET version = 2");
    let why = "the database has tables of version 2; this program knows version 1";
    for line in [
        "makemap pgsql m",
        "mapctl follow --once pgsql:m",
        "mapctl generations pgsql:m",
        "editmap -u pgsql m a 9",
    ] {
        let ran = host.run(line, "a 9\n");
        assert_eq!(ran.code, 78, "{line}: {}", ran.err);
        assert!(
            (ran.err.clone() + &ran.out).contains(why),
            "{line}: {ran:?}"
        );
    }
    assert_eq!(host.replica("m.pgsql").unwrap().len(), 3);
}

#[test]
fn half_a_generation_is_none() {
    let Some(server) = Server::shared() else {
        return;
    };
    let here = with_a_good_map(&server, "half");
    let there = server.host("half", &["m"]);
    there.good("mapremote follow --once m.pgsql", "");
    let text: String = (0..3_000).map(|n| format!("k{n} v\n")).collect();
    for (damage, why) in [
        (
            "DELETE FROM mailmaps_entry WHERE generation = 2 AND key < 'k2'",
            "entries with digest",
        ),
        (
            "UPDATE mailmaps_entry SET value = 'x' WHERE generation = 2 AND key = 'k7'",
            "entries with digest",
        ),
        (
            "DELETE FROM mailmaps_entry WHERE generation = 2",
            "0 entries with digest",
        ),
        (
            "UPDATE mailmaps_map SET current = 77",
            "generation 77 is current, and is not there",
        ),
        (
            "UPDATE mailmaps_generation SET base = 0 WHERE generation = 2",
            "generation 0 is missing",
        ),
        (
            "UPDATE mailmaps_generation SET digest = 'x' WHERE generation = 2",
            "a digest that makes no sense",
        ),
    ] {
        here.good("mapctl rollback pgsql:m 1", "");
        here.good("mapremote follow --once m.pgsql", "");
        here.good("makemap pgsql m", &text);
        // Each of them is generation 2 of a map of its own.
        let undo = server.sql_in("half", "SELECT max(generation) FROM mailmaps_generation");
        let damage = damage.replace("generation = 2", &format!("generation = {undo}"));
        server.sql_in("half", &damage);
        let ran = there.run("mapremote follow --once m.pgsql", "");
        assert_eq!(ran.code, 74, "{damage}: {ran:?}");
        assert!(ran.err.contains(why), "{damage}: {}", ran.err);
        assert_eq!(there.replica("m.pgsql").unwrap(), ["a 1", "b 2", "c 3"]);
        server.sql_in("half", "UPDATE mailmaps_map SET current = 1");
        server.sql_in(
            "half",
            &format!("DELETE FROM mailmaps_generation WHERE generation = {undo}"),
        );
        server.sql_in(
            "half",
            &format!("DELETE FROM mailmaps_entry WHERE generation = {undo}"),
        );
    }
}

#[test]
fn half_a_difference_is_none() {
    let Some(server) = Server::shared() else {
        return;
    };
    let here = with_a_good_map(&server, "halfdiff");
    let there = server.host("halfdiff", &["m"]);
    there.good("mapremote follow --once m.pgsql", "");
    here.good("makemap pgsql m", "a 1\nb 9\nd 4\n");
    server.sql_in(
        "halfdiff",
        "DELETE FROM mailmaps_entry WHERE generation = 2 AND key = 'c'",
    );
    let ran = there.run("mapremote follow --once m.pgsql", "");
    assert_eq!(ran.code, 74);
    assert!(
        ran.err
            .contains("generation 2: 2 keys of its difference are there"),
        "{}",
        ran.err
    );
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 1", "b 2", "c 3"]);
    server.sql_in(
        "halfdiff",
        "INSERT INTO mailmaps_entry SELECT map, 2, 'c', 0, 'changed' FROM mailmaps_entry LIMIT 1",
    );
    let ran = there.run("mapremote follow --once m.pgsql", "");
    assert!(ran.err.contains("entries with digest"), "{}", ran.err);
    assert_eq!(there.replica("m.pgsql").unwrap(), ["a 1", "b 2", "c 3"]);
}

#[test]
fn writers_wait_for_each_other() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("writers");
    let hosts: Vec<Host> = (0..4).map(|_| server.host("writers", &["m"])).collect();
    // Nobody made the tables yet, and all come at once.
    std::thread::scope(|scope| {
        for (h, host) in hosts.iter().enumerate() {
            scope.spawn(move || {
                for n in 0..8 {
                    host.good(&format!("editmap -u pgsql m h{h}k{n} v"), "");
                }
            });
        }
    });
    for host in &hosts {
        host.good("mapremote follow --once m.pgsql", "");
        assert_eq!(host.replica("m.pgsql").unwrap().len(), 32);
    }
}

#[test]
fn a_writer_that_goes_away_leaves_the_engine_as_it_was() {
    let Some(server) = Server::shared() else {
        return;
    };
    let host = with_a_good_map(&server, "away");
    let mut makemap = host
        .command("makemap pgsql m")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = makemap.stdin.take().unwrap();
    input.write_all(b"x 1\n").unwrap();
    until("the lock", || {
        server.sql_in("away", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapremote' AND datname = 'away' AND state = 'idle in transaction'") == "1"
    });
    makemap.kill().unwrap();
    makemap.wait().unwrap();
    drop(input);
    // The lock is free at once, and nothing of it is there.
    host.good("editmap -u pgsql m d 4", "");
    let lines = ["a 1", "b 2", "c 3", "d 4"];
    assert_eq!(host.replica("m.pgsql").unwrap(), lines);
}

#[test]
fn an_engine_that_dies_under_a_writer_leaves_both_as_they_were() {
    let Some(server) = Server::own() else { return };
    let host = with_a_good_map(&server, "dies");
    let mut makemap = host
        .command("makemap pgsql m")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = makemap.stdin.take().unwrap();
    let text: String = (0..10_000).map(|n| format!("k{n} v\n")).collect();
    until("the lock", || {
        server.sql_in("dies", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapremote' AND datname = 'dies' AND state = 'idle in transaction'") == "1"
    });
    server.kill();
    // It may see that at once, and read no more.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let output = makemap.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.starts_with("makemap: m.pgsql: "), "{said}");
    assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1", "b 2", "c 3"]);
    let ran = host.run("editmap -u pgsql m a 2", "");
    assert_eq!(ran.code, 75);
    assert!(
        ran.err.contains("error connecting to server"),
        "{}",
        ran.err
    );
    server.start();
    host.good("makemap pgsql m", &text);
    assert_eq!(host.replica("m.pgsql").unwrap().len(), 10_000);
    assert_eq!(
        server.sql_in(
            "dies",
            "SELECT count(*) FROM mailmaps_entry WHERE generation > 0"
        ),
        "10003"
    );
}

#[test]
fn a_damaged_replica_is_replaced() {
    let Some(server) = Server::shared() else {
        return;
    };
    let host = with_a_good_map(&server, "damaged");
    let replica = host.path("m.pgsql.db");
    let octets = fs::read(&replica).unwrap();
    fs::write(&replica, &octets[..octets.len() / 2]).unwrap();
    host.good("mapremote follow --once m.pgsql", "");
    assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1", "b 2", "c 3"]);
    assert!(PATIENCE.as_secs() > 0);
}

#[test]
fn a_host_that_is_silent_leaves_the_next_one_its_time() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("silent");
    // It takes connections, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new();
    host.write_secret("right", "right\n");
    let connection = format!(
        "host {} 127.0.0.1:{}\ntls off\nuser plain\npassword-file right\ndatabase silent\ntimeout 2\n",
        silent.local_addr().unwrap(),
        server.port
    );
    host.write("m.pgsql", &connection);
    host.good("makemap pgsql m", "a 1\n");
    std::fs::remove_file(host.path("m.pgsql.db")).unwrap();
    host.good("mapremote follow --once m.pgsql", "");
    assert_eq!(host.replica("m.pgsql").unwrap(), ["a 1"]);
    // What each of them said is told where none will do.
    let none = connection.replace(&server.port.to_string(), "1");
    host.write("m.pgsql", &none);
    let ran = host.run("makemap pgsql m", "a 1\n");
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(
        ran.err.contains(": no answer within 2 s; 127.0.0.1:1: "),
        "{ran:?}"
    );
}

#[test]
fn a_writer_whose_source_comes_slowly_says_that_it_is_there() {
    let Some(server) = Server::shared() else {
        return;
    };
    let host = with_a_good_map(&server, "slowly");
    let mut makemap = host
        .command("makemap pgsql m")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    until("a word while it waits", || {
        let text = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapremote' \
                    AND datname = 'slowly' AND state = 'idle in transaction' \
                    AND state_change > xact_start + interval '4 seconds'";
        server.sql_in("slowly", text) == "1"
    });
    makemap.stdin.take().unwrap().write_all(b"x 1\n").unwrap();
    assert!(makemap.wait().unwrap().success());
    assert_eq!(host.replica("m.pgsql").unwrap(), ["x 1"]);
}
