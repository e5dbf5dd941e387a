//! Maps on a real Redis, alone and as a cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod counts;
mod news;
mod proxy;
mod server;
mod split;
#[path = "../stage/mod.rs"]
mod stage;
mod throttles;

use std::process::Stdio;

use libmaps::map::MapClass;
use libmaps::store::shared::Connection;
use remote::engine::{Amount, Engine, Left};
use remote::redis::Redis;

use proxy::Proxy;
use server::{Cluster, Server};
use stage::{Host, until};

fn text(lines: u32, value: &str) -> String {
    (0..lines).map(|n| format!("k{n} {value}\n")).collect()
}

/// The number of the generation that a piece's key is of.
fn number_of(key: &str) -> Option<&str> {
    key.strip_prefix("{mailmaps:m}:g:")?.split(':').next()
}

/// The key of a piece of a generation; its mark stands in it.
fn piece(server: &Server, number: &str, at: u32) -> String {
    let found = server.cli(&format!("KEYS {{mailmaps:m}}:g:{number}:*:{at}"));
    assert_eq!(found.lines().count(), 1, "{found}");
    found
}

#[test]
fn a_map_is_built_edited_followed_and_rolled_back() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (here, there) = (server.host("m"), server.host("m"));
    here.good("makemap redis:m", "b 1\na 2\n");
    let follower = there.follow("m.redis");
    follower.wait_for_generation(1);
    here.good("editmap -u redis m c 3", "");
    let event = follower.wait_for_generation(2);
    assert_eq!(event["keys_changed"], 1, "{event}");
    assert_eq!(there.replica("m.redis").unwrap(), ["a 2", "b 1", "c 3"]);
    here.good("makemap -d redis m", "x 2\nx 1\n");
    follower.wait_for_generation(3);
    assert_eq!(there.replica("m.redis").unwrap(), ["x 2", "x 1"]);
    here.good("mapctl rollback redis:m 2", "");
    follower.wait(|e| e["event"] == "published" && e["generation"] == 2);
    assert_eq!(there.replica("m.redis").unwrap(), ["a 2", "b 1", "c 3"]);
    let list = here.good("mapctl generations redis:m", "");
    assert!(list.starts_with("3: 2 entries, "), "{list}");
    assert!(
        list.contains("\n2: 3 entries, 1 keys changed from 1, "),
        "{list}"
    );
}

#[test]
fn a_map_of_many_pieces_comes_whole_and_old_generations_go() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (here, there) = (server.host("m"), server.host("m"));
    for value in ["one", "two", "three", "four", "five"] {
        here.good("makemap redis m", &text(60_000, value));
        there.good("mapremote follow --once m.redis", "");
        assert_eq!(there.replica("m.redis"), here.replica("m.redis"));
    }
    let pieces = server.cli("KEYS {mailmaps:m}:g:*:0");
    let mut numbers: Vec<&str> = pieces.lines().filter_map(number_of).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["3", "4", "5"]);
    // What is current stays for ever; only what is being loaded has a time to live.
    assert_eq!(server.cli(&format!("TTL {}", piece(&server, "5", 0))), "-1");
}

#[test]
fn passwords_are_refused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let host = server.host("sasldb2");
    let ran = host.run("saslpasswd2 -p -c -u x -f redis:sasldb2 alice", "pw\n");
    assert_eq!(ran.code, 78);
    let why = "passwords are shared through PostgreSQL alone";
    assert!(
        ran.err.starts_with("saslpasswd2: ") && ran.err.contains(why),
        "{}",
        ran.err
    );
    host.good("saslpasswd2 -p -c -u x -f local alice", "pw\n");
    let ran = host.run("mapctl push local redis:sasldb2", "");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.err
            .contains("passwords are shared through PostgreSQL alone"),
        "{}",
        ran.err
    );
    // Nor by way of a class that does not say what it holds.
    host.good("mapctl convert hash:local cdb:other", "");
    let ran = host.run("mapctl push cdb:other redis:sasldb2", "");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert_eq!(server.cli("KEYS *g:*"), "");
    assert_eq!(host.replica("sasldb2.redis"), None);
}

#[test]
fn what_goes_wrong_is_told_and_the_last_good_map_stays() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else {
        return;
    };
    let host = Host::new();
    host.write_secret("right", "right\n");
    host.write_secret("wrong", "wrong\n");
    let good = format!("{}password-file right\n", server.connection());
    host.write("m.redis", &good);
    host.good("makemap redis m", "a 1\n");
    let verify = good.replace("tls off", "tls verify");
    let cases = [
        (
            server.connection() + "password-file wrong\n",
            78,
            "Password authentication failed",
        ),
        (server.connection(), 78, "NOAUTH"),
        (verify, 75, ""),
        (
            good.replace(&server.port.to_string(), "1"),
            75,
            "Connection refused",
        ),
    ];
    for (file, code, why) in cases {
        host.write("m.redis", &file);
        for line in ["makemap redis m", "mapctl follow --once redis:m"] {
            let ran = host.run(line, "b 1\n");
            assert_eq!(ran.code, code, "{line}\n{file}\n{ran:?}");
            assert!(ran.err.contains(why), "{line}\n{file}\n{ran:?}");
        }
        assert_eq!(host.replica("m.redis").unwrap(), ["a 1"]);
    }
    host.write("m.redis", &good);
    let cli = |line: &str| server.cli(&format!("-a right --no-auth-warning {line}"));
    // Half a generation.
    let there = Host::new();
    there.write_secret("right", "right\n");
    there.write("m.redis", &good);
    there.good("mapremote follow --once m.redis", "");
    host.good("makemap redis m", &text(60_000, "x"));
    let number = cli("HGET {mailmaps:m}:head current");
    let first = cli(&format!("KEYS {{mailmaps:m}}:g:{number}:*:0"));
    cli(&format!("DEL {first}"));
    let ran = there.run("mapremote follow --once m.redis", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains(": piece 0 is gone"), "{}", ran.err);
    assert_eq!(there.replica("m.redis").unwrap(), ["a 1"]);
    // Another version.
    cli("HSET {mailmaps:m}:head schema 2");
    let ran = host.run("editmap -u redis m a 1", "");
    assert_eq!(ran.code, 78);
    assert!(
        ran.err
            .contains("maps of version 2; this program knows version 1"),
        "{}",
        ran.err
    );
}

#[test]
fn writers_wait_for_each_other_and_one_that_lost_its_lock_changes_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let hosts: Vec<Host> = (0..3).map(|_| server.host("m")).collect();
    std::thread::scope(|scope| {
        for (h, host) in hosts.iter().enumerate() {
            scope.spawn(move || {
                for n in 0..6 {
                    host.good(&format!("editmap -u redis m h{h}k{n} v"), "");
                }
            });
        }
    });
    let host = &hosts[0];
    host.good("mapremote follow --once m.redis", "");
    let before = host.replica("m.redis").unwrap();
    assert_eq!(before.len(), 18);
    let mut makemap = host
        .command("makemap redis m")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = makemap.stdin.take().unwrap();
    until("the lock", || server.cli("EXISTS {mailmaps:m}:lock") == "1");
    server.cli("SET {mailmaps:m}:lock another");
    drop(input);
    let output = makemap.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("the lock went to another writer"), "{said}");
    assert_eq!(host.replica("m.redis").unwrap(), before);
    assert_eq!(server.cli("HGET {mailmaps:m}:head serial"), "18");
    // Who has written does not wait for the next writer to remove what is old.
    assert_eq!(server.cli("GET {mailmaps:m}:lock"), "another");
    let file = host.path("m.redis");
    let connection = Connection::read(MapClass::Redis, &file, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let mut writer = Redis::connect(&connection.server).await.unwrap();
        let left = writer.remove("m", 0, Amount::Little).await;
        assert_eq!(left.unwrap(), Left::Nothing);
    });
}

#[test]
fn a_cluster_loses_a_node_and_no_host_its_map() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let hosts: Vec<Host> = (0..3).map(|_| Host::new()).collect();
    for host in &hosts {
        host.write("m.redis", &cluster.connection());
    }
    let (writer, others) = hosts.split_first().unwrap();
    writer.good("makemap redis m", &text(2_000, "one"));
    let followers: Vec<_> = others.iter().map(|host| host.follow("m.redis")).collect();
    for follower in &followers {
        follower.wait_for_generation(1);
    }
    let node = cluster.node_of("{mailmaps:m}:head");
    // What was confirmed a moment ago may be lost with a master; this is here on its replica.
    until("replication", || cluster.is_well());
    cluster.nodes[node].kill();
    for host in others {
        assert_eq!(host.replica("m.redis").unwrap().len(), 2_000);
    }
    // Another node takes its place, and writers and followers find it.
    until("the other node", || cluster.is_well());
    until("a write", || {
        writer.run("makemap redis m", &text(2_000, "two")).code == 0
    });
    for (host, follower) in others.iter().zip(&followers) {
        follower.wait(|e| e["event"] == "published" && e["generation"].as_u64() > Some(1));
        assert!(host.replica("m.redis").unwrap()[0].ends_with(" two"));
    }
}

#[test]
fn a_switch_whose_answer_was_lost_is_made_once() {
    let mut proxy = None;
    let Some(cluster) = Cluster::of_one(|port| proxy.insert(Proxy::start(port)).port) else {
        return;
    };
    let proxy = proxy.unwrap();
    let host = Host::new();
    let lines = format!(
        "host 127.0.0.1:{}\ncluster yes\ntls off\ntimeout 5\npoll 2\n",
        proxy.port
    );
    host.write("m.redis", &lines);
    for word in ["one", "two"] {
        // The word stands in the switch alone.
        proxy.lose_the_answer_to("PIECELOST");
        host.good("makemap redis m", &text(20, word));
        assert!(proxy.has_lost());
        assert!(host.replica("m.redis").unwrap()[0].ends_with(word));
    }
    let node = &cluster.nodes[0];
    assert_eq!(node.cli("HGET {mailmaps:m}:head serial"), "2");
    assert_eq!(node.cli("ZCARD {mailmaps:m}:switches"), "2");
}

#[test]
fn a_number_that_is_given_twice_harms_nobody() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (slow, other, there) = (server.host("m"), server.host("m"), server.host("m"));
    let mut makemap = slow
        .command("makemap redis m")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = makemap.stdin.take().unwrap();
    until("the lock", || server.cli("EXISTS {mailmaps:m}:lock") == "1");
    // What a server that takes the place of another may not know.
    server.cli("DEL {mailmaps:m}:lock");
    server.cli("HDEL {mailmaps:m}:head last");
    other.good("makemap redis m", &text(3_000, "other"));
    let number = server.cli("HGET {mailmaps:m}:head current");
    assert_eq!(number, "1");
    std::io::Write::write_all(&mut input, text(2_000, "slow").as_bytes()).unwrap();
    drop(input);
    let output = makemap.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("the lock went to another writer"), "{said}");
    there.good("mapremote follow --once m.redis", "");
    let lines = there.replica("m.redis").unwrap();
    assert_eq!(lines.len(), 3_000);
    assert!(lines.iter().all(|line| line.ends_with(" other")));
}

#[test]
fn an_engine_that_forgot_everything_is_told() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (here, there) = (server.host("m"), server.host("m"));
    here.good("makemap redis m", "a 1\n");
    here.good("makemap redis m", "a 2\n");
    there.good("mapremote follow --once m.redis", "");
    server.cli("FLUSHALL");
    let ran = there.run("mapremote follow --once m.redis", "");
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(ran.err.contains("it lost the map"), "{ran:?}");
    // A build of a host that knows nothing of it is the first one; here it has gone back.
    let new = server.host("m");
    new.good("makemap redis m", "a new\n");
    let ran = there.run("mapremote follow --once m.redis", "");
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.err.contains("the engine has gone back"), "{ran:?}");
    assert_eq!(there.replica("m.redis").unwrap(), ["a 2"]);
    here.good("makemap redis m", "a 3\n");
    for host in [&there, &new] {
        host.good("mapremote follow --once m.redis", "");
        assert_eq!(host.replica("m.redis").unwrap(), ["a 3"]);
    }
    assert_eq!(server.cli("HGET {mailmaps:m}:head serial"), "3");
}

#[test]
fn a_replica_that_comes_first_is_passed_over() {
    let Some(master) = Server::start(&[]) else {
        return;
    };
    let of = format!("127.0.0.1 {}", master.port);
    let Some(replica) = Server::start(&["--replicaof", &of]) else {
        return;
    };
    let host = Host::new();
    let hosts = format!("host 127.0.0.1:{} 127.0.0.1", replica.port);
    host.write(
        "m.redis",
        &master.connection().replace("host 127.0.0.1", &hosts),
    );
    host.good("makemap redis m", "a 1\n");
    // Alone it is read, and nobody writes on it.
    until("replication", || {
        replica.cli("HGET {mailmaps:m}:head current") == "1"
    });
    let there = Host::new();
    there.write("m.redis", &replica.connection());
    there.good("mapremote follow --once m.redis", "");
    assert_eq!(there.replica("m.redis").unwrap(), ["a 1"]);
    let ran = there.run("makemap redis m", "a 2\n");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.err.to_lowercase().contains("read only replica"),
        "{ran:?}"
    );
}
