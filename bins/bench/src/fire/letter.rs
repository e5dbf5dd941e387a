//! The messages that are sent: each can be made again from its number, octet by octet.

/// Numbers that look random and are the same every time (xorshift64*).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}

/// A message, by its number and by how often it was tried before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letter {
    /// Its number.
    pub number: u32,
    /// How often it was tried before.
    pub attempt: u32,
}

/// The field that names a message.
const FIELD: &str = "X-Fire:";

impl Letter {
    /// Who gets it.
    #[must_use]
    pub fn recipients(self) -> Vec<String> {
        let n = self.number;
        let mut all = vec![format!("u{n}@ready.example")];
        if n.is_multiple_of(3) {
            all.push(format!("v{n}@ready.example"));
        }
        if n.is_multiple_of(10) {
            all.push(format!("w{n}@late.example"));
        }
        if n.is_multiple_of(20) {
            all.push("archive".into());
        }
        all
    }

    /// Its text with lines that end in CRLF, dots not doubled.
    #[must_use]
    pub fn text(self) -> Vec<u8> {
        let mut out = format!(
            "{FIELD} {}-{}\r\nSubject: message {}\r\nTo: somebody <u@ready.example>\r\n\r\n",
            self.number, self.attempt, self.number
        )
        .into_bytes();
        out.extend_from_slice(&self.body());
        out
    }

    /// The part behind the empty line. One in fifty is too large to stay in memory.
    #[must_use]
    pub fn body(self) -> Vec<u8> {
        let seed = u64::from(self.number) << 20 | u64::from(self.attempt);
        let mut random = Random::new(seed);
        let octets = match self.number % 50 {
            7 => 100_000,
            _ => 100 + random.next() % 2000,
        };
        let mut out = Vec::new();
        while (out.len() as u64) < octets {
            match random.next() % 8 {
                0 => out.extend_from_slice(b"."),
                1 => out.extend_from_slice(b".."),
                2 => out.extend_from_slice(b" "),
                _ => {}
            }
            for _ in 0..random.next() % 70 {
                out.push(b'!' + u8::try_from(random.next() % 94).unwrap_or(0));
            }
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"the end\r\n");
        out
    }

    /// Which message a text is, whose lines end in CRLF or LF, and whether its body is whole.
    pub(super) fn of(text: &[u8]) -> Option<(Letter, Wholeness)> {
        let lines = String::from_utf8_lossy(text.get(..text.len().min(8192))?).into_owned();
        let named = lines.lines().find_map(|line| line.strip_prefix(FIELD))?;
        let (number, attempt) = named.trim().split_once('-')?;
        let letter = Letter {
            number: number.parse().ok()?,
            attempt: attempt.parse().ok()?,
        };
        let text = match text.windows(2).any(|w| w == b"\r\n") {
            true => text.to_vec(),
            false => crlf(text),
        };
        let start = text.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let whole = text.get(start..) == Some(letter.body().as_slice());
        Some((
            letter,
            if whole {
                Wholeness::Whole
            } else {
                Wholeness::Torn
            },
        ))
    }
}

/// Whether a copy is what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wholeness {
    /// It is, octet by octet.
    Whole,
    /// It is not.
    Torn,
}

fn crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 20);
    for &octet in text {
        if octet == b'\n' {
            out.push(b'\r');
        }
        out.push(octet);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_again_and_so_is_a_piece_of_it() {
        for number in [0, 7, 20, 99_999] {
            let letter = Letter { number, attempt: 3 };
            let text = letter.text();
            assert_eq!(Letter::of(&text), Some((letter, Wholeness::Whole)));
            let unix = String::from_utf8(text.clone())
                .unwrap()
                .replace("\r\n", "\n");
            let found = Letter::of(unix.as_bytes());
            assert_eq!(found, Some((letter, Wholeness::Whole)));
            let piece = &text[..text.len() - 4];
            assert_eq!(Letter::of(piece), Some((letter, Wholeness::Torn)));
        }
        assert_eq!(Letter::of(b"Subject: x\r\n\r\n"), None);
    }
}
