//! What a writer and mapremote(8) say to each other over a pipe, the entries apart.
//!
//! ```text
//! mapremote  ready GENERATION MARK BASE WAY  it holds the engine's lock; BASE is MARK:ENTRIES:DIGEST
//!                                            of the replica if that is the current generation,
//!                                            else -; WAY is `difference` if one from it is welcome
//! writer     an Offer, frames, END           what the new generation holds
//! mapremote  done                            the engine has it
//! ```
//!
//! Instead of any of its lines mapremote may say `error EXIT TEXT`. A writer
//! that goes away before the last frame leaves the engine as it was.

use std::fmt::{self, Write as _};
use std::io::{self, BufRead};

use super::{Digest, Origin};
use crate::map::MapClass;
use crate::store::redb::{Duplicates, Meta};

/// What a writer wants of the replica before it makes its draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: the draft is made of a source alone.
    Load,
    /// Nothing, and that everything be sent, whatever the engine holds already.
    Whole,
    /// That it be the current generation: the draft is made of it.
    Edit,
}

impl Wish {
    /// The word on mapremote's command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Wish::Load => "load",
            Wish::Whole => "whole",
            Wish::Edit => "edit",
        }
    }

    /// The wish of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Wish::Load, Wish::Whole, Wish::Edit]
            .into_iter()
            .find(|w| w.as_str() == word)
    }
}

/// mapremote's first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What the draft is to say of itself.
    pub origin: Origin,
    /// The current generation, if the replica holds it.
    pub base: Option<Base>,
    /// Whether a difference from it is welcome.
    pub difference: Difference,
}

/// The generation that a draft may be told as a difference from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its mark.
    pub mark: String,
    /// What it holds.
    pub digest: Digest,
}

impl Base {
    fn parse(text: &str) -> Option<Self> {
        let (mark, digest) = text.split_once(':')?;
        let (entries, digest) = digest.split_once(':')?;
        Some(Base {
            mark: mark.to_owned(),
            digest: Digest::parse(digest, entries.parse().ok()?)?,
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Base { mark, digest } = self;
        write!(f, "{mark}:{}:{digest}", digest.entries())
    }
}

/// Whether the engine takes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It does.
    Welcome,
    /// Everything is to be sent: there have been many differences since all was sent.
    Unwelcome,
}

impl Ready {
    /// Reads what follows the word `ready`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, way) = text.trim_end().rsplit_once(' ')?;
        let (origin, base) = text.rsplit_once(' ')?;
        Some(Ready {
            origin: Origin::parse(origin)?,
            base: match base {
                "-" => None,
                base => Some(Base::parse(base)?),
            },
            difference: match way {
                "difference" => Difference::Welcome,
                "full" => Difference::Unwelcome,
                _ => return None,
            },
        })
    }

    /// The line without its end.
    #[must_use]
    pub fn line(&self) -> String {
        let base = self.base.as_ref().map_or("-".into(), Base::to_string);
        let way = match self.difference {
            Difference::Welcome => "difference",
            Difference::Unwelcome => "full",
        };
        format!("ready {} {base} {way}", self.origin)
    }
}

/// How the entries of a generation come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All of them.
    Full,
    /// Those of so many keys that differ from the generation before.
    Difference {
        /// How many keys.
        keys: u64,
    },
}

/// What a generation is, as its writer says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// How its entries come.
    pub way: Way,
    /// What it holds in the end.
    pub digest: Digest,
    /// `hash` or `btree`.
    pub class: MapClass,
    /// Whether it holds several values of one LHS.
    pub duplicates: Duplicates,
    /// The options it was built with.
    pub options: String,
    /// The digest of its source, if it has one.
    pub source: Option<String>,
    /// The program that built it.
    pub program: String,
}

/// The longest line of an offer, in octets.
const MAX_LINE_OCTETS: u64 = 4096;

impl Offer {
    /// The offer of a map.
    #[must_use]
    pub fn of(meta: &Meta, way: Way, digest: Digest) -> Self {
        Offer {
            way,
            digest,
            class: meta.class,
            duplicates: meta.duplicates,
            options: meta.options.clone(),
            source: meta.source.clone(),
            program: meta.program.clone(),
        }
    }

    /// The lines, with an empty one at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |word: &str, value: &str| {
            let value: String = value
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{word} {value}");
        };
        if let Way::Difference { keys } = self.way {
            line("difference", &keys.to_string());
        }
        line("entries", &self.digest.entries().to_string());
        line("digest", &self.digest.to_string());
        line("class", self.class.as_str());
        line("duplicates", duplicates_word(self.duplicates));
        line("options", &self.options);
        line("program", &self.program);
        if let Some(source) = &self.source {
            line("source", source);
        }
        text.push('\n');
        text
    }

    /// Reads the lines up to the empty one.
    ///
    /// # Errors
    /// The input ends, can't be read, or says something else.
    pub fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut way = Way::Full;
        let (mut entries, mut digest, mut class, mut duplicates) = (None, None, None, None);
        let (mut options, mut source, mut program) = (String::new(), None, String::new());
        loop {
            let mut line = String::new();
            io::Read::take(&mut *input, MAX_LINE_OCTETS).read_line(&mut line)?;
            let Some(line) = line.strip_suffix('\n') else {
                return Err(match line.len() as u64 >= MAX_LINE_OCTETS {
                    true => bad(format!("a line of more than {MAX_LINE_OCTETS} octets")),
                    false => io::ErrorKind::UnexpectedEof.into(),
                });
            };
            if line.is_empty() {
                break;
            }
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "difference" => {
                    let keys = value.parse().map_err(|_| bad(line.to_owned()))?;
                    way = Way::Difference { keys };
                }
                "entries" => entries = value.parse().ok(),
                "digest" => digest = Some(value.to_owned()),
                "class" => class = class_of(value),
                "duplicates" => duplicates = duplicates_of(value),
                "options" => options = value.to_owned(),
                "program" => program = value.to_owned(),
                "source" => source = Some(value.to_owned()),
                _ => return Err(bad(format!("unknown word {word}"))),
            }
        }
        let digest = entries.zip(digest).and_then(|(n, d)| Digest::parse(&d, n));
        match (digest, class, duplicates) {
            (Some(digest), Some(class), Some(duplicates)) => Ok(Offer {
                way,
                digest,
                class,
                duplicates,
                options,
                source,
                program,
            }),
            _ => Err(bad("a line is missing".into())),
        }
    }

    /// What a replica of this generation says of itself.
    #[must_use]
    pub fn meta(&self, origin: Origin) -> Meta {
        Meta {
            class: self.class,
            duplicates: self.duplicates,
            entries: self.digest.entries(),
            options: self.options.clone(),
            source: self.source.clone(),
            program: self.program.clone(),
            origin: Some(origin),
        }
    }

    /// `none` or `kept`, as the table `meta` has it.
    #[must_use]
    pub fn duplicates_word(&self) -> &'static str {
        duplicates_word(self.duplicates)
    }

    /// The class of its word: `hash` or `btree`.
    #[must_use]
    pub fn class_of(word: &str) -> Option<MapClass> {
        class_of(word)
    }

    /// What `none` and `kept` stand for.
    #[must_use]
    pub fn duplicates_of(word: &str) -> Option<Duplicates> {
        duplicates_of(word)
    }
}

fn duplicates_word(duplicates: Duplicates) -> &'static str {
    match duplicates {
        Duplicates::None => "none",
        Duplicates::Kept => "kept",
    }
}

fn duplicates_of(word: &str) -> Option<Duplicates> {
    [Duplicates::None, Duplicates::Kept]
        .into_iter()
        .find(|d| duplicates_word(*d) == word)
}

fn class_of(word: &str) -> Option<MapClass> {
    [MapClass::Hash, MapClass::Btree]
        .into_iter()
        .find(|class| class.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_and_ready_lines_come_back() {
        let offer = Offer {
            way: Way::Difference { keys: 3 },
            digest: Digest::default(),
            class: MapClass::Btree,
            duplicates: Duplicates::Kept,
            options: "-d -f".into(),
            source: None,
            program: "makemap 0.1.0".into(),
        };
        let text = offer.text();
        assert_eq!(Offer::read(&mut text.as_bytes()).unwrap(), offer);
        for cut in 0..text.len() - 1 {
            assert!(Offer::read(&mut &text.as_bytes()[..cut]).is_err(), "{cut}");
        }
        for line in [
            "ready 7 0123456789abcdef0123456789abcdef - full",
            "ready 7 0123456789abcdef0123456789abcdef 9 - full",
        ] {
            let ready = Ready::parse(line.strip_prefix("ready ").unwrap()).unwrap();
            assert_eq!(ready.base, None);
            assert_eq!(ready.line(), line);
        }
        let mut digest = Digest::default();
        digest.add(b"a", 0, b"1");
        let mark = "fedcba98765432100123456789abcdef".to_owned();
        let ready = Ready {
            origin: Origin::parse("7 0123456789abcdef0123456789abcdef 9").unwrap(),
            base: Some(Base { mark, digest }),
            difference: Difference::Welcome,
        };
        let line = ready.line();
        let text = line.strip_prefix("ready ").unwrap();
        assert_eq!(Ready::parse(text), Some(ready));
        // As a mapremote said it that told no digest.
        let (origin, _) = text.split_once(':').unwrap();
        assert_eq!(Ready::parse(&format!("{origin} difference")), None);
        // One that is too long is no writer that went away.
        let long = Offer {
            options: "x".repeat(5_000),
            ..offer
        };
        let error = Offer::read(&mut long.text().as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
