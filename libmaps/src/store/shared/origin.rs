//! Which generation of a shared map a replica holds.

use std::fmt;

/// Which generation of a shared map a replica holds; a text of two words in its table `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The generation's number, for people.
    pub generation: u64,
    /// What no other generation of any map has: 32 hexadecimal digits that its writer drew by
    /// lot. An engine that was restored from a backup may give a number a second time.
    pub mark: String,
}

/// Digits of a mark.
const MARK_DIGITS: usize = 32;

impl Origin {
    /// Reads `GENERATION MARK`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (generation, mark) = text.split_once(' ')?;
        let is_mark = mark.len() == MARK_DIGITS && mark.bytes().all(|c| c.is_ascii_hexdigit());
        Some(Origin {
            generation: generation.parse().ok()?,
            mark: is_mark.then(|| mark.to_owned())?,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.generation, self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_and_comes_back() {
        let text = "42 0123456789abcdef0123456789abcdef";
        assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        for bad in ["", "42", "x 0123456789abcdef0123456789abcdef", "42 0123"] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }
}
