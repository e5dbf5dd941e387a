//! What can be wrong with an alias, in the words that newaliases uses.

use std::fmt;

use crate::prescan::Refusal;
use crate::sysexits::SysExit;

/// A fault of one logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AliasFault {
    /// The logical line, or a comment, is longer than allowed.
    TooLong,
    /// The line holds a NUL.
    Nul,
    /// A line begins with white space and continues nothing.
    StrayContinuation,
    /// Lines that look like the rest of an alias stand below a comment, which they belong to.
    CutOff {
        /// The number of the comment's line.
        comment: u64,
    },
    /// There is no colon.
    NoColon,
    /// A quote, parenthesis or angle bracket stands alone.
    Unbalanced {
        /// The line.
        shown: Box<[u8]>,
        /// The lonely character.
        what: u8,
    },
    /// The same in a member of the RHS (option CheckAliases), which is stored as it stands.
    UnbalancedMember {
        /// The member and what follows it, shortened.
        shown: Box<[u8]>,
        /// The lonely character.
        what: u8,
    },
    /// The name can't be cut into tokens.
    Refused {
        /// The line.
        shown: Box<[u8]>,
        /// Why.
        why: Refusal,
    },
    /// The name is longer than 255 octets.
    NameTooLong {
        /// The name.
        name: Box<[u8]>,
    },
    /// A name is neither ASCII, UTF-8 nor plain Latin-1.
    EightBit {
        /// The name.
        name: Box<[u8]>,
    },
    /// A name has a control character.
    Unprintable {
        /// The name.
        name: Box<[u8]>,
    },
    /// There is no name, or none that can be stored.
    IllegalName {
        /// The line.
        shown: Box<[u8]>,
    },
    /// The address has an `@` and no host.
    HostRequired {
        /// The address.
        shown: Box<[u8]>,
    },
    /// The address has a host and no user.
    UserRequired {
        /// The address.
        shown: Box<[u8]>,
    },
    /// The address has two `@` or a comma.
    InvalidRoute {
        /// The address.
        shown: Box<[u8]>,
    },
    /// The name belongs to another host, a program or a file.
    NotLocal {
        /// The name.
        name: Box<[u8]>,
    },
    /// There is nothing after the colon.
    NoValue {
        /// The line.
        shown: Box<[u8]>,
    },
    /// A member of the RHS is no address (option CheckAliases).
    BadMember {
        /// The member and what follows it, shortened.
        shown: Box<[u8]>,
    },
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The entry is stored all the same.
    Warning,
    /// There is no such entry in the map, or one that can't be delivered to.
    Error,
}

impl AliasFault {
    /// Whether it is an error or a warning.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.exit() {
            SysExit::Ok => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// The exit code of a newaliases that met this fault first: 64 for faults of an address,
    /// 70 for all others, as sendmail has it.
    #[must_use]
    pub fn exit(&self) -> SysExit {
        match self {
            AliasFault::Unbalanced {
                what: b'(' | b')', ..
            }
            | AliasFault::UnbalancedMember { .. }
            | AliasFault::CutOff { .. }
            | AliasFault::BadMember { .. } => SysExit::Ok,
            AliasFault::Unbalanced { .. }
            | AliasFault::EightBit { .. }
            | AliasFault::Unprintable { .. }
            | AliasFault::HostRequired { .. }
            | AliasFault::UserRequired { .. }
            | AliasFault::InvalidRoute { .. } => SysExit::Usage,
            _ => SysExit::Software,
        }
    }
}

impl fmt::Display for AliasFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AliasFault::TooLong => f.write_str("alias line too long"),
            AliasFault::Nul => f.write_str("NUL in alias line"),
            AliasFault::StrayContinuation => f.write_str("Non-continuation line starts with space"),
            AliasFault::CutOff { comment } => write!(
                f,
                "what is indented here belongs to the comment of line {comment}, not to the unfinished alias above it"
            ),
            AliasFault::NoColon => f.write_str("missing colon"),
            AliasFault::Unbalanced { shown, what }
            | AliasFault::UnbalancedMember { shown, what } => {
                write!(f, "{}... Unbalanced '{}'", Shortened(shown), *what as char)
            }
            AliasFault::Refused { shown, why } => {
                let why = match why {
                    Refusal::AddressTooLong => "Address too long",
                    Refusal::TokenTooLong => "prescan: token too long",
                    Refusal::TooManyTokens => "prescan: too many tokens",
                };
                write!(f, "{}... {why}", Shortened(shown))
            }
            AliasFault::NameTooLong { name } => write!(
                f,
                "{}... Address \"{}\" too long (255 bytes max)",
                Shortened(name),
                First(name, 255)
            ),
            AliasFault::EightBit { name } => write!(
                f,
                "8-bit character in mailbox address \"{}\"",
                Shortened(name)
            ),
            AliasFault::Unprintable { name } => write!(
                f,
                "Syntax error in mailbox address \"{}\" (non-printable character)",
                Shortened(name)
            ),
            AliasFault::IllegalName { shown } => {
                write!(f, "{}... illegal alias name", First(shown, 40))
            }
            AliasFault::HostRequired { shown } => {
                write!(f, "{}... Hostname required", Shortened(shown))
            }
            AliasFault::UserRequired { shown } => {
                write!(f, "{}... User address required", Shortened(shown))
            }
            AliasFault::InvalidRoute { shown } => {
                write!(f, "{}... Invalid route address", Shortened(shown))
            }
            AliasFault::NotLocal { name } => {
                write!(f, "{}... cannot alias non-local names", Printable(name))
            }
            AliasFault::NoValue { shown } => {
                write!(f, "{}... missing value for alias", First(shown, 40))
            }
            AliasFault::BadMember { shown } => {
                let shown = Shortened(shown);
                write!(f, "{shown}... {shown}... bad address")
            }
        }
    }
}

/// Octets for a terminal: UTF-8 as it is, other octets without their eighth bit, a `?` for
/// what can't be printed.
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\t' => write!(f, "\t")?,
                    c if c.is_control() => write!(f, "?")?,
                    c => write!(f, "{c}")?,
                }
            }
            for octet in chunk.invalid() {
                match (octet & 0x7f) as char {
                    c if c.is_ascii_control() => write!(f, "?")?,
                    c => write!(f, "{c}")?,
                }
            }
        }
        Ok(())
    }
}

/// At most so many octets from the beginning.
struct First<'a>(&'a [u8], usize);

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.len().min(self.1);
        Printable(self.0.get(..end).unwrap_or_default()).fmt(f)
    }
}

/// As many octets as are shown of either end of a long text.
const END: usize = 100;
/// What is shown between the two.
const GAP: &[u8] = b"...";

/// As much of a text as [`Shortened`] shows: a fault of each member of a long line must not hold
/// the line each time.
pub(super) fn shortened(text: &[u8]) -> Box<[u8]> {
    match ends(text) {
        Some((head, tail)) => [head, GAP, tail].concat().into(),
        None => text.into(),
    }
}

fn ends(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let long = text.len() >= 2 * END + GAP.len();
    long.then_some((text.get(..END)?, text.get(text.len() - END..)?))
}

/// Both ends of a long text, 203 octets in all.
#[derive(Clone, Copy)]
struct Shortened<'a>(&'a [u8]);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ends(self.0) {
            Some((head, tail)) => write!(f, "{}...{}", Printable(head), Printable(tail)),
            None => Printable(self.0).fmt(f),
        }
    }
}
