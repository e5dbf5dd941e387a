//! The right-hand side of an entry: what a map answers.

use std::fmt;

/// The right-hand side of an entry, as octets; its meaning is the table's affair.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rhs(Box<[u8]>);

impl Rhs {
    /// Takes the octets as they are.
    #[must_use]
    pub fn new(octets: impl Into<Box<[u8]>>) -> Self {
        Rhs(octets.into())
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The octets, given up by their owner.
    #[must_use]
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }
}

impl From<&str> for Rhs {
    fn from(text: &str) -> Self {
        Rhs(text.as_bytes().into())
    }
}

impl From<&[u8]> for Rhs {
    fn from(octets: &[u8]) -> Self {
        Rhs(octets.into())
    }
}

impl From<Vec<u8>> for Rhs {
    fn from(octets: Vec<u8>) -> Self {
        Rhs(octets.into())
    }
}

impl AsRef<[u8]> for Rhs {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Rhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_bytes(&self.0, f)
    }
}

impl fmt::Debug for Rhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rhs({self})")
    }
}

/// Writes octets for a person: UTF-8 as it is, control and stray octets as `\xNN`.
pub(crate) fn fmt_bytes(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && (c as u32) < 0x80 {
                write!(f, "\\x{:02x}", c as u32)?;
            } else if c.is_control() {
                write!(f, "\\u{{{:x}}}", c as u32)?;
            } else {
                write!(f, "{c}")?;
            }
        }
        for octet in chunk.invalid() {
            write!(f, "\\x{octet:02x}")?;
        }
    }
    Ok(())
}
