//! From 8-bit text to quoted-printable (RFC 2045 section 6.7), for hosts without 8BITMIME.
//!
//! Only a message that is one text is recoded. Parts of a multipart, messages in messages and
//! what has another encoding already stay as they are (a signature over parts stays whole), and
//! so do header fields, which no encoding of the body concerns.

use crate::header::{each_field, field_name};

/// Longest line of quoted-printable.
const MAX_LINE: usize = 76;

/// The header of the message once its body is quoted-printable.
///
/// # Errors
/// Why it can't be recoded.
pub fn recoded_header(header: &[u8], charset: &str, note: &str) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(header.len() + 200);
    let (mut has_version, mut has_type) = (false, false);
    for field in each_field(header) {
        let name = field_name(field).unwrap_or_default();
        let colon = field.iter().position(|c| *c == b':').unwrap_or(0);
        let value = field.get(colon + 1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            let known: [&[u8]; 2] = [b"7bit", b"8bit"];
            if !known.iter().any(|k| value.eq_ignore_ascii_case(k)) {
                return Err("its body is encoded already");
            }
            continue;
        }
        if name.eq_ignore_ascii_case(b"Content-Type") {
            let is_text = value
                .get(..5)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"text/"));
            if !is_text {
                return Err("it is not one text");
            }
            if has_type {
                return Err("it has two content types");
            }
            has_type = true;
        }
        has_version |= name.eq_ignore_ascii_case(b"MIME-Version");
        out.extend_from_slice(field);
    }
    let mut add = |line: &str| {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    if !has_version {
        add("MIME-Version: 1.0");
    }
    if !has_type {
        add(&format!("Content-Type: text/plain; charset={charset}"));
    }
    add("Content-Transfer-Encoding: quoted-printable");
    add(&format!(
        "X-MIME-Autoconverted: from 8bit to quoted-printable by {note}"
    ));
    Ok(out)
}

/// Encodes text line by line.
#[derive(Debug, Default)]
pub struct QuotedPrintable {
    /// The line so far, encoded.
    line: Vec<u8>,
    /// A blank, tab or CR whose fate depends on what follows.
    held: Option<u8>,
}

impl QuotedPrintable {
    /// Takes a piece of text.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for octet in piece {
            match (octet, self.held) {
                (b'\n', held) => {
                    self.held = None;
                    if let Some(blank @ (b' ' | b'\t')) = held {
                        self.put_coded(blank, out);
                    }
                    self.end_line(out);
                }
                (octet, held) => {
                    match held {
                        Some(b'\r') => self.put_coded(b'\r', out),
                        Some(blank) if *octet == b'\r' => self.put_coded(blank, out),
                        Some(blank) => self.put(&[blank], out),
                        None => {}
                    }
                    self.held = None;
                    match octet {
                        b' ' | b'\t' | b'\r' => self.held = Some(*octet),
                        b'=' => self.put_coded(b'=', out),
                        b'!'..=b'~' => self.put(&[*octet], out),
                        other => self.put_coded(*other, out),
                    }
                }
            }
        }
    }

    /// The text has ended.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            self.put_coded(held, out);
        }
        if !self.line.is_empty() {
            self.end_line(out);
        }
    }

    fn put_coded(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.put(format!("={octet:02X}").as_bytes(), out);
    }

    fn put(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if self.line.len() + octets.len() >= MAX_LINE {
            self.line.push(b'=');
            self.end_line(out);
        }
        self.line.extend_from_slice(octets);
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.line);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coded(text: &[u8], size: usize) -> String {
        let (mut encoder, mut out) = (QuotedPrintable::default(), Vec::new());
        for piece in text.chunks(size) {
            encoder.push(piece, &mut out);
        }
        encoder.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn decoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let text = text.replace("=\r\n", "");
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            if octet == b'=' {
                let hex = [octets.next().unwrap(), octets.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            } else {
                out.push(octet);
            }
        }
        out
    }

    #[test]
    fn lines_blanks_and_octets() {
        for (text, want) in [
            ("a=b\r\n", "a=3Db\r\n"),
            ("gr\u{fc}n \r\n", "gr=C3=BCn=20\r\n"),
            ("a b\tc\r\n", "a b\tc\r\n"),
            ("a\t\r\n\r\n", "a=09\r\n\r\n"),
            ("no end", "no end\r\n"),
            ("x ", "x=20\r\n"),
        ] {
            assert_eq!(coded(text.as_bytes(), 1), want, "{text:?}");
            assert_eq!(coded(text.as_bytes(), 100), want, "{text:?}");
        }
    }

    #[test]
    fn headers() {
        let new = |header: &str| {
            let new = recoded_header(header.as_bytes(), "unknown-8bit", "me id X");
            new.map(|h| String::from_utf8(h).unwrap())
        };
        const TAIL: &str = "Content-Transfer-Encoding: quoted-printable\r\n\
             X-MIME-Autoconverted: from 8bit to quoted-printable by me id X\r\n";
        let labelled =
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: Text/plain;\r\n charset=utf-8\r\n";
        let full = format!("{labelled}content-transfer-encoding: 8BIT\r\n");
        assert_eq!(new(&full).unwrap(), format!("{labelled}{TAIL}"));
        let bare = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n";
        assert_eq!(
            new("Subject: x\r\n").unwrap(),
            format!("Subject: x\r\n{bare}{TAIL}")
        );
        let raw = "Subject: gr\u{fc}n\r\n";
        assert_eq!(new(raw).unwrap(), format!("{raw}{bare}{TAIL}"));
        for bad in [
            "Content-Type: multipart/signed; boundary=x\r\n",
            "Content-Type: message/rfc822\r\n",
            "Content-Transfer-Encoding: base64\r\n",
            "Content-Transfer-Encoding: binary\r\n",
            "Content-Type: text/plain\r\nContent-Type: text/html\r\n",
        ] {
            assert!(new(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn it_comes_back_the_same(
            lines in proptest::collection::vec(proptest::collection::vec(
                prop_oneof![Just(b' '), Just(b'\t'), Just(b'='), Just(b'.'), any::<u8>()], 0..100), 0..5),
            size in 1usize..50,
        ) {
            let mut text = Vec::new();
            for line in &lines {
                text.extend(line.iter().filter(|c| !matches!(c, b'\r' | b'\n')));
                text.extend(b"\r\n");
            }
            let out = coded(&text, size);
            prop_assert!(out.is_ascii());
            for line in out.split("\r\n") {
                prop_assert!(line.len() <= MAX_LINE, "{}", line);
                prop_assert!(!line.ends_with([' ', '\t']));
            }
            prop_assert_eq!(decoded(&out), text);
        }
    }
}
