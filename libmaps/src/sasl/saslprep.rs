//! SASLprep (RFC 4013): one form for names and passwords that look the same.

use std::borrow::Cow;

/// Prepares a name or password as RFC 4013 says.
///
/// What can't be prepared (no UTF-8, prohibited characters, nothing left) is
/// used as it is: those octets can still be compared, and a password set by an
/// older program goes on working.
#[must_use]
pub fn saslprep(octets: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(octets) else {
        return Cow::Borrowed(octets);
    };
    match stringprep::saslprep(text) {
        Ok(Cow::Borrowed(same)) => Cow::Borrowed(same.as_bytes()),
        Ok(Cow::Owned(other)) if !other.is_empty() => Cow::Owned(other.into_bytes()),
        _ => Cow::Borrowed(octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4013 section 3, and what stays as it is.
    #[test]
    fn examples_of_the_rfc() {
        let cases: [(&[u8], &[u8]); 9] = [
            ("I\u{ad}X".as_bytes(), b"IX"),
            (b"user", b"user"),
            (b"USER", b"USER"),
            ("\u{aa}".as_bytes(), b"a"),
            ("\u{2168}".as_bytes(), b"IX"),
            ("\u{7}".as_bytes(), b"\x07"),
            ("\u{627}1".as_bytes(), "\u{627}1".as_bytes()),
            (b"\xff\xfe", b"\xff\xfe"),
            ("a\u{a0}b".as_bytes(), b"a b"),
        ];
        for (given, want) in cases {
            assert_eq!(saslprep(given).as_ref(), want, "{given:?}");
        }
    }
}
