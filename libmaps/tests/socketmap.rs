//! The socketmap client against servers that answer well, badly, late and not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libmaps::map::{Map, StoreError};
use libmaps::store::SocketMap;
use libmaps::store::socketmap::Address;

const PATIENCE: Duration = Duration::from_secs(20);

fn map_at(path: &Path, patience: Duration) -> SocketMap {
    let address = Address::parse(&format!("unix:{}", path.display()), Some("t")).unwrap();
    SocketMap::new(address, patience)
}

/// Reads one request; `None` where the client is gone.
fn request(stream: &mut UnixStream) -> Option<String> {
    let mut got = Vec::new();
    let mut octet = [0u8; 1];
    while got.last() != Some(&b',') {
        if stream.read(&mut octet).ok()? == 0 {
            return None;
        }
        got.push(octet[0]);
    }
    Some(String::from_utf8(got).unwrap())
}

/// A server that takes a connection for each script, and gives each request in it the next
/// of the script's replies; then it closes the connection.
fn serve(path: &Path, scripts: &'static [&'static [&'static str]]) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let mut requests = Vec::new();
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in *script {
                let Some(asked) = request(&mut stream) else {
                    break;
                };
                requests.push(asked);
                stream.write_all(reply.as_bytes()).unwrap();
            }
        }
        requests
    })
}

#[test]
fn a_reply_means_what_it_says() {
    // What the server says, and what the lookup gives.
    let cases: &[(&[&[&str]], &str)] = &[
        (&[&["9:OK a b, c,"]], "a b, c"),
        (&[&["3:OK ,"]], ""),
        (&[&["9:NOTFOUND ,"]], "-"),
        (&[&["8:NOTFOUND,"]], "-"),
        (
            &[&["8:TEMP why,"]],
            "temporary: cannot ask it: the server says TEMP: why",
        ),
        (
            &[&["5:TEMP ,"]],
            "temporary: cannot ask it: the server says TEMP",
        ),
        (
            &[&["11:TIMEOUT why,"]],
            "temporary: cannot ask it: the server says TIMEOUT: why",
        ),
        (&[&["8:PERM why,"]], "permanent: the server says PERM: why"),
        (
            &[&["2:NO,"]],
            "temporary: cannot ask it: the server's reply is wrong: no known status",
        ),
        (&[&["4:OK ,,"]], ","),
        (
            &[&["5:OK a,X"]],
            "temporary: cannot ask it: the server's reply is wrong: no comma after as many octets as were announced",
        ),
        (
            &[&["4:OK a,4:OK b,"]],
            "temporary: cannot ask it: the server's reply is wrong: more than one",
        ),
        (
            &[&["99999999999:OK"]],
            "temporary: cannot ask it: the server's reply is wrong: longer than 1000000 octets",
        ),
        (
            &[&["220 mail.example ESMTP\r\n"]],
            "temporary: cannot ask it: the server's reply is wrong: expected a length in digits and a colon",
        ),
        (
            &[&["7:OK a"]],
            "temporary: cannot ask it: the server closed the connection in its reply",
        ),
        (
            &[&[""]],
            "temporary: cannot ask it: the server closed the connection",
        ),
    ];
    for (scripts, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let server = serve(&path, scripts);
        let map = map_at(&path, PATIENCE);
        let got = match map.get(b"key") {
            Ok(Some(value)) => String::from_utf8(value.as_bytes().to_vec()).unwrap(),
            Ok(None) => "-".into(),
            Err(error) => {
                let kind = match error.is_temporary() {
                    true => "temporary",
                    false => "permanent",
                };
                let text = error.to_string();
                let (_, why) = text.split_once(":t: ").unwrap();
                format!("{kind}: {why}")
            }
        };
        assert_eq!(&got, want, "{scripts:?}");
        drop(map);
        assert_eq!(server.join().unwrap(), ["5:t key,"]);
    }
}

#[test]
fn a_connection_is_kept_and_a_closed_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let scripts: &[&[&str]] = &[&["4:OK 1,", "4:OK 2,"], &["4:OK 3,"]];
    let server = serve(&path, scripts);
    let map = map_at(&path, PATIENCE);
    for (key, want) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let found = map.get(key.as_bytes()).unwrap().unwrap();
        assert_eq!(found.as_bytes(), want.as_bytes());
    }
    drop(map);
    assert_eq!(server.join().unwrap(), ["3:t a,", "3:t b,", "3:t c,"]);
}

#[test]
fn a_server_that_says_nothing_or_drips_is_waited_for_so_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let dripping = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // An octet now and then keeps no client waiting beyond its own patience.
        while stream.write_all(b"0").is_ok() {
            thread::sleep(Duration::from_millis(20));
            if stream.write_all(b"").is_err() {
                break;
            }
        }
    });
    let map = map_at(&path, Duration::from_millis(200));
    let error = map.get(b"key").unwrap_err();
    assert!(error.is_temporary(), "{error}");
    drop(map);
    dripping.join().unwrap();

    let silent = dir.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let error = map_at(&silent, Duration::from_millis(100)).get(b"key");
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("no answer in time"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_and_not_an_empty_map() {
    let map = map_at(Path::new("/nowhere/maps"), PATIENCE);
    let error = map.get(b"key").unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(map.iter().next().unwrap().is_err());
    assert_eq!(map.name().to_string(), "socket:unix:/nowhere/maps:t");
}

#[test]
fn what_came_after_a_reply_is_no_answer_to_the_next_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let (said, hear) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        request(&mut first).unwrap();
        first.write_all(b"9:NOTFOUND ,").unwrap();
        told.recv().unwrap();
        first.write_all(b"7:OK late,").unwrap();
        said.send(()).unwrap();
        let (mut second, _) = listener.accept().unwrap();
        request(&mut second).unwrap();
        second.write_all(b"8:OK right,").unwrap();
    });
    let map = map_at(&path, PATIENCE);
    assert!(map.get(b"a").unwrap().is_none());
    go_on.send(()).unwrap();
    hear.recv().unwrap();
    assert_eq!(map.get(b"b").unwrap().unwrap().as_bytes(), b"right");
}

#[test]
fn a_server_that_turns_clients_away_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        // Not an octet of the request is read.
        for client in listener.incoming() {
            let mut client = client.unwrap();
            client.write_all(b"21:TEMP too many clients,").unwrap();
        }
    });
    let map = map_at(&path, PATIENCE);
    for _ in 0..100 {
        let error = map.get(b"key").unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with("TEMP: too many clients"), "{text}");
        assert!(error.is_temporary(), "{text}");
    }
}
