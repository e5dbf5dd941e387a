//! Command lines as getopt(3) reads them, from a table of options.
//!
//! The mirrored programs take clusters (`-rvt:`), attached and separate
//! arguments, and options after operands; `--` ends the options. Beyond the
//! originals, a few long options (`--strict`, `--json`, `--help`) are known.
//! One table gives the parser, the usage text's check and the man page's check
//! their options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One option of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt {
    /// The letter, or `None` for an option that has only a long name.
    pub short: Option<u8>,
    /// The long name without its two hyphens, or `None`.
    pub long: Option<&'static str>,
    /// The name of its argument as the help shows it, or `None` where it takes none.
    pub arg: Option<&'static str>,
    /// One line for `--help`.
    pub help: &'static str,
}

/// A letter without argument.
#[must_use]
pub const fn flag(short: u8, help: &'static str) -> Opt {
    Opt {
        short: Some(short),
        long: None,
        arg: None,
        help,
    }
}

/// A letter with an argument.
#[must_use]
pub const fn value(short: u8, arg: &'static str, help: &'static str) -> Opt {
    Opt {
        short: Some(short),
        long: None,
        arg: Some(arg),
        help,
    }
}

/// A long option without argument.
#[must_use]
pub const fn long(name: &'static str, help: &'static str) -> Opt {
    Opt {
        short: None,
        long: Some(name),
        arg: None,
        help,
    }
}

/// A long option with an argument.
#[must_use]
pub const fn long_value(name: &'static str, arg: &'static str, help: &'static str) -> Opt {
    Opt {
        short: None,
        long: Some(name),
        arg: Some(arg),
        help,
    }
}

/// An option that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A letter, with its argument where it takes one.
    Short(u8, Option<OsString>),
    /// A long option, with its argument where it takes one.
    Long(&'static str, Option<OsString>),
}

/// A command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The options, in order.
    pub given: Vec<Given>,
    /// The operands, in order.
    pub operands: Vec<OsString>,
}

/// What getopt(3) would complain of; the text has no program name before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A letter that the program does not know.
    Invalid(u8),
    /// A letter that lacks its argument.
    NeedsArgument(u8),
    /// A long option that the program does not know.
    Unrecognized(String),
    /// A long option that lacks its argument.
    LongNeedsArgument(&'static str),
    /// A long option with an argument that it does not take.
    LongTakesNone(&'static str),
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Complaint::Invalid(c) => write!(f, "invalid option -- '{}'", *c as char),
            Complaint::NeedsArgument(c) => {
                write!(f, "option requires an argument -- '{}'", *c as char)
            }
            Complaint::Unrecognized(name) => write!(f, "unrecognized option '--{name}'"),
            Complaint::LongNeedsArgument(name) => {
                write!(f, "option '--{name}' requires an argument")
            }
            Complaint::LongTakesNone(name) => {
                write!(f, "option '--{name}' doesn't allow an argument")
            }
        }
    }
}

/// Reads a command line (without the program's own name).
///
/// # Errors
/// The first thing getopt(3) would complain of, with what was read before it.
pub fn parse(
    opts: &[Opt],
    args: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, (Complaint, Parsed)> {
    let mut parsed = Parsed::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let octets = arg.as_bytes();
        if octets == b"--" {
            parsed.operands.extend(args);
            break;
        }
        let read = if let Some(name) = octets.strip_prefix(b"--") {
            read_long(opts, name, &mut args, &mut parsed)
        } else if let Some(cluster) = octets.strip_prefix(b"-")
            && !cluster.is_empty()
        {
            read_cluster(opts, cluster, &mut args, &mut parsed)
        } else {
            parsed.operands.push(arg);
            Ok(())
        };
        if let Err(complaint) = read {
            return Err((complaint, parsed));
        }
    }
    Ok(parsed)
}

fn read_cluster(
    opts: &[Opt],
    cluster: &[u8],
    args: &mut impl Iterator<Item = OsString>,
    parsed: &mut Parsed,
) -> Result<(), Complaint> {
    let mut rest = cluster;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        let opt = opts
            .iter()
            .find(|o| o.short == Some(c) && c != b':')
            .ok_or(Complaint::Invalid(c))?;
        if opt.arg.is_none() {
            parsed.given.push(Given::Short(c, None));
            continue;
        }
        let argument = if rest.is_empty() {
            args.next().ok_or(Complaint::NeedsArgument(c))?
        } else {
            OsString::from_vec(rest.to_vec())
        };
        parsed.given.push(Given::Short(c, Some(argument)));
        break;
    }
    Ok(())
}

fn read_long(
    opts: &[Opt],
    text: &[u8],
    args: &mut impl Iterator<Item = OsString>,
    parsed: &mut Parsed,
) -> Result<(), Complaint> {
    let mut halves = text.splitn(2, |b| *b == b'=');
    let name = halves.next().unwrap_or_default();
    let attached = halves.next().map(|v| OsStr::from_bytes(v).to_owned());
    let found = opts
        .iter()
        .find_map(|o| o.long.filter(|l| l.as_bytes() == name).map(|l| (o, l)));
    let Some((opt, long)) = found else {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(Complaint::Unrecognized(name));
    };
    let argument = match (opt.arg, attached) {
        (None, None) => None,
        (None, Some(_)) => return Err(Complaint::LongTakesNone(long)),
        (Some(_), Some(v)) => Some(v),
        (Some(_), None) => Some(args.next().ok_or(Complaint::LongNeedsArgument(long))?),
    };
    parsed.given.push(Given::Long(long, argument));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTS: &[Opt] = &[
        flag(b'r', ""),
        flag(b'v', ""),
        value(b't', "delimiter", ""),
        long("strict", ""),
        long_value("root", "DIR", ""),
    ];

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn shown(line: &str) -> String {
        match parse(OPTS, words(line)) {
            Ok(p) => format!("{:?} {:?}", p.given, p.operands),
            Err((c, _)) => c.to_string(),
        }
    }

    #[test]
    fn clusters_operands_and_long_options() {
        let cases = [
            (
                "-rvt: hash m",
                r#"[Short(114, None), Short(118, None), Short(116, Some(":"))] ["hash", "m"]"#,
            ),
            ("hash -r m", r#"[Short(114, None)] ["hash", "m"]"#),
            ("-t hash m", r#"[Short(116, Some("hash"))] ["m"]"#),
            ("-- -r m", r#"[] ["-r", "m"]"#),
            ("- m", r#"[] ["-", "m"]"#),
            (
                "--strict --root=/x --root /y",
                r#"[Long("strict", None), Long("root", Some("/x")), Long("root", Some("/y"))] []"#,
            ),
            ("-rZ", "invalid option -- 'Z'"),
            ("-t", "option requires an argument -- 't'"),
            ("--nope", "unrecognized option '--nope'"),
            ("--root", "option '--root' requires an argument"),
            ("--strict=1", "option '--strict' doesn't allow an argument"),
        ];
        for (line, want) in cases {
            assert_eq!(shown(line), want, "{line}");
        }
    }
}
