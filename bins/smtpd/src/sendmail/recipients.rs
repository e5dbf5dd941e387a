//! The recipients that a header names (`-t`).

use super::address_list::addresses;

/// Fields that name recipients.
const FIELDS: [&[u8]; 4] = [b"to", b"cc", b"bcc", b"apparently-to"];
/// Fields that name the recipients of a message that is sent once more; where any
/// `Resent-` field stands, only these count (RFC 5322 section 3.6.6).
const RESENT_FIELDS: [&[u8]; 3] = [b"resent-to", b"resent-cc", b"resent-bcc"];

/// Longest name of a field, in octets; a line without a colon that is longer is body.
const MAX_NAME_OCTETS: usize = 4096;

/// Collects the header of a message while the text goes by; lines end in CRLF.
#[derive(Debug, Default)]
pub(super) struct HeaderText {
    text: Vec<u8>,
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
        let from = self.text.len().saturating_sub(3);
        self.text.extend_from_slice(piece);
        let fresh = self.text.get(from..).unwrap_or_default();
        let empty_first = self.text.starts_with(b"\r\n");
        if let Some(at) = fresh.windows(4).position(|w| w == b"\r\n\r\n") {
            self.text.truncate(from + at + 2);
            self.complete = true;
        } else if empty_first {
            self.text.clear();
            self.complete = true;
        }
        let fields = fields_length(&self.text);
        let rest = self.text.get(fields..).unwrap_or_default();
        let is_field = field_name(rest).is_some() || matches!(rest.first(), Some(b' ' | b'\t'));
        let header = if is_field { self.text.len() } else { fields };
        if header > max_octets {
            return Err(HeaderTooLong);
        }
        // A line that is no field ends the header; one at hand may still become one.
        if !is_field && (rest.contains(&b'\n') || rest.len() > MAX_NAME_OCTETS) {
            self.text.truncate(fields);
            self.complete = true;
        }
        Ok(())
    }

    /// The addresses in the fields that name recipients, in order.
    #[must_use]
    pub(super) fn recipients(&self) -> Vec<Vec<u8>> {
        let fields = fields(&self.text);
        let resent = fields.iter().any(|(name, _)| name.starts_with(b"resent-"));
        let wanted: &[&[u8]] = if resent { &RESENT_FIELDS } else { &FIELDS };
        fields
            .iter()
            .filter(|(name, _)| wanted.contains(&name.as_slice()))
            .flat_map(|(_, value)| addresses(value))
            .collect()
    }
}

/// Whole lines of fields at the start of the text, in octets.
fn fields_length(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else {
            // The line at hand is counted while it may still become a field.
            return at;
        };
        let line = rest.get(..end).unwrap_or_default();
        let continued = at > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        if !continued && field_name(line).is_none() && !(at == 0 && line.starts_with(b"From ")) {
            return at;
        }
        at += end + 2;
    }
}

/// Names in small letters, and values with their folds.
fn fields(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let header = text.get(..fields_length(text)).unwrap_or_default();
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

/// The name of a field, blanks before the colon allowed (RFC 5322 section 4.5.3).
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|c| *c == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, size: usize) -> Vec<String> {
        let text = text.replace('\n', "\r\n");
        let mut header = HeaderText::default();
        for piece in text.as_bytes().chunks(size) {
            header.push(piece, 1_000_000).unwrap();
        }
        let all = header.recipients();
        all.iter()
            .map(|a| String::from_utf8_lossy(a).into_owned())
            .collect()
    }

    #[test]
    fn recipients_of_headers() {
        let cases: [(&str, &[&str]); 9] = [
            (
                "To: ann\nCC : bob,\n\tzoe\nBcc: joe\n\nTo: x\n",
                &["ann", "bob", "zoe", "joe"],
            ),
            ("Resent-To: ann\nTo: zoe\n\nhi\n", &["ann"]),
            ("Resent-From: q\nTo: zoe\n\nhi\n", &[]),
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
    fn a_long_header_is_refused_and_a_long_body_is_not() {
        let mut header = HeaderText::default();
        let line = format!("X: {}\r\n", "y".repeat(100));
        let pushed = (0..100).try_for_each(|_| header.push(line.as_bytes(), 5000));
        assert_eq!(pushed, Err(HeaderTooLong));
        let mut header = HeaderText::default();
        header.push(b"To: ann\r\nno field\r\n", 5000).unwrap();
        let pushed = (0..1000).try_for_each(|_| header.push(line.as_bytes(), 5000));
        assert_eq!(pushed, Ok(()));
        assert!(header.text.len() < 5000);
        assert_eq!(header.recipients(), [b"ann"]);
    }
}
