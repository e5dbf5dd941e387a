//! The sources that are built: access entries and aliases in an order that is nobody's.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Sends each number below 2^32 to another one, no two to the same.
fn scattered(n: u32) -> u32 {
    let mixed = n.wrapping_mul(2_654_435_761);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d)
}

/// The LHS of the access entry of this number.
pub(crate) fn access_lhs(n: u32) -> String {
    let x = scattered(n);
    let [a, b, c, d] = x.to_be_bytes();
    match n % 4 {
        0 => format!("Connect:{a}.{b}.{c}.{d}"),
        1 => format!("From:user{}@host{}.example", x >> 12, x & 0xfff),
        2 => format!("To:{x:08x}@example.org"),
        _ => format!("From:mail{x}.example.net"),
    }
}

/// The RHS of the access entry of this number.
pub(crate) fn access_rhs(n: u32) -> &'static str {
    match n % 7 {
        0 => "OK",
        1 => "RELAY",
        2 => "ERROR:5.7.1:550 No mail from there",
        _ => "REJECT",
    }
}

/// Writes so many access entries.
pub(crate) fn access(path: &Path, entries: u32) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for n in 0..entries {
        writeln!(out, "{}\t{}", access_lhs(n), access_rhs(n))?;
    }
    out.flush()
}

/// Writes so many aliases, some with several targets.
pub(crate) fn aliases(path: &Path, entries: u32) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for n in 0..entries {
        let x = scattered(n);
        match n % 5 {
            0 => writeln!(out, "list{x}: joe, mary@example.com, |\"/bin/archive {n}\"")?,
            _ => writeln!(out, "user{x}: user{n}@example.com")?,
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_lhs_comes_twice() {
        let all: HashSet<String> = (0..200_000)
            .map(|n| access_lhs(n).to_ascii_lowercase())
            .collect();
        assert_eq!(all.len(), 200_000);
    }
}
