//! The message as who gets it wants it: a mailbox file, a Maildir, or a mailer's program, by the
//! mailer's flags (op.me, section 5.4).
//!
//! Without `n` a line `From sender date` stands before it, with `P` a Return-Path; with `E` lines
//! that begin with `From ` get a `>`, and with `b` an empty line ends it. `E=` ends its lines and
//! `L=` breaks those that are longer.

use std::io::{self, BufRead, BufReader, Read, Write};

use libmaps::site::model::Mailer;

use super::headers::Header;
use crate::clock::Civil;
use crate::relay::data::DataEncoder;

/// How a program or a file gets a message.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Lines in front.
    front: Vec<String>,
    /// A header instead of the message's own.
    header: Option<Header>,
    quoting: Quoting,
    end: End,
    line_end: Vec<u8>,
    line_octets: Option<u32>,
}

/// Whether body lines that look like the first line of a mailbox are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quoting {
    #[default]
    None,
    From,
}

/// What stands behind the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Nothing,
    EmptyLine,
}

impl Shape {
    /// That of a mailer, for a message of this sender.
    pub(super) fn of(mailer: &Mailer, sender: &str, unix: u64) -> Self {
        let separator = (!mailer.has('n')).then(|| separator(sender, unix));
        let return_path = mailer.has('P').then(|| return_path(sender));
        let line_end = mailer.line_end.as_deref().unwrap_or("\n");
        Shape {
            front: separator.into_iter().chain(return_path).collect(),
            header: None,
            quoting: match mailer.has('E') {
                true => Quoting::From,
                false => Quoting::None,
            },
            end: match mailer.has('b') {
                true => End::EmptyLine,
                false => End::Nothing,
            },
            line_end: line_end.as_bytes().to_vec(),
            line_octets: match mailer.line_octets {
                // The flag L is an older word for the limit of SMTP.
                None if mailer.has('L') => Some(990),
                most => most,
            },
        }
    }

    /// That of a file with one message after another, whose readers tell them apart by the lines
    /// `From sender date`.
    pub(super) fn mailbox(sender: &str, unix: u64) -> Self {
        Shape {
            front: vec![separator(sender, unix), return_path(sender)],
            quoting: Quoting::From,
            end: End::EmptyLine,
            ..Shape::maildir(sender)
        }
    }

    /// That of a file with this message alone. Final delivery says where it came from (RFC 5321
    /// section 4.4).
    pub(super) fn maildir(sender: &str) -> Self {
        Shape {
            front: vec![return_path(sender)],
            ..Shape::plain()
        }
    }

    /// The message alone, with LF at the end of lines.
    pub(crate) fn plain() -> Self {
        Shape {
            front: Vec::new(),
            header: None,
            quoting: Quoting::None,
            end: End::Nothing,
            line_end: b"\n".to_vec(),
            line_octets: None,
        }
    }

    /// What LMTP carries: the message with CRLF at the end of lines, and nothing in front of it
    /// but a Return-Path where the mailer wants one.
    pub(super) fn for_lmtp(mailer: &Mailer, sender: &str) -> Self {
        let mut shape = Shape::of(mailer, sender, 0);
        shape.front.retain(|line| line.starts_with("Return-Path:"));
        shape.line_end = b"\r\n".to_vec();
        shape
    }

    /// With another header.
    pub(super) fn with_header(mut self, header: Option<Header>) -> Self {
        self.header = header;
        self
    }
}

/// Readers of mailboxes want a name there.
fn separator(sender: &str, unix: u64) -> String {
    let name = match sender {
        "" => "MAILER-DAEMON",
        sender => sender,
    };
    format!("From {name} {}", Civil::local(unix).ctime())
}

fn return_path(sender: &str) -> String {
    format!("Return-Path: <{sender}>")
}

/// Writes the message.
///
/// # Errors
/// What reading and writing say.
pub(crate) fn write(message: impl Read, shape: &Shape, out: &mut dyn Write) -> io::Result<()> {
    let mut message = BufReader::new(message);
    let mut encoder = DataEncoder::plain(&shape.line_end, shape.line_octets);
    let mut ready = Vec::new();
    for line in &shape.front {
        encoder.push(line.as_bytes(), &mut ready);
        encoder.push(b"\r\n", &mut ready);
    }
    if let Some((header, body_at)) = &shape.header {
        encoder.push(header, &mut ready);
        encoder.push(b"\r\n", &mut ready);
        if io::copy(&mut (&mut message).take(*body_at), &mut io::sink())? != *body_at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut line = Vec::new();
    // A long line comes in pieces; only the first can begin with `From `.
    let mut at_start = true;
    loop {
        line.clear();
        let octets = (&mut message)
            .take(64 * 1024)
            .read_until(b'\n', &mut line)?;
        if octets == 0 {
            break;
        }
        if at_start && shape.quoting == Quoting::From && line.starts_with(b"From ") {
            encoder.push(b">", &mut ready);
        }
        at_start = line.ends_with(b"\n");
        encoder.push(&line, &mut ready);
        out.write_all(&ready)?;
        ready.clear();
    }
    if shape.end == End::EmptyLine {
        let missing: &[u8] = if at_start { b"" } else { b"\r\n" };
        encoder.push(missing, &mut ready);
        encoder.push(b"\r\n", &mut ready);
    }
    encoder.finish(&mut ready);
    out.write_all(&ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mailer: &Mailer, header: Option<Header>) -> String {
        let shape = Shape::of(mailer, "joe@b", 0).with_header(header);
        let message =
            &b"Subject: x\r\n\r\nFrom a\r\n.\r\na line that is longer than twenty\r\n"[..];
        let mut out = Vec::new();
        write(message, &shape, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        match text.strip_prefix("From joe@b ") {
            Some(rest) if mailer.line_octets.is_none() => {
                let (_, rest) = rest.split_once('\n').unwrap();
                format!("+{rest}")
            }
            _ => text,
        }
    }

    fn mailer(flags: &str) -> Mailer {
        Mailer {
            flags: flags.to_owned(),
            ..Mailer::default()
        }
    }

    #[test]
    fn flags_make_the_shape() {
        let body = "From a\n.\na line that is longer than twenty\n";
        let want = format!("+Subject: x\n\n{body}");
        assert_eq!(written(&mailer("lsDFM"), None), want);
        let want = format!("Return-Path: <joe@b>\nSubject: x\n\n>{body}");
        assert_eq!(written(&mailer("nPE"), None), want);
        let want = format!("Subject: x\n\n{body}\n");
        assert_eq!(written(&mailer("nb"), None), want);
        let header = Some((b"To: y\r\n"[..].into(), 14));
        let want = format!("To: y\n\n{body}");
        assert_eq!(written(&mailer("n"), header), want);
    }

    fn of(shape: &Shape, message: &str) -> String {
        let mut out = Vec::new();
        write(message.as_bytes(), shape, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_end_is_one_wherever_the_pieces_end() {
        let shape = Shape::maildir("joe@b");
        for octets in 65_530..65_540 {
            let line = "x".repeat(octets);
            for end in ["\r\nFrom\r\n", "\r\nFrom"] {
                let text = of(&shape, &format!("{line}{end}"));
                let want = format!("Return-Path: <joe@b>\n{line}\nFrom\n");
                assert!(text == want, "{octets}");
            }
        }
    }

    #[test]
    fn mailboxes_have_a_line_between_messages() {
        let message = "Subject: x\r\n\r\nFrom a\r\n>From b\r\nfrom c\r\n";
        let text = of(&Shape::mailbox("joe@b", 0), message);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.starts_with("From joe@b "), "{first}");
        assert_eq!(
            rest,
            "Return-Path: <joe@b>\nSubject: x\n\n>From a\n>From b\nfrom c\n\n"
        );
        let text = of(&Shape::mailbox("", 0), "Subject: x\r\n\r\nno end");
        assert!(text.starts_with("From MAILER-DAEMON "), "{text}");
        assert!(
            text.ends_with("\nReturn-Path: <>\nSubject: x\n\nno end\n\n"),
            "{text}"
        );
        let text = of(&Shape::maildir("joe@b"), message);
        assert_eq!(
            text,
            "Return-Path: <joe@b>\nSubject: x\n\nFrom a\n>From b\nfrom c\n"
        );
    }

    #[test]
    fn lmtp_carries_a_return_path_where_the_mailer_wants_one() {
        for (flags, front) in [("PSXmnz9", "Return-Path: <joe@b>\r\n"), ("lsDFMz", "")] {
            let shape = Shape::for_lmtp(&mailer(flags), "joe@b");
            let text = of(&shape, "Subject: x\r\n\r\nbody\r\n");
            assert_eq!(text, format!("{front}Subject: x\r\n\r\nbody\r\n"));
        }
    }

    #[test]
    fn lines_end_and_break_as_the_mailer_says() {
        let mailer = Mailer {
            line_end: Some("\r\n".into()),
            line_octets: Some(20),
            ..mailer("n")
        };
        assert_eq!(
            written(&mailer, None),
            "Subject: x\r\n\r\nFrom a\r\n.\r\na line that is long!\r\n er than twenty\r\n"
        );
    }
}
