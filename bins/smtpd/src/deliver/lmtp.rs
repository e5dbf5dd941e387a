//! LMTP (RFC 2033) to a local server: a socket in the file system, or a program.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use libmaps::opening;

use super::outcome::Outcome;
use crate::log::clean;

const PATIENCE: Duration = Duration::from_secs(300);
const MAX_REPLY_OCTETS: u64 = 64 * 1024;

/// One message for one recipient.
pub(super) struct Letter<'a> {
    pub(super) host: &'a str,
    pub(super) sender: &'a str,
    pub(super) recipient: &'a str,
}

/// Hands it to the server that listens at `path`. This blocks.
pub(super) fn by_socket(path: &Path, letter: &Letter<'_>, text: impl Read) -> Outcome {
    let connect = || -> io::Result<(UnixStream, UnixStream)> {
        let stream = opening::socket(path, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok((stream.try_clone()?, stream))
    };
    match connect() {
        Ok((input, output)) => talk(input, output, letter, text),
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            Outcome::deferred(text).with_status("4.4.1")
        }
    }
}

/// Speaks LMTP; an answer that is none defers.
pub(super) fn talk(
    input: impl Read,
    mut output: impl Write,
    letter: &Letter<'_>,
    text: impl Read,
) -> Outcome {
    let mut input = BufReader::new(input);
    let result = (|| -> io::Result<Outcome> {
        let steps = [
            None,
            Some(format!("LHLO {}\r\n", letter.host)),
            Some(format!("MAIL FROM:<{}>\r\n", letter.sender)),
            Some(format!("RCPT TO:<{}>\r\n", quoted(letter.recipient))),
            Some("DATA\r\n".to_owned()),
        ];
        for step in steps {
            if let Some(line) = step {
                output.write_all(line.as_bytes())?;
            }
            let (code, said) = reply(&mut input)?;
            if !matches!(code / 100, 2 | 3) {
                return Ok(outcome(code, said));
            }
        }
        dot_stuffed(text, &mut output)?;
        let (code, said) = reply(&mut input)?;
        let _ = output.write_all(b"QUIT\r\n");
        Ok(outcome(code, said))
    })();
    result.unwrap_or_else(|error| Outcome::deferred(format!("LMTP: {error}")).with_status("4.4.2"))
}

/// A recipient as a command may name him: one that a stranger's detail makes no dot-string is
/// a quoted string (RFC 5321 section 4.1.2), so that nothing of it is taken for a parameter.
fn quoted(recipient: &str) -> String {
    let is_dots = |text: &str, more: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || more.contains(c);
        text.split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(fits))
    };
    const ATOM: &str = "!#$%&'*+-/=?^_`{|}~";
    let is_plain = match recipient.rsplit_once('@') {
        Some((local, domain)) => is_dots(local, ATOM) && is_dots(domain, "-"),
        None => is_dots(recipient, ATOM),
    };
    if is_plain {
        return recipient.to_owned();
    }
    let mut out = String::from("\"");
    for c in recipient.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// What became of a copy of which this reply is all that is known; `None` if it is no reply.
pub(super) fn outcome_of(said: &str) -> Option<Outcome> {
    let said = said.trim_end();
    let code: u16 = said.get(..3)?.parse().ok()?;
    (400..600)
        .contains(&code)
        .then(|| outcome(code, clean(said)))
}

/// A reply as what became of the copy, with the reply's own status if it has one.
fn outcome(code: u16, said: String) -> Outcome {
    let status = status_of(&said).map(str::to_owned);
    let status = |other: &str| status.clone().unwrap_or_else(|| other.to_owned());
    match code / 100 {
        2 => Outcome::sent(),
        5 if code == 550 => Outcome::failed(&status("5.1.1"), said),
        5 => Outcome::failed(&status("5.0.0"), said),
        _ => {
            let status = status("4.0.0");
            Outcome::deferred(said).with_status(&status)
        }
    }
}

/// The enhanced status code behind the reply code, if it is of the same class.
fn status_of(said: &str) -> Option<&str> {
    let word = said.get(4..)?.split(' ').next()?;
    let parts: Vec<&str> = word.split('.').collect();
    let digits = |p: &&str| !p.is_empty() && p.len() < 4 && p.bytes().all(|c| c.is_ascii_digit());
    let same_class = parts.first()?.as_bytes().first() == said.as_bytes().first();
    (parts.len() == 3 && parts.iter().all(digits) && same_class).then_some(word)
}

/// The message lines (they end in CRLF) with dots doubled, and the end.
fn dot_stuffed(text: impl Read, output: &mut impl Write) -> io::Result<()> {
    let mut text = BufReader::new(text);
    let (mut line, mut at_start) = (Vec::new(), true);
    loop {
        line.clear();
        if (&mut text).take(64 * 1024).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if at_start && line.starts_with(b".") {
            output.write_all(b".")?;
        }
        at_start = line.ends_with(b"\n");
        output.write_all(&line)?;
    }
    output.write_all(if at_start { b".\r\n" } else { b"\r\n.\r\n" })
}

/// The code and text of a reply of any number of lines.
fn reply(input: &mut impl BufRead) -> io::Result<(u16, String)> {
    let mut left = MAX_REPLY_OCTETS;
    loop {
        let mut line = String::new();
        let octets = input.take(left).read_line(&mut line)?;
        left -= octets as u64;
        if octets == 0 || left == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let code = line.get(..3).and_then(|c| c.parse().ok());
        let code = code.ok_or_else(|| io::Error::other("no reply code"))?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok((code, line.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Fate;
    use super::*;

    fn letter() -> Letter<'static> {
        Letter {
            host: "mx.example",
            sender: "a@b",
            recipient: "joe",
        }
    }

    #[test]
    fn a_dialogue() {
        let said =
            b"220 hi\r\n250-x\r\n250 y\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 stored\r\n";
        let mut sent = Vec::new();
        let outcome = talk(
            &said[..],
            &mut sent,
            &letter(),
            &b"Subject: x\r\n\r\n.dot\r\n"[..],
        );
        assert_eq!(outcome, Outcome::sent());
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            "LHLO mx.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<joe>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"
        );
    }

    #[test]
    fn what_a_recipient_is_called_gives_the_server_no_parameters() {
        let cases = [
            ("joe", "joe"),
            ("joe+a.b", "joe+a.b"),
            ("joe@b.example", "joe@b.example"),
            ("alice+x> A=B", "\"alice+x> A=B\""),
            ("joe+\"", "\"joe+\\\"\""),
            ("joe+\\", "\"joe+\\\\\""),
            ("joe+a b", "\"joe+a b\""),
            ("joe..x", "\"joe..x\""),
            ("j\u{f6}rg", "j\u{f6}rg"),
        ];
        for (recipient, want) in cases {
            assert_eq!(quoted(recipient), want, "{recipient}");
        }
    }

    #[test]
    fn refusals_and_silence() {
        let said = b"220 hi\r\n250 y\r\n250 ok\r\n550 5.1.1 nobody\r\n";
        let outcome = talk(&said[..], Vec::new(), &letter(), &b""[..]);
        assert_eq!(outcome, Outcome::failed("5.1.1", "550 5.1.1 nobody"));
        let said = b"220 hi\r\n452 later\r\n";
        let outcome = talk(&said[..], Vec::new(), &letter(), &b""[..]);
        assert_eq!(outcome, Outcome::deferred("452 later"));
        let said = b"220 hi\r\n250 y\r\n250 ok\r\n552 5.2.2 full\r\n";
        let outcome = talk(&said[..], Vec::new(), &letter(), &b""[..]);
        assert_eq!(outcome, Outcome::failed("5.2.2", "552 5.2.2 full"));
        let outcome = talk(&b"220 hi\r\n"[..], Vec::new(), &letter(), &b""[..]);
        assert!(matches!(
            outcome,
            Outcome {
                fate: Fate::Deferred,
                ..
            }
        ));
    }
}
