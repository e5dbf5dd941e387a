//! The grammar of alias files, aliases(5): `name: member, member, ...`.
//!
//! A line that is empty or begins with `#` says nothing. White space at the
//! beginning of a line, or a backslash at the end of the one before, continues
//! an alias; see [`lines`]. The name is an address and ends at the
//! first colon outside quotes; see [`name`]. The RHS is kept as it stands
//! but for white space before it: local names, `\name`, addresses, `/file`,
//! `|program`, `"|program with arguments"` and `:include:/file`, with commas
//! between them, are told apart when mail is delivered.
//!
//! The parser yields entries and faults, both with the number of the last line
//! they come from, and holds one logical line in memory.

mod fault;
pub mod lines;
pub mod name;

use std::io::{self, Read};

pub use fault::{AliasFault, Printable, Severity};
pub use lines::Limits;
pub use name::NameRules;

use lines::{Logical, LogicalLines};

/// How an alias file is read.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// What of the site's configuration decides about names.
    pub names: NameRules,
    /// How long a line may be.
    pub limits: Limits,
    /// Whether the members of each RHS are checked.
    pub members: Members,
}

/// Whether the members of each RHS are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// They are taken as they stand.
    Unchecked,
    /// Each has to be an address (option CheckAliases).
    Checked,
}

impl Default for Grammar {
    fn default() -> Self {
        Grammar {
            names: NameRules::default(),
            limits: Limits::Own,
            members: Members::Unchecked,
        }
    }
}

/// An entry of an alias file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias<'a> {
    /// The name as it is stored.
    pub lhs: &'a [u8],
    /// The members, as they stand.
    pub rhs: &'a [u8],
    /// The name as it was written, with its quotes and host.
    pub written: &'a [u8],
}

/// What one logical line holds: an entry, faults, or both.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// The number of its last line, from 1.
    pub line: u64,
    /// The entry, unless the faults leave none.
    pub alias: Option<Alias<'a>>,
    /// What is wrong with the line, in the order found.
    pub faults: &'a [AliasFault],
    /// How many faults more there are, of members of a long line.
    pub unlisted: u64,
}

/// Reads an alias file.
pub struct Aliases<'g, R> {
    lines: LogicalLines<R>,
    grammar: &'g Grammar,
    lhs: Vec<u8>,
    faults: Vec<AliasFault>,
    unlisted: u64,
    /// A stray continuation was told, and nothing but empty lines and more of them came since.
    strayed: bool,
}

impl<'g, R: Read> Aliases<'g, R> {
    /// A parser of `input`.
    pub fn new(input: R, grammar: &'g Grammar) -> Self {
        Aliases {
            lines: LogicalLines::new(input, grammar.limits),
            grammar,
            lhs: Vec::new(),
            faults: Vec::new(),
            unlisted: 0,
            strayed: false,
        }
    }

    /// The next line that has an entry or a fault; `None` at the end.
    ///
    /// # Errors
    /// The input can't be read.
    #[allow(clippy::should_implement_trait)] // it lends its buffers, which Iterator can't
    pub fn next(&mut self) -> io::Result<Option<Parsed<'_>>> {
        self.faults.clear();
        self.unlisted = 0;
        let line = loop {
            match self.lines.next()? {
                None => return Ok(None),
                Some(Logical::Fault(line, fault)) => {
                    self.strayed = false;
                    self.faults.push(fault);
                    return Ok(Some(Parsed {
                        line,
                        alias: None,
                        faults: &self.faults,
                        unlisted: 0,
                    }));
                }
                Some(Logical::Text(line)) => {
                    let told = self.strayed;
                    self.strayed = matches!(self.lines.text().first(), Some(b' ' | b'\t'));
                    if !(told && self.strayed) {
                        break line;
                    }
                }
            }
        };
        let text = self.lines.text();
        let alias = read(
            text,
            self.grammar,
            &mut self.lhs,
            &mut self.faults,
            &mut self.unlisted,
        );
        Ok(Some(Parsed {
            line,
            alias: alias.map(|(written, rhs)| Alias {
                lhs: &self.lhs,
                rhs,
                written,
            }),
            faults: &self.faults,
            unlisted: self.unlisted,
        }))
    }
}

/// Reads a logical line; gives the name as written and the RHS, and puts the LHS into `lhs`.
fn read<'a>(
    text: &'a [u8],
    grammar: &Grammar,
    lhs: &mut Vec<u8>,
    faults: &mut Vec<AliasFault>,
    unlisted: &mut u64,
) -> Option<(&'a [u8], &'a [u8])> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        faults.push(AliasFault::StrayContinuation);
        return None;
    }
    let (colon, storable) = match name::plain(text, lhs) {
        Some(colon) => (colon, true),
        None => {
            let Some(first_colon) = memchr::memchr(b':', text) else {
                faults.push(AliasFault::NoColon);
                return None;
            };
            let named = name::read(text, first_colon, &grammar.names, lhs, faults);
            (named.colon, named.storable)
        }
    };
    let rhs = text.get(colon + 1..).unwrap_or_default();
    let blanks = rhs.iter().position(|c| !is_space(*c)).unwrap_or(rhs.len());
    let rhs = rhs.get(blanks..).unwrap_or_default();
    if grammar.members == Members::Checked && storable {
        *unlisted = name::check_members(rhs, &grammar.names, faults);
    }
    if !storable {
        return None;
    }
    if rhs.is_empty() {
        faults.push(AliasFault::NoValue { shown: text.into() });
        return None;
    }
    Some((text.get(..colon).unwrap_or_default(), rhs))
}

/// isspace(3) in the C locale.
fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests;
