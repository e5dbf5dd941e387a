//! Command lines of programs that go on reading after a complaint.
//!
//! Cyrus SASL's programs call getopt(3) to the end, complain of each wrong
//! letter as it comes, and obey some letters at once, so the order of all this
//! can be seen. They know no long options: a word such as `--help` is a cluster
//! of letters to them, and stays one here unless it is a long option of ours.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::getopt::{Complaint, Given, Opt};

/// What getopt(3) comes across, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An option.
    Given(Given),
    /// Something to complain of.
    Complaint(Complaint),
}

/// Reads a whole command line (without the program's own name) into options,
/// complaints and operands.
pub fn read(opts: &[Opt], args: impl IntoIterator<Item = OsString>) -> (Vec<Event>, Vec<OsString>) {
    let (mut events, mut operands) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let octets = arg.as_bytes();
        if octets == b"--" {
            operands.extend(args);
            break;
        }
        match octets.strip_prefix(b"-") {
            Some(cluster) if !cluster.is_empty() => match long_option(opts, octets, &mut args) {
                Some(event) => events.push(event),
                None => read_cluster(opts, cluster, &mut args, &mut events),
            },
            _ => operands.push(arg),
        }
    }
    (events, operands)
}

fn long_option(
    opts: &[Opt],
    arg: &[u8],
    args: &mut impl Iterator<Item = OsString>,
) -> Option<Event> {
    let text = arg.strip_prefix(b"--")?;
    let mut halves = text.splitn(2, |b| *b == b'=');
    let name = halves.next()?;
    let attached = halves.next().map(|v| OsString::from_vec(v.to_vec()));
    let (opt, long) = opts
        .iter()
        .find_map(|o| o.long.filter(|l| l.as_bytes() == name).map(|l| (o, l)))?;
    Some(match (opt.arg, attached) {
        (None, None) => Event::Given(Given::Long(long, None)),
        (None, Some(_)) => Event::Complaint(Complaint::LongTakesNone(long)),
        (Some(_), attached) => match attached.or_else(|| args.next()) {
            Some(value) => Event::Given(Given::Long(long, Some(value))),
            None => Event::Complaint(Complaint::LongNeedsArgument(long)),
        },
    })
}

fn read_cluster(
    opts: &[Opt],
    cluster: &[u8],
    args: &mut impl Iterator<Item = OsString>,
    events: &mut Vec<Event>,
) {
    let mut rest = cluster;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        let Some(opt) = opts.iter().find(|o| o.short == Some(c)) else {
            events.push(Event::Complaint(Complaint::Invalid(c)));
            continue;
        };
        if opt.arg.is_none() {
            events.push(Event::Given(Given::Short(c, None)));
            continue;
        }
        let value = match rest.is_empty() {
            false => Some(OsString::from_vec(rest.to_vec())),
            true => args.next(),
        };
        events.push(match value {
            Some(value) => Event::Given(Given::Short(c, Some(value))),
            None => Event::Complaint(Complaint::NeedsArgument(c)),
        });
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::getopt::{flag, long, long_value, value};

    const OPTS: &[Opt] = &[
        flag(b'h', ""),
        flag(b'p', ""),
        value(b'f', "FILE", ""),
        long("partial", ""),
        long_value("import", "FILE", ""),
    ];

    fn shown(line: &str) -> String {
        let (events, operands) = read(OPTS, line.split_whitespace().map(OsString::from));
        let events: Vec<String> = events
            .iter()
            .map(|e| match e {
                Event::Given(Given::Short(c, v)) => format!("{}{v:?}", *c as char),
                Event::Given(Given::Long(name, v)) => format!("{name}{v:?}"),
                Event::Complaint(complaint) => complaint.to_string(),
            })
            .collect();
        format!("{} {operands:?}", events.join("; "))
    }

    #[test]
    fn events_come_in_order() {
        let cases = [
            (
                "--help",
                "invalid option -- '-'; hNone; invalid option -- 'e'; invalid option -- 'l'; pNone []",
            ),
            ("a -pfx b", r#"pNone; fSome("x") ["a", "b"]"#),
            ("-f", "option requires an argument -- 'f' []"),
            ("-f -- x", r#"fSome("--") ["x"]"#),
            ("-- -p", r#" ["-p"]"#),
            ("-", r#" ["-"]"#),
            (
                "--import=x --partial --import y",
                r#"importSome("x"); partialNone; importSome("y") []"#,
            ),
            ("--import", "option '--import' requires an argument []"),
            (
                "--partial=1",
                "option '--partial' doesn't allow an argument []",
            ),
        ];
        for (line, want) in cases {
            assert_eq!(shown(line), want, "{line}");
        }
    }
}
