//! Sources: the texts that maps are built from, one grammar and one parser each.
//!
//! A parser never gives up: it yields the good entries *and* the errors, each
//! with its line, and the caller decides what to do with a file that has both.

pub mod aliases;
pub mod csv;
pub mod map;

use std::fmt;
use std::path::PathBuf;

use crate::rhs::fmt_bytes;

/// A line of a source that is no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The file, as the administrator named it.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The line is longer than the grammar allows, or holds a NUL.
    TooLong {
        /// The limit, in octets with the line end.
        max: usize,
    },
    /// The line begins with white space.
    LeadingSpace,
    /// There is an LHS and nothing after it.
    NoRhs {
        /// The LHS, folded as it would have been stored.
        lhs: Box<[u8]>,
    },
    /// A fault of an alias file.
    Alias(aliases::AliasFault),
}

impl ParseErrorKind {
    /// The text with an LHS as its own octets, as the originals print it.
    #[must_use]
    pub fn to_octets(&self) -> Vec<u8> {
        match self {
            ParseErrorKind::NoRhs { lhs } => [b"no RHS for LHS ", lhs.as_ref()].concat(),
            other => other.to_string().into_bytes(),
        }
    }
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseErrorKind::TooLong { max } => write!(f, "line too long ({max} bytes max)"),
            ParseErrorKind::LeadingSpace => f.write_str("syntax error (leading space)"),
            ParseErrorKind::NoRhs { lhs } => {
                f.write_str("no RHS for LHS ")?;
                fmt_bytes(lhs, f)
            }
            ParseErrorKind::Alias(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: line {}: {}",
            self.path.display(),
            self.line,
            self.kind
        )
    }
}

impl std::error::Error for ParseError {}
