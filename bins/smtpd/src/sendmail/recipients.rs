//! The recipients that a header names (`-t`).

use libmaps::table::aliases::Separator;

use super::address_list::{Listed, addresses};
use crate::header::{Judged, Reach, field_name, is_resent, last_reach, reach};

/// Fields that name recipients.
const FIELDS: [&[u8]; 4] = [b"to", b"cc", b"bcc", b"apparently-to"];
/// Fields that name the recipients of a message that is sent once more ([`is_resent`]); of
/// such a message only these count (RFC 5322 section 3.6.6).
const RESENT_FIELDS: [&[u8]; 3] = [b"resent-to", b"resent-cc", b"resent-bcc"];

/// Fields of senders: their lists tell the style of a message too.
const SENDER_FIELDS: [&[u8]; 8] = [
    b"from",
    b"sender",
    b"reply-to",
    b"errors-to",
    b"disposition-notification-to",
    b"resent-from",
    b"resent-sender",
    b"resent-reply-to",
];

/// Whether a list of addresses is in the field of this name, in small letters.
fn has_list(name: &[u8]) -> bool {
    let mut known = FIELDS.iter().chain(&RESENT_FIELDS).chain(&SENDER_FIELDS);
    known.any(|field| *field == name)
}

/// Collects the header of a message while the text goes by; lines end in CRLF.
#[derive(Debug, Default)]
pub(super) struct HeaderText {
    text: Vec<u8>,
    lines: Judged,
    complete: bool,
}

/// The header is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderTooLong;

impl HeaderText {
    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// When the header is longer than `max_octets`.
    pub(super) fn push(&mut self, piece: &[u8], max_octets: usize) -> Result<(), HeaderTooLong> {
        if self.complete {
            return Ok(());
        }
        let scanned = self.text.len();
        self.text.extend_from_slice(piece);
        let reach = reach(&self.text, &mut self.lines, scanned, max_octets);
        self.follow(reach)
    }

    /// The message has ended.
    ///
    /// # Errors
    /// When the header is longer than `max_octets`.
    pub(super) fn finish(&mut self, max_octets: usize) -> Result<(), HeaderTooLong> {
        if self.complete {
            return Ok(());
        }
        let reach = last_reach(&mut self.text, &mut self.lines, max_octets);
        self.follow(reach)
    }

    fn follow(&mut self, reach: Reach) -> Result<(), HeaderTooLong> {
        match reach {
            Reach::Open => {}
            Reach::Ends(end) => {
                self.text.truncate(end);
                self.complete = true;
            }
            Reach::TooLarge => return Err(HeaderTooLong),
        }
        Ok(())
    }

    /// Whether the message is a report on another (RFC 6522): a notice that a program sends on.
    #[must_use]
    pub(super) fn is_report(&self) -> bool {
        const REPORT: &[u8] = b"multipart/report";
        fields(&self.text).iter().any(|(name, value)| {
            let kind = value.trim_ascii_start().get(..REPORT.len());
            name == b"content-type" && kind.is_some_and(|kind| kind.eq_ignore_ascii_case(REPORT))
        })
    }

    /// What is listed in the fields that name recipients, in order. `separator` is what the
    /// lists outside the header tell; the style of one list is that of the whole message.
    #[must_use]
    pub(super) fn recipients(&self, separator: Separator) -> Vec<Listed> {
        let fields = fields(&self.text);
        let lists = fields.iter().filter(|(name, _)| has_list(name));
        let separator = lists.fold(separator, |so_far, (_, value)| so_far.after(value));
        let resent = fields.iter().any(|(name, _)| is_resent(name));
        let wanted: &[&[u8]] = if resent { &RESENT_FIELDS } else { &FIELDS };
        fields
            .iter()
            .filter(|(name, _)| wanted.contains(&name.as_slice()))
            .flat_map(|(_, value)| addresses(value, separator))
            .collect()
    }
}

/// Names in small letters, and values with their folds.
fn fields(header: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in header.split(|c| *c == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.first(), all.last_mut()) {
            (Some(b' ' | b'\t'), Some((_, value))) => {
                value.push(b'\n');
                value.extend_from_slice(line);
            }
            _ => {
                if let Some(name) = field_name(line) {
                    let value = line.splitn(2, |c| *c == b':').nth(1).unwrap_or_default();
                    all.push((name.to_ascii_lowercase(), value.to_vec()));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(all: &[Listed]) -> Vec<String> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        all.iter()
            .map(|element| match element {
                Listed::Address(address) => text(address),
                Listed::Unbalanced(written, sign) => format!("{sign}? {}", text(written)),
            })
            .collect()
    }

    fn named(text: &str, size: usize) -> Vec<String> {
        let text = text.replace('\n', "\r\n");
        let mut header = HeaderText::default();
        for piece in text.as_bytes().chunks(size) {
            header.push(piece, 1_000_000).unwrap();
        }
        header.finish(1_000_000).unwrap();
        shown(&header.recipients(Separator::Blank))
    }

    #[test]
    fn recipients_of_headers() {
        let cases: [(&str, &[&str]); 11] = [
            (
                "To: ann\nCC : bob,\n\tzoe\nBcc: joe\n\nTo: x\n",
                &["ann", "bob", "zoe", "joe"],
            ),
            ("Resent-To: ann\nTo: zoe\n\nhi\n", &["ann"]),
            ("Resent-From: q\nTo: zoe\n\nhi\n", &[]),
            ("RESENT-DATE: q\nTo: zoe\n\nhi\n", &[]),
            ("Resent-By: q\nResent-Subject: q\nTo: zoe\n\nhi\n", &["zoe"]),
            ("From joe Mon Jan 1\nTo: zoe\n\nhi\n", &["zoe"]),
            (">From joe\nTo: zoe\n\nhi\n", &[]),
            ("Apparently-To: zoe\n\n", &["zoe"]),
            ("To: zoe\nno field\nTo: ann\n\n", &["zoe"]),
            ("\nTo: zoe\n", &[]),
            ("To: zoe\n", &["zoe"]),
        ];
        for (text, want) in cases {
            for size in [1, 2, 3, 5, 1000] {
                assert_eq!(named(text, size), want, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn reports_are_known_by_their_type() {
        for (text, want) in [
            ("Content-Type: multipart/report; report-type=x\n\n", true),
            ("CONTENT-TYPE:\n Multipart/Report;\n\tboundary=x\n\n", true),
            ("Content-Type: multipart/mixed\n\n", false),
            (
                "X: multipart/report\n\nContent-Type: multipart/report\n",
                false,
            ),
        ] {
            let mut header = HeaderText::default();
            header
                .push(text.replace('\n', "\r\n").as_bytes(), 1000)
                .unwrap();
            header.finish(1000).unwrap();
            assert_eq!(header.is_report(), want, "{text}");
        }
    }

    #[test]
    fn one_list_of_the_new_style_makes_all_of_it() {
        // Each was given to sendmail 8.17.1.
        let cases: [(&str, &[&str]); 13] = [
            ("To: ann\nCc: bob zoe", &["ann", "bob", "zoe"]),
            ("To: ann@x bob@y\n\tzoe@z", &["ann@x", "bob@y", "zoe@z"]),
            ("To: a b\nCc: x, y", &["a b", "x", "y"]),
            ("To: a b\nFrom: x, y", &["a b"]),
            ("To: a b\nReply-To: x <y>", &["a b"]),
            ("To: a b\nDisposition-Notification-To: x,y", &["a b"]),
            ("To: a b\nErrors-To: x,y", &["a b"]),
            ("To: a b\nTo: (comment)", &["a b"]),
            ("Resent-To: a b\nTo: c,d", &["a b"]),
            ("To: a b\nSubject: x <y>, b", &["a", "b"]),
            ("To: a b\nReturn-Receipt-To: x,y", &["a", "b"]),
            ("To: ann bob\nX-Cc: x,y", &["ann", "bob"]),
            ("To: a b\nCc: x (c\nBcc: y", &["a b", "(? x (c", "y"]),
        ];
        for (text, want) in cases {
            let text = format!("{text}\n\nhi, <there>\n");
            assert_eq!(named(&text, 1000), want, "{text:?}");
        }
        let mut header = HeaderText::default();
        header.push(b"To: a b\r\n\r\n", 100).unwrap();
        assert_eq!(shown(&header.recipients(Separator::Comma)), ["a b"]);
    }

    #[test]
    fn a_long_header_is_refused_and_a_long_body_is_not() {
        let mut header = HeaderText::default();
        let line = format!("X: {}\r\n", "y".repeat(100));
        let pushed = (0..100).try_for_each(|_| header.push(line.as_bytes(), 5000));
        assert_eq!(pushed, Err(HeaderTooLong));
        let mut header = HeaderText::default();
        header.push(&line.as_bytes().repeat(50), 5000).unwrap();
        assert_eq!(header.finish(5000), Err(HeaderTooLong));
        let mut header = HeaderText::default();
        header.push(b"To: ann\r\nno field\r\n", 5000).unwrap();
        let pushed = (0..1000).try_for_each(|_| header.push(line.as_bytes(), 5000));
        assert_eq!(pushed, Ok(()));
        header.finish(5000).unwrap();
        assert!(header.text.len() < 5000);
        assert_eq!(shown(&header.recipients(Separator::Blank)), ["ann"]);
    }
}
