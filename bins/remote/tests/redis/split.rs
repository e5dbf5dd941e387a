//! Two writers that went on from one generation without each other.

use crate::server::Server;
use crate::stage::Host;

/// A host whose map is in this database.
fn host(server: &Server, database: u32) -> Host {
    let host = Host::new();
    host.write("m.redis", &file(server, database));
    host
}

fn file(server: &Server, database: u32) -> String {
    format!("{}database {database}\n", server.connection())
}

fn stays(host: &Host, why: &str) {
    let ran = host.run("mapremote follow --once m.redis", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
    assert_eq!(host.replica("m.redis").unwrap(), ["b 1"]);
}

fn follows(host: &Host, entries: &[&str]) {
    host.good("mapremote follow --once m.redis", "");
    assert_eq!(host.replica("m.redis").unwrap(), entries);
}

const APART: &str = "has gone another way";

#[test]
fn whoever_has_what_was_lost_stays_with_it_until_somebody_decides() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for (database, decision) in [
        (1, "mapctl rollback redis:m 3"),
        (2, "makemap redis m"),
        (3, "mapctl push hash:m.redis.db redis:m"),
    ] {
        server.cli("FLUSHDB");
        let [writer, one, two] = [(); 3].map(|()| host(&server, 0));
        writer.good("makemap redis m", "a 1\n");
        // A replica that was behind takes the place of the server.
        for key in server.cli("KEYS {mailmaps:m}:*").lines() {
            server.cli(&format!("COPY {key} {key} DB {database}"));
        }
        writer.good("editmap -u redis m b 1", "");
        writer.good("editmap -x redis m a", "");
        for host in [&one, &two] {
            follows(host, &["b 1"]);
            host.write("m.redis", &file(&server, database));
        }
        let apart = host(&server, database);
        stays(&one, "the engine has gone back");
        for n in 0..6 {
            apart.good(&format!("editmap -u redis m apart {n}"), "");
            stays(
                &one,
                if n < 2 {
                    "the engine has gone back"
                } else {
                    APART
                },
            );
        }
        // A rollback of one who does not know of it decides nothing.
        let list = apart.good("mapctl generations redis:m", "");
        let number = list.split(':').next().unwrap();
        let before: u64 = number.parse().unwrap();
        apart.good(&format!("mapctl rollback redis:m {}", before - 1), "");
        stays(&one, APART);
        let decision = decision.replace(" 3", &format!(" {number}"));
        one.good(&decision, "b 1\n");
        let entries: &[&str] = match database {
            1 => &["a 1", "apart 5"],
            _ => &["b 1"],
        };
        for host in [&one, &two, &apart] {
            follows(host, entries);
        }
        two.good("editmap -u redis m c 1", "");
        follows(&apart, &[entries, &["c 1"]].concat());
    }
}

#[test]
fn a_follower_that_was_away_for_long_is_no_alarm_and_nobody_keeps_too_much() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let [here, there, away] = [(); 3].map(|()| host(&server, 0));
    here.good("makemap redis m", "a 1\n");
    follows(&away, &["a 1"]);
    here.good("makemap redis m", "a 2\n");
    follows(&there, &["a 2"]);
    // As if so many switches had been made meanwhile.
    let switch_often = |from: u32, to: u32| {
        let numbers: Vec<u32> = (from..=to).collect();
        for some in numbers.chunks(1_000) {
            let each = some.iter().map(|n| format!(" {n} {n}:{n:032x}"));
            let each: String = each.collect();
            server.cli(&format!("ZADD {{mailmaps:m}}:switches{each}"));
        }
        server.cli(&format!("HSET {{mailmaps:m}}:head serial {to}"));
    };
    switch_often(3, 1_002);
    for n in 0..4 {
        here.good("makemap redis m", &format!("a 3{n}\n"));
    }
    follows(&there, &["a 33"]);
    switch_often(1_007, 40_000);
    here.good("makemap redis m", "a 4\n");
    // Beside so many that which the writer had.
    assert_eq!(server.cli("ZCARD {mailmaps:m}:switches"), "32769");
    let ran = away.run("mapremote follow --once m.redis", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(
        ran.err
            .contains("does not remember as far back as switch 1"),
        "{ran:?}"
    );
    away.good("mapctl rollback redis:m 7", "");
    follows(&away, &["a 4"]);
}
