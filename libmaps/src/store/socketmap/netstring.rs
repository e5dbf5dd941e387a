//! Netstrings: `LEN:OCTETS,`, with LEN in decimal digits (D. J. Bernstein, netstrings.txt).

/// Most digits of a length that are read: 9,999,999 octets.
const MAX_DIGITS: usize = 7;

/// Octets of a netstring beyond those it carries: the digits, the colon, the comma.
pub const FRAME_OCTETS: usize = MAX_DIGITS + 2;

/// What makes octets no netstring. Nobody can tell where the next one would start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else stands where the length should be.
    #[error("expected a length in digits and a colon")]
    NoLength,
    /// A length of zeros and more, which the format forbids.
    #[error("the length starts with a zero")]
    LeadingZero,
    /// More than the reader takes.
    #[error("longer than {0} octets")]
    TooLong(usize),
    /// What follows the octets is no comma: the length was a lie.
    #[error("no comma after as many octets as were announced")]
    NoComma,
}

/// The first netstring in `octets` and how many octets it takes; `None` while it is not whole.
///
/// A fault is told as soon as it can be seen, so a reader never holds more than
/// `max_octets` and [`FRAME_OCTETS`].
///
/// # Errors
/// When the octets can't become a netstring of at most `max_octets`.
pub fn split(octets: &[u8], max_octets: usize) -> Result<Option<(&[u8], usize)>, Fault> {
    let digits = octets.iter().take_while(|o| o.is_ascii_digit()).count();
    let (number, rest) = octets.split_at(digits);
    if number.len() > 1 && number.starts_with(b"0") {
        return Err(Fault::LeadingZero);
    }
    if digits > MAX_DIGITS {
        return Err(Fault::TooLong(max_octets));
    }
    let length = number
        .iter()
        .fold(0usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if length > max_octets {
        return Err(Fault::TooLong(max_octets));
    }
    let rest = match rest.split_first() {
        None => return Ok(None),
        Some((b':', rest)) if digits > 0 => rest,
        Some(_) => return Err(Fault::NoLength),
    };
    match (rest.get(..length), rest.get(length)) {
        (Some(carried), Some(b',')) => Ok(Some((carried, digits + length + 2))),
        (_, Some(_)) => Err(Fault::NoComma),
        _ => Ok(None),
    }
}

/// Appends these octets as a netstring.
pub fn append(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(octets.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(octets);
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_one_and_what_is_none() {
        let whole = |octets: &'static str, used| Ok(Some((octets.as_bytes(), used)));
        type Split = Result<Option<(&'static [u8], usize)>, Fault>;
        let cases: &[(&str, Split)] = &[
            ("", Ok(None)),
            ("1", Ok(None)),
            ("12:", Ok(None)),
            ("3:ab", Ok(None)),
            ("3:abc", Ok(None)),
            ("0:,", whole("", 3)),
            ("3:abc,", whole("abc", 6)),
            ("3:a,c,4:more", whole("a,c", 6)),
            ("3:abcd", Err(Fault::NoComma)),
            ("0:x", Err(Fault::NoComma)),
            ("2:abc,", Err(Fault::NoComma)),
            ("03:abc,", Err(Fault::LeadingZero)),
            ("00", Err(Fault::LeadingZero)),
            (":", Err(Fault::NoLength)),
            ("x", Err(Fault::NoLength)),
            ("-1:x,", Err(Fault::NoLength)),
            ("+1:x,", Err(Fault::NoLength)),
            (" 1:x,", Err(Fault::NoLength)),
            ("1 :x,", Err(Fault::NoLength)),
            ("GET / HTTP/1.1\r\n", Err(Fault::NoLength)),
            ("21:", Err(Fault::TooLong(20))),
            ("21", Err(Fault::TooLong(20))),
            ("99999999999999999999999999", Err(Fault::TooLong(20))),
            ("18446744073709551617:x,", Err(Fault::TooLong(20))),
        ];
        for (octets, want) in cases {
            assert_eq!(split(octets.as_bytes(), 20), *want, "{octets}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(octets: Vec<u8>, more: Vec<u8>) {
            let mut out = Vec::new();
            append(&mut out, &octets);
            let used = out.len();
            for end in 0..used {
                prop_assert_eq!(split(&out[..end], 1 << 20), Ok(None));
            }
            out.extend(more);
            prop_assert_eq!(split(&out, 1 << 20), Ok(Some((&octets[..], used))));
        }

        #[test]
        fn a_reader_never_holds_more_than_its_limit(octets: Vec<u8>, max in 0usize..64) {
            if octets.len() > max + FRAME_OCTETS {
                prop_assert_ne!(split(&octets, max), Ok(None));
            }
        }
    }
}
