//! What octets of strangers may cost: four times as many take four times the work or so, not
//! sixteen times, whatever they are.
//!
//! Work is the CPU time of the thread, in ratios only. To the patterns belong the costliest inputs
//! that fuzzing has found (`testdata/scripts/fuzz-all`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::ffi::{OsStr, OsString};
use std::hint::black_box;
use std::io::Cursor;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use libmaps::address::{Address, ReversePath};
use libmaps::lint::{self, Kind};
use libmaps::policy::facts::Tls;
use libmaps::prescan::{Operators, prescan};
use libmaps::sasl::conf::Conf;
use libmaps::sasl::mechanism::ChannelBinding;
use libmaps::sasl::secret::Secrets;
use libmaps::sasl::{import, saslprep};
use libmaps::site::cf::Cf;
use libmaps::site::hosts::{Hosts, ServiceSwitch};
use libmaps::site::users::Users;
use libmaps::site::{Machine, Site, mc};
use libmaps::source::aliases::{Aliases, Grammar, Members};
use libmaps::source::csv::Rows;
use libmaps::source::map;
use libmaps::table::aliases::{Separator, addresses};
use libmaps::table::mailertable::MailerSpec;
use libmaps::table::verdict::Verdict;
use libmaps::table::virtusertable::Rewrite;
use libmaps::tokens;
use smtpd::header::{HeaderFilter, Stamp};
use smtpd::relay::authinfo::AuthInfo;
use smtpd::relay::data::DataEncoder;
use smtpd::relay::mime::{QuotedPrintable, recoded_header};
use smtpd::relay::reply::ReplyParser;
use smtpd::sendmail::address_list;
use smtpd::sendmail::args::CommandLine;
use smtpd::session::BodyDecoder;

/// Octets of the smaller input.
const SMALL: usize = 8 * 1024;
/// The larger one is so many times as large.
const TIMES: usize = 4;
/// The most that it may cost, as a multiple; sixteen would be the square.
const MOST: u32 = 10;
/// What costs less than this is not worth a look.
const FLOOR: Duration = Duration::from_millis(3);

/// What is repeated.
const PATTERNS: &[&[u8]] = &[
    b"a",
    b" ",
    b"\0",
    b"\xff",
    b"(",
    b"<",
    b"\"",
    b"\\",
    b"@",
    b",",
    b";",
    b":",
    b"[",
    b"%",
    b"!",
    b"+",
    b".",
    b"=",
    b"$",
    b"`",
    b"'",
    b"#",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n.",
    b"()",
    b"(\\",
    b"\"\"",
    b"<>",
    b"a,",
    b"a@b,",
    b"a:b;",
    b"a:",
    b"a: b\n",
    b"a b\n",
    b" a\n",
    b"a\\\n",
    b"\"a\n",
    b"::",
    b":include:",
    b"a: a,\n ",
    b"x: y\r\n",
    b"x:\r\n y\r\n",
    b"250-a\r\n",
    b"2",
    b"--",
    b"-f\0",
    b"$?a",
    b"$|",
    b"${a}",
    b"define(",
    b"ifelse(`a',",
    b"dnl",
    b"changequote(",
    b"include(`a')",
    b"define(`a', `a a')a",
    b"$*",
    b"DAEMON_OPTIONS(`",
    b"O a=b\n",
    b"Ka hash b\n",
    b"127.0.0.1 a\n",
    b"a:x:0:0::/:\n",
    b"{CRAM-MD5}",
    b"a,b\n",
    b"\x30\x80",
    b"\xc2\xaa",
    b"\xd7\x90",
    b"\r\n\r\n\0\r\nQUIT\n",
];

type Reader = fn(&[u8]);

const READERS: &[(&str, Reader)] = &[
    ("address", |o| drop(black_box(Address::parse(o)))),
    ("reverse-path", |o| drop(black_box(ReversePath::parse(o)))),
    ("tokens", |o| {
        let tidy = tokens::tidy(o).unwrap_or_default();
        black_box(tokens::tokens(&tidy).count());
        black_box(tokens::spell(&tidy, b'.'));
        black_box(MailerSpec::parse(&tidy));
    }),
    ("prescan", |o| {
        drop(black_box(prescan(o, None, &Operators::default())))
    }),
    ("list", |o| {
        black_box(addresses(o, Separator::Comma).count() + addresses(o, Separator::Blank).count());
    }),
    ("verdict", |o| drop(black_box(Verdict::parse(o)))),
    ("virtual user", |o| drop(black_box(Rewrite::parse(o)))),
    ("aliases", |o| {
        let grammar = Grammar {
            members: Members::Checked,
            ..Grammar::default()
        };
        let mut parser = Aliases::new(o, &grammar);
        while parser.next().expect("memory").is_some() {}
    }),
    ("map source", |o| {
        let (mut lines, grammar) = (map::Lines::new(o), map::Grammar::default());
        while let Some(line) = lines.next().expect("memory") {
            black_box(grammar.line(line.octets, line.end));
        }
    }),
    ("csv", |o| {
        black_box(Rows::new(o).count());
    }),
    ("import", |o| drop(black_box(import::read(o, b"realm")))),
    ("secrets", |o| {
        drop(black_box((
            Secrets::parse(o),
            Secrets::from_record(o),
            Secrets::parse_auth_password(o),
        )));
    }),
    ("Sendmail.conf", |o| {
        drop(black_box(Conf::parse(Path::new("x"), o)))
    }),
    ("saslprep", |o| drop(black_box(saslprep(o).into_owned()))),
    ("certificate", |o| {
        smtpd::tls::names::describe(o, &mut Tls::default());
        black_box(ChannelBinding::tls_server_end_point(o));
    }),
    ("hosts", |o| {
        drop(black_box((
            Hosts::parse(o),
            ServiceSwitch::parse(o),
            Users::parse(o),
        )))
    }),
    ("sendmail.mc", |o| {
        let root = Path::new("/nonexistent");
        drop(black_box(mc::read(
            Some(root),
            &root.join("sendmail.mc"),
            o.to_vec(),
            &Machine::default(),
        )));
    }),
    ("sendmail.cf", |o| {
        drop(black_box(Cf::parse(o, &mut |_| {
            Err(std::io::ErrorKind::NotFound.into())
        })))
    }),
    ("check of sources", |o| {
        let (site, users) = (Site::default(), Users::parse(b""));
        for kind in [
            Kind::Access,
            Kind::Mailertable,
            Kind::Virtusertable,
            Kind::Aliases,
        ] {
            drop(black_box(lint::source(
                kind,
                Path::new("x"),
                o,
                &site,
                &users,
            )));
        }
    }),
    ("header", |o| {
        let (mut filter, mut out) = (HeaderFilter::new(Stamp::default()), Vec::new());
        o.chunks(100).for_each(|piece| filter.push(piece, &mut out));
        drop(black_box(filter.finish(&mut out)));
    }),
    ("text in", |o| {
        let (mut decoder, mut out) = (BodyDecoder::new(), Vec::new());
        o.chunks(7).for_each(|piece| {
            black_box(decoder.push(piece, &mut out));
        });
    }),
    ("text out", |o| {
        let (mut data, mut quoted, mut out) = (
            DataEncoder::default(),
            QuotedPrintable::default(),
            Vec::new(),
        );
        for piece in o.chunks(7) {
            data.push(piece, &mut out);
            quoted.push(piece, &mut out);
        }
        data.finish(&mut out);
        quoted.finish(&mut out);
        drop(black_box(recoded_header(o, "utf-8", "x")));
    }),
    ("replies", |o| {
        let mut parser = ReplyParser::default();
        for piece in o.chunks(7) {
            parser.push(piece);
            while let Ok(Some(reply)) = parser.take() {
                black_box(reply.shown());
            }
        }
    }),
    ("header addresses", |o| {
        drop(black_box(address_list::addresses(
            o,
            libmaps::table::aliases::Separator::Blank,
        )))
    }),
    ("macros", |o| {
        let text = String::from_utf8_lossy(o);
        drop(black_box(smtpd::macros::expand(&text, &|name| {
            (name == "a").then_some("b")
        })));
    }),
    ("AuthInfo", |o| {
        drop(black_box((AuthInfo::file(o), AuthInfo::entry(o))));
    }),
    ("PROXY", |o| {
        let _ = black_box(smtpd::proxy::parse(o));
    }),
    ("command line", |o| {
        let words = o
            .split(|c| *c == 0)
            .map(|word| OsString::from_vec(word.to_vec()));
        drop(black_box(CommandLine::parse(OsStr::new("sendmail"), words)));
    }),
    ("drop file", |o| {
        let size = o.len() as u64;
        drop(black_box(smtpd::drop::file::read_end(
            &mut Cursor::new(o),
            size,
        )));
    }),
];

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

fn cost(reader: Reader, input: &[u8]) -> Duration {
    let start = cpu();
    reader(input);
    cpu() - start
}

/// What a pattern costs a reader in small and in large, if it is too dear.
fn dear(reader: Reader, pattern: &[u8]) -> Option<(Duration, Duration)> {
    let large = pattern.repeat(SMALL * TIMES / pattern.len());
    let small = large.get(..SMALL).unwrap_or(&large);
    // The first run also makes what is made once.
    reader(small);
    let least = (0..3).map(|_| cost(reader, small)).min().unwrap();
    let fine = |most: Duration| most < least.max(FLOOR) * MOST;
    let most = cost(reader, &large);
    // A second try: the first may have been disturbed.
    (!fine(most) && !fine(cost(reader, &large))).then_some((least, most))
}

#[test]
fn four_times_as_much_is_not_sixteen_times_as_dear() {
    let mut all = Vec::new();
    for (name, reader) in READERS {
        for pattern in PATTERNS {
            if let Some((least, most)) = dear(*reader, pattern) {
                let pattern = pattern.escape_ascii();
                all.push(format!("{name}, \"{pattern}\": {least:?}, then {most:?}"));
            }
        }
    }
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn a_square_would_be_noticed() {
    let square: Reader = |o| {
        for at in 0..o.len() {
            black_box(o.iter().take(at).filter(|c| **c == b'x').count());
        }
    };
    assert!(dear(square, b"a").is_some());
}
