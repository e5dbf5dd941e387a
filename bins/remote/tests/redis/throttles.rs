//! Servers on two hosts, whose limits of connections count on both.

use std::fs;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::server::{Cluster, Server};
use crate::stage::running::{Running, child_of};
use crate::stage::{Host, until};

const MC: &str = "\
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mail.example.test')dnl
define(`confCONNECTION_RATE_MAP', `redis:/etc/mail/throttle')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`access_db')dnl
FEATURE(`ratecontrol', `', `terminate')dnl
FEATURE(`conncontrol', `', `terminate')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
";

/// Clients may have three connections open.
const LIMITED: &str = "ClientConn:127.0.0.1 3\nClientRate:127.0.0.1 0\n";

fn site(connection: &str, access: &str) -> Host {
    let host = Host::with_site(MC);
    host.write("etc/mail/throttle.redis", connection);
    host.write("etc/mail/aliases", "sales: nobody@elsewhere.example\n");
    let root = host.path("").display().to_string();
    host.good(
        &format!("newaliases -OAliasFile=hash:{root}etc/mail/aliases"),
        "",
    );
    host.good("makemap hash etc/mail/access", access);
    host
}

/// A server that counts with others.
fn start(host: &Host) -> Running {
    let running = Running::start(host);
    running.wait("connection counts: shared with other hosts by ");
    running
}

/// Whether one more connection is refused, since there are too many on all hosts.
fn refuses(running: &Running) -> bool {
    let (_stream, greeting) = running.connect();
    greeting.starts_with("421 4.3.2 ") && greeting.contains("Too many open connections")
}

/// A connection, as soon as there is room: those that were closed a moment ago may count still.
fn enter(running: &Running) -> TcpStream {
    let mut inside = None;
    until("a welcome", || {
        let (stream, greeting) = running.connect();
        inside = greeting.starts_with("220").then_some(stream);
        inside.is_some()
    });
    inside.unwrap()
}

fn takes_mail(running: &Running) -> bool {
    let reply = running.rcpt("a@good.example", "sales@mail.example.test");
    reply.starts_with("250")
}

#[test]
fn two_hosts_share_a_limit_and_each_has_its_own_while_redis_is_gone() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let hosts = [(); 2].map(|()| site(&server.connection(), LIMITED));
    let [one, two] = [start(&hosts[0]), start(&hosts[1])];

    // Two here and one there: each has room for more, and together they have not.
    let at_one = [one.welcome(), one.welcome()];
    let at_two = two.welcome();
    until("a refusal of the second host", || refuses(&two));
    until("a refusal of the first host", || refuses(&one));
    drop(at_one);
    until("room", || takes_mail(&two));

    // Redis is gone: mail goes on, by the counts of each host.
    server.kill();
    let at_one = [enter(&one), enter(&one)];
    one.wait("connection counts: this host counts for itself: ");
    two.wait("connection counts: this host counts for itself: ");
    for _ in 0..10 {
        // The third here and the second there, once the one before is over.
        until("mail", || takes_mail(&one));
        until("mail", || takes_mail(&two));
    }
    one.ever("connections counted by this host alone: ");
    let full = enter(&one);
    until("a refusal by its own count", || refuses(&one));
    drop(full);

    // Redis is back, and knows what was opened while it was gone.
    server.run();
    one.wait("connection counts: shared with other hosts by ");
    two.wait("connection counts: shared with other hosts by ");
    until("a refusal of the second host", || refuses(&two));
    until("a refusal of the first host", || refuses(&one));
    one.ever("connection counts: shared with other hosts again");

    // It has forgotten everything, and is told.
    server.cli("FLUSHALL");
    until("a refusal of the second host", || refuses(&two));
    drop((at_one, at_two));
    until("room", || takes_mail(&one) && takes_mail(&two));

    // A server that ends takes its share with it.
    let left = [enter(&one), enter(&one), enter(&one)];
    until("a refusal of the second host", || refuses(&two));
    drop(one);
    until("room", || takes_mail(&two));
    drop(left);
}

#[test]
fn the_rate_of_a_client_is_that_of_all_hosts() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let access = "ClientConn:127.0.0.1 0\nClientRate:127.0.0.1 40\n";
    let hosts = [(); 2].map(|()| site(&server.connection(), access));
    let [one, two] = [start(&hosts[0]), start(&hosts[1])];
    let is_refused = |running: &Running| {
        let (_stream, greeting) = running.connect();
        greeting.contains("Connection rate limit exceeded")
    };
    let (mut at_one, mut at_two) = (0, 0);
    while !is_refused(&one) {
        at_one += 1;
        assert!(at_one < 40, "alone it would be refused then");
        if is_refused(&two) {
            break;
        }
        at_two += 1;
    }
    assert!(at_one + at_two <= 40, "{at_one} {at_two}");
}

#[test]
fn what_has_left_the_window_counts_no_more() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let access = "ClientConn:127.0.0.1 0\nClientRate:127.0.0.1 40\n";
    let host = site(&server.connection(), access);
    let running = start(&host);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // A box is a sixth of the window of 60 s.
    let now = now.as_secs() / 10;
    let rate = "{mailmaps:throttle}:rate:60:127.0.0.1";
    server.cli(&format!("HSET {rate} {} 1000 {} 1000", now - 6, now - 7));
    assert!(takes_mail(&running));
    until("the end of the old boxes", || {
        drop(running.welcome());
        server
            .cli(&format!("HMGET {rate} {} {}", now - 6, now - 7))
            .trim()
            .is_empty()
    });
    server.cli(&format!("HSET {rate} {} 1000", now + 1));
    until("a refusal", || {
        let (_stream, greeting) = running.connect();
        greeting.contains("Connection rate limit exceeded")
    });
}

#[test]
fn the_share_of_a_host_that_crashed_goes_and_that_of_a_living_one_stays() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let host = site(&server.connection(), LIMITED);
    let running = start(&host);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until_when = |seconds: i128| {
        let now = i128::try_from(now.as_millis()).unwrap();
        (now + seconds * 1_000).to_string()
    };
    let say = |name: &str, seconds| {
        let time = until_when(seconds);
        server.cli(&format!("HSET {{mailmaps:throttle}}:hosts {name} {time}"));
        server.cli(&format!(
            "HSET {{mailmaps:throttle}}:open:127.0.0.1 {name} 100"
        ));
    };
    say("crashed:1", -1);
    assert!(takes_mail(&running));
    until("its end", || {
        drop(running.welcome());
        server
            .cli("HGET {mailmaps:throttle}:open:127.0.0.1 crashed:1")
            .is_empty()
    });
    say("living:1", 3_600);
    until("a refusal", || refuses(&running));
    assert_eq!(
        server.cli("HGET {mailmaps:throttle}:open:127.0.0.1 living:1"),
        "100"
    );
    // Nothing stays for ever in an engine that nobody asks any more.
    for key in server.cli("KEYS {mailmaps:throttle}:*").lines() {
        let time: i64 = server.cli(&format!("TTL {key}")).parse().unwrap();
        assert!(time >= 0, "{key} {time}");
    }
}

#[test]
fn a_counter_that_dies_is_started_again_and_told_all() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let hosts = [(); 2].map(|()| site(&server.connection(), LIMITED));
    let [one, two] = [start(&hosts[0]), start(&hosts[1])];
    let _open = [one.welcome(), one.welcome()];
    let _there = two.welcome();
    until("a refusal", || refuses(&two));
    let counter = one.follower().unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &counter.to_string()])
        .status();
    assert!(killed.unwrap().success());
    server.cli("FLUSHALL");
    one.wait("connection counts: it ended with signal: 9");
    one.wait("connection counts: shared with other hosts by ");
    until("a refusal", || refuses(&two));
    // It ends with its server, however that ends.
    let supervisor = child_of(one.process.0.id()).unwrap();
    let counter = one.follower().unwrap();
    drop(one);
    for process in [counter, supervisor] {
        until("the counter's end", || {
            !fs::exists(format!("/proc/{process}")).unwrap()
        });
    }
}

#[test]
fn a_configuration_that_asks_for_the_impossible_is_told_with_its_line() {
    let host = site("host 127.0.0.1\nport 1\ntls off\n", LIMITED);
    let check = |map: &str| {
        let mc = MC.replace("redis:/etc/mail/throttle", map);
        host.write("etc/mail/sendmail.mc", &mc);
        let root = host.path("").display().to_string();
        host.run(&format!("smtpd check --root {root}"), "")
    };
    let good = check("redis:/etc/mail/throttle");
    assert_eq!(good.code, 0, "{}", good.out);
    assert!(
        good.out
            .contains("counted by all hosts, by redis:/etc/mail/throttle")
    );
    for (map, why) in [
        ("hash:/etc/mail/throttle", "expected redis: and the path"),
        ("redis:/etc/mail/none", "no such file"),
    ] {
        let ran = check(map);
        assert_eq!(ran.code, 78, "{map}: {}", ran.out);
        let line = ran.out.lines().find(|l| l.contains("ConnectionRateMap"));
        let line = line.unwrap_or_default().to_lowercase();
        assert!(
            line.contains("sendmail.mc:3: ") && line.contains(why),
            "{line}"
        );
    }
}

#[test]
fn a_cluster_loses_the_node_that_counts_and_mail_goes_on() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let hosts = [(); 2].map(|()| site(&cluster.connection(), LIMITED));
    let [one, two] = [start(&hosts[0]), start(&hosts[1])];
    let _open = [one.welcome(), one.welcome()];
    let _there = two.welcome();
    until("a refusal", || refuses(&two));
    let node = cluster.node_of("{mailmaps:throttle}:hosts");
    cluster.nodes[node].kill();
    for _ in 0..5 {
        // By its own count or by that of both, never without an answer.
        let (_stream, greeting) = one.connect();
        assert!(greeting.starts_with("220") || greeting.starts_with("421"));
    }
    until("the other node", || cluster.is_well());
    until("a refusal", || refuses(&two));
    until("a refusal", || refuses(&one));
}
