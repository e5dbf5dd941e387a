//! LMTP (RFC 2033) to a local server: a socket in the file system, or a program.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use libmaps::opening;
use libmaps::site::model::options::Timeouts;

use super::outcome::Outcome;
use crate::log::clean;
use crate::relay::client::Step;
use crate::relay::link::{LAST_ANSWER, limit, name_of, patience};

/// For a connection.
const PATIENCE: Duration = Duration::from_secs(300);
const MAX_REPLY_OCTETS: u64 = 64 * 1024;

/// One message for one recipient.
pub(super) struct Letter<'a> {
    pub(super) host: &'a str,
    pub(super) sender: &'a str,
    pub(super) recipient: &'a str,
}

/// Hands it to the server that listens at `path`. This blocks.
pub(super) fn by_socket(
    path: &Path,
    timeouts: &Timeouts,
    letter: &Letter<'_>,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Outcome {
    let connect = || -> io::Result<(UnixStream, UnixStream)> {
        let stream = opening::socket(path, PATIENCE)?;
        stream.set_write_timeout(Some(limit(timeouts.data_block.0)))?;
        Ok((stream.try_clone()?, stream))
    };
    match connect() {
        Ok((input, output)) => {
            let wait = |step| input.set_read_timeout(Some(patience_of(timeouts, step)));
            talk((&input, wait), output, letter, text)
        }
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            Outcome::deferred(text).with_status("4.4.1")
        }
    }
}

/// How long the answer of this step is waited for. When that to the text comes too late, the
/// message comes twice.
fn patience_of(timeouts: &Timeouts, step: Step) -> Duration {
    match step {
        Step::Final => patience(timeouts, step).max(LAST_ANSWER),
        step => patience(timeouts, step),
    }
}

/// Speaks LMTP; an answer that is none defers. Before each answer the server's time is set.
pub(super) fn talk(
    (input, wait): (impl Read, impl Fn(Step) -> io::Result<()>),
    mut output: impl Write,
    letter: &Letter<'_>,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Outcome {
    let mut input = BufReader::new(input);
    let mut now = Step::Greeting;
    let result = (|| -> io::Result<Outcome> {
        let steps = [
            (Step::Greeting, String::new()),
            (Step::Lhlo, format!("LHLO {}\r\n", letter.host)),
            (Step::Mail, format!("MAIL FROM:<{}>\r\n", letter.sender)),
            (
                Step::Rcpt,
                format!("RCPT TO:<{}>\r\n", quoted(letter.recipient)),
            ),
            (Step::Data, "DATA\r\n".to_owned()),
        ];
        for (step, line) in steps {
            now = step;
            output.write_all(line.as_bytes())?;
            wait(step)?;
            let (code, said) = reply(&mut input)?;
            if !matches!(code / 100, 2 | 3) {
                return Ok(outcome(code, said));
            }
        }
        now = Step::Final;
        let mut buffered = BufWriter::new(&mut output);
        let mut stuffed = DotStuffed::new(&mut buffered);
        text(&mut stuffed)?;
        stuffed.end()?;
        buffered.flush()?;
        drop(buffered);
        wait(now)?;
        let (code, said) = reply(&mut input)?;
        let _ = output.write_all(b"QUIT\r\n");
        Ok(outcome(code, said))
    })();
    result.unwrap_or_else(|error| {
        let text = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("LMTP: Connection timed out during {}", name_of(now))
            }
            _ => format!("LMTP: {error}"),
        };
        Outcome::deferred(text).with_status("4.4.2")
    })
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

/// Doubles the dots at the beginning of lines (they end in CRLF).
struct DotStuffed<'a> {
    output: &'a mut dyn Write,
    at_start: bool,
}

impl<'a> DotStuffed<'a> {
    fn new(output: &'a mut dyn Write) -> Self {
        DotStuffed {
            output,
            at_start: true,
        }
    }

    /// The end of the message, with its last line end if that was missing.
    fn end(self) -> io::Result<()> {
        self.output.write_all(match self.at_start {
            true => b".\r\n",
            false => b"\r\n.\r\n",
        })
    }
}

impl Write for DotStuffed<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            if self.at_start && line.starts_with(b".") {
                self.output.write_all(b".")?;
            }
            self.at_start = line.ends_with(b"\n");
            self.output.write_all(line)?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The code and text of a reply of any number of lines.
fn reply(input: &mut impl BufRead) -> io::Result<(u16, String)> {
    let mut left = MAX_REPLY_OCTETS;
    loop {
        // What it says behind the code is for people, in whatever characters.
        let mut line = Vec::new();
        let octets = input.take(left).read_until(b'\n', &mut line)?;
        left -= octets as u64;
        if octets == 0 || left == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let code = line.get(..3).and_then(|c| std::str::from_utf8(c).ok());
        let code = code.and_then(|c| c.parse().ok());
        let code = code.ok_or_else(|| io::Error::other("no reply code"))?;
        if line.get(3) != Some(&b'-') {
            let line = String::from_utf8_lossy(line.trim_ascii_end());
            return Ok((code, line.into_owned()));
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
        let outcome = talk((&said[..], |_| Ok(())), &mut sent, &letter(), |out| {
            // In whatever pieces.
            [&b"Subject: x\r\n\r\n."[..], b"dot\r\n"]
                .iter()
                .try_for_each(|piece| out.write_all(piece))
        });
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

    fn answer_of(said: &[u8]) -> Outcome {
        talk((said, |_| Ok(())), Vec::new(), &letter(), |_| Ok(()))
    }

    #[test]
    fn what_a_server_says_in_other_characters_counts_all_the_same() {
        let start = b"220 hi\r\n250 y\r\n250 ok\r\n250 ok\r\n354 go\r\n";
        let said = |last: &[u8]| answer_of(&[&start[..], last].concat());
        assert_eq!(said(b"250 2.0.0 f\xfcr M\xfcller\r\n"), Outcome::sent());
        let want = Outcome::failed("5.2.2", "552 5.2.2 Postfach von M\u{fffd}ller voll");
        assert_eq!(said(b"552 5.2.2 Postfach von M\xfcller voll\r\n"), want);
    }

    #[test]
    fn a_server_has_the_time_that_the_site_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let server = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let slow = std::thread::spawn(move || {
            let (mut client, _) = server.accept().unwrap();
            client.write_all(b"220 hi\r\n").unwrap();
            let mut line = String::new();
            // It says no more, and stays.
            BufReader::new(&client).read_line(&mut line).unwrap();
            let _ = client.read(&mut [0]);
            line
        });
        let mut timeouts = Timeouts::default();
        timeouts.lhlo.0 = Duration::from_millis(50);
        let outcome = by_socket(&path, &timeouts, &letter(), |_| Ok(()));
        assert_eq!(outcome.text, "LMTP: Connection timed out during LHLO");
        assert_eq!(slow.join().unwrap(), "LHLO mx.example\r\n");
        timeouts.data_final.0 = Duration::from_secs(1);
        let last = |timeouts: &Timeouts| patience_of(timeouts, Step::Final);
        assert_eq!(last(&timeouts), Duration::from_secs(600));
        timeouts.data_final.0 = Duration::ZERO;
        assert_eq!(last(&timeouts), Duration::from_secs(3600));
    }

    #[test]
    fn refusals_and_silence() {
        let said = b"220 hi\r\n250 y\r\n250 ok\r\n550 5.1.1 nobody\r\n";
        let outcome = answer_of(&said[..]);
        assert_eq!(outcome, Outcome::failed("5.1.1", "550 5.1.1 nobody"));
        let said = b"220 hi\r\n452 later\r\n";
        let outcome = answer_of(&said[..]);
        assert_eq!(outcome, Outcome::deferred("452 later"));
        let said = b"220 hi\r\n250 y\r\n250 ok\r\n552 5.2.2 full\r\n";
        let outcome = answer_of(&said[..]);
        assert_eq!(outcome, Outcome::failed("5.2.2", "552 5.2.2 full"));
        let outcome = answer_of(&b"220 hi\r\n"[..]);
        assert!(matches!(
            outcome,
            Outcome {
                fate: Fate::Deferred,
                ..
            }
        ));
    }
}
