//! Writers of whole maps that meet others, lose the server, or are refused in the middle.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::server::{BASE, Server};
use crate::stage::{Host, until};

const KEYS: usize = 40;

fn host(server: &Server) -> Host {
    let connection = format!("{}transactions yes\n", server.connection());
    crate::host(&connection, &["access"])
}

/// A text whose values are all this.
fn text(value: &str) -> String {
    (0..KEYS).map(|n| format!("k{n:02} {value}\n")).collect()
}

/// The values of a replica, of a map that is made of one text.
fn values(host: &Host) -> BTreeSet<String> {
    let entries = host.replica("access.ldap").unwrap_or_default();
    let values = entries.iter().filter_map(|line| line.split_once(' '));
    let of_text = values.filter(|(key, _)| key.starts_with('k'));
    of_text.map(|(_, value)| value.to_owned()).collect()
}

/// Runs a program until it ends well: what a directory that falls leaves may be tried again.
fn persist(host: &Host, line: &str, input: &str) {
    until(line, || {
        let ran = host.run(line, input);
        assert!([0, 75].contains(&ran.code), "{line}: {ran:?}");
        ran.code == 0
    });
}

/// Starts the directory again whenever it falls, as slapd 2.5.13 now and then does where several
/// transactions meet.
fn keep_up(server: &mut Server, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        server.revive();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends what waits for that, also when a test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn of_two_writers_each_is_whole() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let writers = [host(&server), host(&server)];
    writers[0].good("makemap ldap:access", &text("first"));
    let over = AtomicBool::new(false);
    let following = crate::host(&server.connection(), &["access"]);
    let follower = following.follow("access.ldap");
    follower.wait_for("published");
    let reader = crate::host(&server.connection(), &["access"]);
    let editor = host(&server);
    std::thread::scope(|scope| {
        let end = End(&over);
        scope.spawn(|| keep_up(&mut server, &over));
        let watching = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                // One that meets a transaction may have to ask again.
                let ran = reader.run("mapctl follow --once ldap:access", "");
                assert!([0, 75].contains(&ran.code), "{ran:?}");
                let found = values(&reader);
                assert!(found.len() <= 1, "{found:?}");
                seen.extend(found);
            }
            seen
        });
        let writing: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(w, host)| {
                scope.spawn(move || {
                    for n in 0..5 {
                        persist(host, "makemap ldap:access", &text(&format!("w{w}n{n}")));
                        assert!(values(host).len() == 1);
                    }
                })
            })
            .collect();
        let editing = scope.spawn(|| {
            for n in 0..5 {
                persist(&editor, &format!("editmap -u ldap access e{n} x"), "");
            }
        });
        for thread in writing {
            thread.join().unwrap();
        }
        editing.join().unwrap();
        drop(end);
        assert!(!watching.join().unwrap().is_empty());
    });
    // Whoever was last, all see the same, and none is held up by what another saw of it.
    let all = [&writers[0], &writers[1], &reader, &editor];
    for host in all {
        persist(host, "mapctl follow --once ldap:access", "");
    }
    let last = reader.replica("access.ldap").unwrap();
    for host in all {
        assert_eq!(host.replica("access.ldap").unwrap(), last);
    }
    // One that looked while a transaction was made comes to it as well.
    until("the follower", || {
        following.replica("access.ldap").unwrap() == last
    });
    let whole = values(&reader);
    assert!(
        whole.contains("w0n4") || whole.contains("w1n4"),
        "{whole:?}"
    );
    assert_eq!(
        last.iter().filter(|line| line.starts_with('k')).count(),
        KEYS
    );
}

#[test]
fn what_writers_add_at_once_is_all_there() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let hosts: Vec<Host> = (0..3).map(|_| host(&server)).collect();
    hosts[0].good("makemap ldap:access", "a OK\n");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = End(&over);
        scope.spawn(|| keep_up(&mut server, &over));
        let all = hosts.iter().enumerate();
        let adding: Vec<_> = all
            .map(|(h, host)| {
                scope.spawn(move || {
                    for n in 0..3 {
                        persist(host, "makemap -o -r ldap:access", &format!("h{h}n{n} OK\n"));
                        persist(host, &format!("editmap -u ldap access h{h}e{n} OK"), "");
                    }
                })
            })
            .collect();
        for thread in adding {
            thread.join().unwrap();
        }
        drop(end);
    });
    for host in &hosts {
        persist(host, "mapctl follow --once ldap:access", "");
        assert_eq!(host.replica("access.ldap").unwrap().len(), 1 + 3 * 6);
    }
}

/// A way to the server that breaks after so many octets of what a client says.
struct Brittle {
    port: u16,
    left: Arc<AtomicUsize>,
}

impl Brittle {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let limit = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let there = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut back, mut to) = (there.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                pass(client, there, &limit);
            }
        });
        Brittle { port, left }
    }
}

/// Passes on what the client says, as far as there is something left.
fn pass(mut client: TcpStream, mut there: TcpStream, left: &AtomicUsize) {
    let mut octets = [0; 64];
    while let Ok(got @ 1..) = client.read(&mut octets) {
        let may = left.load(Ordering::Relaxed).min(got);
        if there.write_all(&octets[..may]).is_err() || may < got {
            break;
        }
        left.fetch_sub(got, Ordering::Relaxed);
    }
    let _ = there.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_connection_that_breaks_anywhere_leaves_a_whole_map() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let way = Brittle::before(server.port);
    let writer = host(&server);
    writer.good("makemap ldap:access", &text("old"));
    let direct = format!("host 127.0.0.1:{}", server.port);
    let connection = format!("{}transactions yes\n", server.connection());
    let brittle = connection.replace(&direct, &format!("host 127.0.0.1:{}", way.port));
    writer.write("access.ldap", &brittle);
    let reader = crate::host(&server.connection(), &["access"]);
    let mut codes = BTreeSet::new();
    for (n, limit) in (100..).step_by(977).enumerate() {
        let new = format!("n{n}");
        way.left.store(limit, Ordering::Relaxed);
        let before = values(&writer);
        let ran = writer.run("makemap ldap:access", &text(&new));
        codes.insert(ran.code);
        // Where a change came just before the end, slapd 2.5 may fall.
        until("the directory's map", || {
            server.revive();
            reader.run("mapctl follow --once ldap:access", "").code == 0
        });
        let there = values(&reader);
        assert_eq!(there.len(), 1, "{limit}: {there:?}");
        assert_eq!(reader.replica("access.ldap").unwrap().len(), KEYS);
        match ran.code {
            0 => {
                assert_eq!(
                    (&there, &values(&writer)),
                    (&[new].into(), &there),
                    "{limit}"
                );
                // The replica may lack what it says of itself then, and nothing else.
                if ran.err.is_empty() {
                    break;
                }
            }
            // Not known whether the directory has it; else it has not.
            75 if ran.err.contains("may or may not") => {}
            code => {
                assert_eq!(code, 75, "{limit}: {ran:?}");
                assert!(!there.contains(&new), "{limit}: {ran:?}");
                assert_eq!(values(&writer), before);
            }
        }
        assert!(limit < 100_000, "it never went well: {ran:?}");
    }
    assert_eq!(codes, [0, 75].into());
}

#[test]
fn a_writer_that_is_killed_leaves_the_old_map() {
    let Some(server) = Server::start("") else {
        return;
    };
    let host = host(&server);
    host.good("makemap ldap:access", &text("old"));
    let mut child = host.command("makemap ldap:access");
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"a b\n").unwrap();
    // It holds up nobody meanwhile.
    host_of(&server).good("makemap ldap:access", &text("other"));
    child.kill().unwrap();
    child.wait().unwrap();
    until("the replica", || {
        host.run("mapctl follow --once ldap:access", "").code == 0
    });
    assert_eq!(values(&host), ["other".to_owned()].into());
}

fn host_of(server: &Server) -> Host {
    host(server)
}

#[test]
fn a_change_that_is_refused_in_the_middle_changes_nothing() {
    let forbidden =
        format!("sendmailMTAKey=k20+sendmailMTAMapName=access+sendmailMTACluster=mail,{BASE}");
    let Some(server) = Server::start(&format!(
        "access to dn.base=\"{forbidden}\" by * none\naccess to * by * write"
    )) else {
        return;
    };
    server.add(&format!(
        "dn: cn=writer,{BASE}\nobjectClass: organizationalRole\n\
         objectClass: simpleSecurityObject\ncn: writer\nuserPassword: right\n"
    ));
    let host = host(&server);
    let connection = format!("{}transactions yes\n", server.connection());
    host.write("access.ldap", &connection.replace("cn=admin", "cn=writer"));
    host.good("makemap ldap:access", "k00 old\nk01 old\nx old\n");
    let before = host.replica("access.ldap").unwrap();
    let ran = host.run("makemap ldap:access", &text("new"));
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.err.contains(&forbidden) && ran.err.contains("insufficientAccess"),
        "{ran:?}"
    );
    assert_eq!(host.replica("access.ldap").unwrap(), before);
    let reader = crate::host(&server.connection(), &["access"]);
    reader.good("mapctl follow --once ldap:access", "");
    assert_eq!(reader.replica("access.ldap").unwrap(), before);
    // The directory goes on, and so does the writer.
    host.good("makemap ldap:access", "k00 new\nz new\n");
    reader.good("mapctl follow --once ldap:access", "");
    assert_eq!(reader.replica("access.ldap").unwrap(), ["k00 new", "z new"]);
}

#[test]
fn a_directory_that_is_full_keeps_the_old_map() {
    let Some(mut server) = Server::start("maxsize 1048576") else {
        return;
    };
    let host = host(&server);
    host.good("makemap ldap:access", "a OK\n");
    let large: String = (0..2_000)
        .map(|n| format!("k{n} {}\n", "x".repeat(900)))
        .collect();
    let ran = host.run("makemap ldap:access", &large);
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.err.contains("sendmailMTAKey=k"), "{ran:?}");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    for _ in 0..2 {
        assert_eq!(host.run("mapctl follow --once ldap:access", "").code, 0);
        assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
        // Started again, it has the same.
        server.kill();
        server.run();
    }
    host.good("makemap ldap:access", "a NEW\n");
}

#[test]
fn rights_are_found_missing_before_anything_happens() {
    let Some(server) = Server::start(
        "access to attrs=sendmailMTAMapValue by users read by * none\naccess to * by users write by * read",
    ) else {
        return;
    };
    server.add(&format!(
        "dn: cn=writer,{BASE}\nobjectClass: organizationalRole\n\
         objectClass: simpleSecurityObject\ncn: writer\nuserPassword: right\n"
    ));
    server.add_entry("access", "a", "OK");
    let host = host(&server);
    let connection = format!("{}transactions yes\n", server.connection());
    host.write("access.ldap", &connection.replace("cn=admin", "cn=writer"));
    let ran = host.run("makemap ldap:access", "b x\n");
    assert_eq!(ran.code, 78, "{ran:?}");
    let told = "an entry like those of the map can't be changed";
    assert!(
        ran.err.contains(told) && ran.err.contains("insufficientAccess"),
        "{ran:?}"
    );
    let probe = "sendmailMTAKey=mapremote-probe+sendmailMTAMapName=mapremote-probe";
    assert!(server.read(&format!("{probe},{BASE}")).is_empty());
    host.good("mapctl follow --once ldap:access", "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
    // A name that logs in nowhere may not even make the map's own entry.
    let nobody = connection.replace(&format!("user cn=admin,{BASE}\npassword-file secret\n"), "");
    host.write("access.ldap", &nobody);
    let ran = host.run("makemap ldap:access", "b x\n");
    assert_eq!(ran.code, 78, "{ran:?}");
}

#[test]
fn a_server_without_transactions_or_with_consumers_is_refused() {
    let Some([one, two]) = Server::two() else {
        return;
    };
    one.add_entry("access", "a", "OK");
    until("replication", || {
        !two.read(&format!("sendmailMTAKey=a,{BASE}")).is_empty()
    });
    two.add_entry("access", "b", "OK");
    let host = host(&two);
    let ran = host.run("makemap ldap:access", "c OK\n");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.err.contains("several providers"), "{ran:?}");
    // One entry is changed there as ever.
    host.good("editmap -u ldap access c OK", "");
    assert_eq!(
        host.replica("access.ldap").unwrap(),
        ["a OK", "b OK", "c OK"]
    );
    drop((one, two));
    let Some(server) = Server::without_transactions() else {
        return;
    };
    server.add_entry("access", "a", "OK");
    let host = self::host(&server);
    let ran = host.run("makemap ldap:access", "c OK\n");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.err.contains("has no transactions for this part"),
        "{ran:?}"
    );
    host.good("mapctl follow --once ldap:access", "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
}

#[test]
fn a_consumer_refers_to_its_provider() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_entry("access", "a", "OK");
    let consumer = Server::consumer_of(&server);
    let name = format!("sendmailMTAKey=a,{BASE}");
    until("replication", || !consumer.read(&name).is_empty());
    let host = host(&consumer);
    for (line, input) in [
        ("editmap -u ldap access a REJECT", ""),
        ("editmap -u ldap access b REJECT", ""),
        ("editmap -x ldap access a", ""),
        ("makemap ldap:access", "c OK\n"),
    ] {
        let ran = host.run(line, input);
        assert_eq!(ran.code, 78, "{line}: {ran:?}");
        let told = format!("name the one that does: ldap://127.0.0.1:{}", server.port);
        assert!(ran.err.contains(&told), "{line}: {ran:?}");
    }
    host.good("mapctl follow --once ldap:access", "");
    assert_eq!(host.replica("access.ldap").unwrap(), ["a OK"]);
}
