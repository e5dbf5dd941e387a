//! The cases of `testdata/smtp/attacks`, each played in packets and octet by octet.
//!
//! ```text
//! site pause|tls|auth       # once, at the head: the server's configuration
//! == name of the case
//! 0: octets                 # sent before the greeting has come, always in one packet
//! C: text                   # sent with CRLF behind it
//! R: octets                 # sent as they are
//! 1: octets                 # as R, always in one packet
//! S: 250 2.1.0              # what the last line of the next reply begins with
//! *: 24 500 5.5.1           # so many replies
//! Q:                        # the server has closed the connection
//! ```
//!
//! `\r \n \0 \xHH \\` are octets, and `@{N:text}` is the text N times. A case that does not end
//! in `Q:` ends with QUIT and its 221: a reply to anything that was smuggled in would come before.

use std::path::Path;

use libmaps::sasl::edit::AuthPassword;

use crate::certificates::{Authority, TLS_MC};
use crate::client::Client;
use crate::site::{HOST, Server, Site};

/// How octets go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packets {
    Whole,
    SingleOctets,
}

pub(crate) const BOTH: [Packets; 2] = [Packets::Whole, Packets::SingleOctets];

impl Packets {
    pub(crate) fn send(self, client: &mut Client, octets: &[u8]) {
        match self {
            // Long ones would take long.
            Packets::SingleOctets if octets.len() < 4000 => {
                octets.iter().for_each(|octet| client.send(&[*octet]));
            }
            _ => client.send(octets),
        }
    }
}

/// The octets of a text with escapes.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(repeat) = rest.strip_prefix("@{") {
            let (count, tail) = repeat.split_once(':').unwrap();
            let (what, tail) = tail.split_once('}').unwrap();
            out.extend(octets(what).repeat(count.parse().unwrap()));
            rest = tail;
            continue;
        }
        let escaped = rest.strip_prefix('\\').and_then(|tail| tail.chars().next());
        let (octet, length) = match escaped {
            Some('r') => (b'\r', 2),
            Some('n') => (b'\n', 2),
            Some('0') => (0, 2),
            Some('\\') => (b'\\', 2),
            Some('x') => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            Some(other) => panic!("\\{other}"),
            None => {
                let mut buffer = [0; 4];
                out.extend_from_slice(first.encode_utf8(&mut buffer).as_bytes());
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        out.push(octet);
        rest = &rest[length..];
    }
    out
}

/// A site that is attacked, by its name in a case file.
fn site_named(name: &str) -> Site {
    match name {
        "" => Site::new(""),
        "pause" => Site::new("FEATURE(`greet_pause', `1500')dnl"),
        "tls" => {
            let authority = Authority::new("CA");
            let site = Site::new(TLS_MC);
            site.write("etc/mail/ca.crt", &authority.pem);
            authority.sign(HOST, 1).install(&site);
            site
        }
        "auth" => {
            let site = Site::new("define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl");
            site.account("alice", HOST, "secret", AuthPassword::Omit);
            site
        }
        other => panic!("no site {other}"),
    }
}

fn run(server: &Server, case: &str, packets: Packets) {
    let mut lines = case.lines();
    let name = lines.next().unwrap();
    let mut client = Client::connect_from("127.0.0.2", server.only_port());
    let (mut greeted, mut closed) = (false, false);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let context = || format!("{name}, {packets:?}: {line}");
        let (word, rest) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("{}", context()));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if !greeted && word != "0" && line != "S: 554 " {
            let greeting = client.reply();
            assert!(greeting.starts_with("220 "), "{}: {greeting}", context());
        }
        greeted |= word != "0";
        let expect = |client: &mut Client, want: &str| {
            let reply = client.reply();
            let last = reply.lines().last().unwrap();
            assert!(last.starts_with(want), "{}: {last}", context());
        };
        match word {
            "0" | "1" => client.send(&octets(rest)),
            "C" => packets.send(&mut client, &octets(&format!("{rest}\\r\\n"))),
            "R" => packets.send(&mut client, &octets(rest)),
            "S" => expect(&mut client, rest),
            "*" => {
                let (count, want) = rest.split_once(' ').unwrap();
                (0..count.parse().unwrap()).for_each(|_: u32| expect(&mut client, want));
            }
            "Q" => {
                // An alert of TLS may come, but no reply.
                let rest = client.reply();
                assert!(rest.ends_with("<closed>"), "{}: {rest}", context());
                assert!(
                    !rest.starts_with(|c: char| c.is_ascii_digit()),
                    "{}: {rest}",
                    context()
                );
                closed = true;
            }
            other => panic!("{other}: {}", context()),
        }
    }
    if !closed {
        let reply = client.say("QUIT");
        assert!(
            reply.starts_with("221 "),
            "{name}, {packets:?}: at the end: {reply}"
        );
    }
}

#[test]
fn every_case_of_testdata() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/smtp/attacks");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "case"))
        .collect();
    files.sort();
    let mut played = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut sections = text.split("\n== ");
        let head = sections.next().unwrap();
        let named = head.lines().find_map(|line| line.strip_prefix("site "));
        let site = site_named(named.unwrap_or_default());
        let server = site.start();
        for case in sections {
            for packets in BOTH {
                run(&server, case, packets);
                played += 1;
            }
        }
    }
    assert!(played >= 50, "only {played}");
}
