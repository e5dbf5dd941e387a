//! The message as a mailbox or a program wants it: lines end in LF.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::clock::Civil;

/// What stands before the message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Front {
    /// The separator of mailbox files: sender, and whether lines that look like one are quoted.
    pub(super) separator: Option<String>,
    /// Return-Path (RFC 5321 section 4.4): final delivery puts it there.
    pub(super) return_path: Option<String>,
}

impl Front {
    /// The front of a mailbox: `From sender date`, and Return-Path.
    #[must_use]
    pub(super) fn mailbox(sender: &str, unix: u64) -> Self {
        // Readers of mailboxes want a name there.
        let name = if sender.is_empty() {
            "MAILER-DAEMON"
        } else {
            sender
        };
        Front {
            separator: Some(format!("From {name} {}", Civil::local(unix).ctime())),
            return_path: Some(sender.into()),
        }
    }
}

/// Writes the message, its CRLF as LF; with a separator, body lines that begin with
/// `From ` get a `>`, and an empty line ends the message.
///
/// # Errors
/// What reading and writing say.
pub(crate) fn write(message: impl Read, front: &Front, out: &mut dyn Write) -> io::Result<()> {
    let mut message = BufReader::new(message);
    if let Some(separator) = &front.separator {
        writeln!(out, "{separator}")?;
    }
    if let Some(path) = &front.return_path {
        writeln!(out, "Return-Path: <{path}>")?;
    }
    let mut line = Vec::new();
    // A long line comes in pieces; only the first can begin with `From `.
    let mut at_start = true;
    loop {
        // What is in it already is a CR that may have its LF in this piece.
        let octets = (&mut message)
            .take(64 * 1024)
            .read_until(b'\n', &mut line)?;
        if octets == 0 {
            out.write_all(&line)?;
            break;
        }
        if at_start && front.separator.is_some() && line.starts_with(b"From ") {
            out.write_all(b">")?;
        }
        at_start = line.ends_with(b"\n");
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                out.write_all(text)?;
                out.write_all(b"\n")?;
            }
            None => out.write_all(line.strip_suffix(b"\r").unwrap_or(&line))?,
        }
        let ends_in_cr = line.ends_with(b"\r");
        line.clear();
        line.extend(ends_in_cr.then_some(b'\r'));
    }
    if front.separator.is_some() {
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_one_wherever_the_pieces_end() {
        let plain = Front::default();
        for octets in 65_530..65_540 {
            let line = "x".repeat(octets);
            for (text, want) in [
                (format!("{line}\r\nb\r\n"), format!("{line}\nb\n")),
                (format!("{line}\rb\r\n"), format!("{line}\rb\n")),
                (format!("{line}\r"), format!("{line}\r")),
                (format!("{line}\r\r\n"), format!("{line}\r\n")),
            ] {
                let mut out = Vec::new();
                write(text.as_bytes(), &plain, &mut out).unwrap();
                assert!(out == want.as_bytes(), "{octets}");
            }
        }
    }

    #[test]
    fn mailbox_text() {
        let mut out = Vec::new();
        let message = &b"Subject: x\r\n\r\nFrom a\r\n>From b\r\nfrom c\r\n"[..];
        write(message, &Front::mailbox("joe@b", 0), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.starts_with("From joe@b "), "{first}");
        assert_eq!(
            rest,
            "Return-Path: <joe@b>\nSubject: x\n\n>From a\n>From b\nfrom c\n\n"
        );
        let front = Front::mailbox("", 0);
        assert!(front.separator.unwrap().starts_with("From MAILER-DAEMON "));
        assert_eq!(front.return_path.unwrap(), "");
    }
}
