//! The grammar of map sources: `LHS white-space RHS`, an entry a line.
//!
//! As makemap(8) reads it. Lines that are empty or begin with the comment
//! character are skipped; the LHS ends at the first separator, any further
//! separators before the RHS are skipped, and the RHS is the rest of the line
//! as it stands. A line that begins with white space is an error, unless a
//! separator was given with `-t`. A CR before the line's LF is dropped, unless
//! a separator was given.

use std::io::{self, Read};

use super::ParseErrorKind;

/// The longest line, in octets with its line end; as in makemap(8), one less is accepted.
pub const LINE_MAX_OCTETS: usize = 1024;

/// How a map source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// What stands between LHS and RHS (`-t`); `None`: ASCII white space.
    pub separator: Option<u8>,
    /// What begins a comment line (`-D`); NUL: nothing does.
    pub comment: u8,
    /// Whether ASCII capitals of an LHS are folded (not with `-f`).
    pub fold: Fold,
    /// Whether an LHS may stand alone (`-e`).
    pub empty_rhs: EmptyRhs,
}

/// Whether an LHS is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// ASCII capitals become lower case.
    Ascii,
    /// The LHS stays as it is (`-f`).
    Keep,
}

/// Whether an LHS may stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyRhs {
    /// It is an error.
    Refused,
    /// The RHS is empty (`-e`).
    Allowed,
}

impl Default for Grammar {
    fn default() -> Self {
        Grammar {
            separator: None,
            comment: b'#',
            fold: Fold::Ascii,
            empty_rhs: EmptyRhs::Refused,
        }
    }
}

/// One line of a source that is not blank and no comment.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// An entry.
    Entry {
        /// The LHS, folded.
        lhs: &'a [u8],
        /// The RHS.
        rhs: &'a [u8],
    },
    /// Something else.
    Bad(ParseErrorKind),
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a line feed.
    LineFeed,
    /// With the file.
    File,
}

/// A line of a source.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceLine<'a> {
    /// Its number, from 1.
    pub line: u64,
    /// Its octets without the LF.
    pub octets: &'a mut [u8],
    /// How it ended.
    pub end: End,
}

impl Grammar {
    /// Reads one line, which comes without its LF; `None` for a blank line or a comment.
    ///
    /// The LHS is folded in place, hence the mutable line.
    pub fn line<'a>(&self, line: &'a mut [u8], end: End) -> Option<Line<'a>> {
        if line.len() + 1 >= LINE_MAX_OCTETS || memchr::memchr(0, line).is_some() {
            return Some(Line::Bad(ParseErrorKind::TooLong {
                max: LINE_MAX_OCTETS,
            }));
        }
        let first = *line.first()?;
        if first == self.comment {
            return None;
        }
        if self.separator.is_none() && is_space(first) {
            return Some(Line::Bad(ParseErrorKind::LeadingSpace));
        }
        let dropped =
            usize::from(self.separator.is_none() && end == End::LineFeed && line.ends_with(b"\r"));
        let (line, _) = line.split_at_mut_checked(line.len() - dropped)?;
        let end = match self.separator {
            Some(c) => memchr::memchr(c, line),
            None => line.iter().position(|c| is_space(*c)),
        };
        let (lhs, rest) = line.split_at_mut_checked(end.unwrap_or(line.len()))?;
        if self.fold == Fold::Ascii {
            lhs.make_ascii_lowercase();
        }
        let start = rest.iter().position(|c| match self.separator {
            Some(separator) => *c != separator,
            None => !is_space(*c),
        });
        let rhs = start.and_then(|at| rest.get(at..)).unwrap_or_default();
        if rhs.is_empty() && self.empty_rhs == EmptyRhs::Refused {
            return Some(Line::Bad(ParseErrorKind::NoRhs { lhs: (*lhs).into() }));
        }
        Some(Line::Entry { lhs, rhs })
    }
}

/// isspace(3) in the C locale.
fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t'..=b'\r')
}

const BLOCK_OCTETS: usize = 256 << 10;

/// Reads a source line by line in bounded memory: of a line that is too long, just enough is
/// kept to see that it is.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where in `buffer` the next line begins.
    start: usize,
    line: u64,
    state: Input,
    digest: xxhash_rust::xxh3::Xxh3,
    octets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    More,
    /// In the middle of a line that is too long: drop octets to its end.
    Skipping,
    Ended,
}

impl<R: Read> Lines<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Lines {
            input,
            buffer: Vec::new(),
            start: 0,
            line: 0,
            state: Input::More,
            digest: xxhash_rust::xxh3::Xxh3::new(),
            octets: 0,
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// Those of the input; what was read before stays valid.
    #[allow(clippy::should_implement_trait)] // it lends from the buffer, an Iterator cannot
    pub fn next(&mut self) -> io::Result<Option<SourceLine<'_>>> {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some(len) = memchr::memchr(b'\n', rest) {
                let from = self.start;
                self.start += len + 1;
                if self.state == Input::Skipping {
                    self.state = Input::More;
                    continue;
                }
                return Ok(self.give(from, len, End::LineFeed));
            }
            let len = rest.len();
            if self.state == Input::Ended {
                if len == 0 {
                    return Ok(None);
                }
                let from = self.start;
                self.start += len;
                return Ok(self.give(from, len, End::File));
            }
            if self.state == Input::Skipping {
                self.start = self.buffer.len();
            } else if len >= BLOCK_OCTETS {
                // No grammar takes a line of this length: give its beginning, drop the rest.
                self.state = Input::Skipping;
                let from = self.start;
                self.start = self.buffer.len();
                return Ok(self.give(from, len, End::File));
            }
            self.fill()?;
        }
    }

    /// The XXH3-128 digest of all that was read so far, as 32 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:032x}", self.digest.digest128())
    }

    /// How many octets were read so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    fn give(&mut self, from: usize, len: usize, end: End) -> Option<SourceLine<'_>> {
        self.line += 1;
        let line = self.line;
        let octets = self.buffer.get_mut(from..from + len)?;
        Some(SourceLine { line, octets, end })
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + BLOCK_OCTETS, 0);
        let room = self.buffer.get_mut(kept..).unwrap_or_default();
        let got = loop {
            match self.input.read(room) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(kept + got.as_ref().map_or(0, |n| *n));
        let got = got?;
        self.octets += got as u64;
        self.digest
            .update(self.buffer.get(kept..).unwrap_or_default());
        if got == 0 {
            self.state = Input::Ended;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(grammar: Grammar, text: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(text);
        let mut out = Vec::new();
        while let Some(SourceLine {
            line: n,
            octets,
            end,
        }) = lines.next().unwrap()
        {
            match grammar.line(octets, end) {
                None => {}
                Some(Line::Entry { lhs, rhs }) => out.push(format!(
                    "{n} [{}] [{}]",
                    lhs.escape_ascii(),
                    rhs.escape_ascii()
                )),
                Some(Line::Bad(kind)) => out.push(format!("{n} {kind}")),
            }
        }
        out
    }

    #[test]
    fn lines_as_makemap_reads_them() {
        let cases: [(&[u8], &[&str]); 14] = [
            (b"A \t b  \n", &["1 [a] [b  ]"]),
            (b"# c\n\nk v # w", &["3 [k] [v # w]"]),
            (
                b" k v\n\t\n",
                &[
                    "1 syntax error (leading space)",
                    "2 syntax error (leading space)",
                ],
            ),
            (b"K\n", &["1 no RHS for LHS k"]),
            (
                b"a b\r\nc\r\n\r\n",
                &[
                    "1 [a] [b]",
                    "2 no RHS for LHS c",
                    "3 syntax error (leading space)",
                ],
            ),
            (b"a 1\rb 2\r", &["1 [a] [1\\rb 2\\r]"]),
            (b"a\x0bb\nc\x0cd", &["1 [a] [b]", "2 [c] [d]"]),
            (b"\xc4A\xa0 x", &["1 [\\xc4a\\xa0] [x]"]),
            (
                b"a 1\0\nb 2",
                &["1 line too long (1024 bytes max)", "2 [b] [2]"],
            ),
            (b"#a\0\n", &["1 line too long (1024 bytes max)"]),
            (b"'a b' c", &["1 [\\'a] [b\\' c]"]),
            (b"@foo %1@bar", &["1 [@foo] [%1@bar]"]),
            (b"From: x", &["1 [from:] [x]"]),
            (b"", &[]),
        ];
        for (text, want) in cases {
            assert_eq!(
                read(Grammar::default(), text),
                want,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn a_line_of_1022_octets_is_the_longest() {
        for (len, good) in [
            (1022, true),
            (1023, false),
            (300_000, false),
            (10 << 20, false),
        ] {
            let text = [b"k ".as_slice(), &vec![b'v'; len - 2], b"\nz 1"].concat();
            let got = read(Grammar::default(), &text);
            assert_eq!(got.len(), 2, "{len}");
            assert_eq!(got[0].starts_with("1 [k]"), good, "{len}");
            assert_eq!(got[1], "2 [z] [1]", "{len}");
        }
    }

    #[test]
    fn a_separator_of_ones_own() {
        let colon = Grammar {
            separator: Some(b':'),
            ..Grammar::default()
        };
        assert_eq!(
            read(colon, b"a : b\n c:d\r\n:::e:f\n::\n"),
            [
                "1 [a ] [ b]",
                "2 [ c] [d\\r]",
                "3 [] [e:f]",
                "4 no RHS for LHS "
            ]
        );
        let empty = Grammar {
            empty_rhs: EmptyRhs::Allowed,
            comment: b';',
            fold: Fold::Keep,
            ..Grammar::default()
        };
        assert_eq!(read(empty, b";x\n#A\nB  "), ["2 [#A] []", "3 [B] []"]);
    }

    proptest! {
        #[test]
        fn reading_in_pieces_gives_the_same(text: Vec<u8>, piece in 1usize..7) {
            struct Pieces<'a>(&'a [u8], usize);
            impl Read for Pieces<'_> {
                fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                    let n = self.1.min(self.0.len()).min(out.len());
                    out[..n].copy_from_slice(&self.0[..n]);
                    self.0 = &self.0[n..];
                    Ok(n)
                }
            }
            let mut whole = Lines::new(text.as_slice());
            let mut pieces = Lines::new(Pieces(&text, piece));
            loop {
                let a = whole.next().unwrap().map(|l| (l.line, l.octets.to_vec(), l.end));
                let b = pieces.next().unwrap().map(|l| (l.line, l.octets.to_vec(), l.end));
                prop_assert_eq!(&a, &b);
                if a.is_none() { break; }
            }
            prop_assert_eq!(whole.digest(), pieces.digest());
        }
    }
}
