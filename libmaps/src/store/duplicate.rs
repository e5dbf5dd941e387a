//! What is done where an LHS comes more than once.

/// An LHS that came again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The line of the later entry.
    pub line: u64,
    /// The LHS.
    pub lhs: Box<[u8]>,
}

/// The line number of an entry that the map had before; such entries are never refused.
pub const OLD_ENTRY: u64 = 0;

/// Which of several entries of one LHS are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The first, and all that the map had before.
    First,
    /// The last.
    Last,
    /// All of them.
    All,
}
