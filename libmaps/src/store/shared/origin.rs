//! Which generation of a shared map a replica holds.

use std::fmt;

use super::Standing;

/// Which generation of a shared map a replica holds; a text of two to four words in its table
/// `meta`. Two are the same when number and mark are: by which switch a generation came to be
/// current is no part of what it is.
#[derive(Clone, Debug, Eq)]
pub struct Origin {
    /// The generation's number, for people.
    pub generation: u64,
    /// What no other generation of any map has: 32 hexadecimal digits that its writer drew by
    /// lot. An engine that was restored from a backup may give a number a second time.
    pub mark: String,
    /// The number of the switch that made it current, higher with each switch of the map; none
    /// where the engine does not count them.
    pub serial: Option<u64>,
    /// How far the directory had come that it was read from; none of other engines.
    pub standing: Option<Standing>,
}

/// Digits of a mark.
const MARK_DIGITS: usize = 32;

impl Origin {
    /// Reads `GENERATION MARK`, `GENERATION MARK SERIAL` or `GENERATION MARK SERIAL STANDING`; a
    /// serial that there is none of is `-` then.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let generation = words.next()?.parse().ok()?;
        let mark = words.next()?;
        let is_mark = mark.len() == MARK_DIGITS && mark.bytes().all(|c| c.is_ascii_hexdigit());
        let serial = match words.next() {
            Some("-") | None => None,
            Some(serial) => Some(serial.parse().ok()?),
        };
        let standing = match words.next() {
            Some(standing) => Some(Standing::parse(standing)?),
            None => None,
        };
        let is_whole = is_mark && words.next().is_none();
        is_whole.then(|| Origin {
            generation,
            mark: mark.to_owned(),
            serial,
            standing,
        })
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        (self.generation, &self.mark) == (other.generation, &other.mark)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.generation, self.mark)?;
        match (self.serial, &self.standing) {
            (Some(serial), None) => write!(f, " {serial}"),
            (Some(serial), Some(standing)) => write!(f, " {serial} {standing}"),
            (None, Some(standing)) => write!(f, " - {standing}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_and_comes_back() {
        for text in [
            "42 0123456789abcdef0123456789abcdef",
            "42 0123456789abcdef0123456789abcdef 7",
            "42 0123456789abcdef0123456789abcdef - 20261126.1Z#0#001#0,20261126.2Z#0#002#0",
            "42 0123456789abcdef0123456789abcdef 7 20261126.1Z#0#001#0",
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "42",
            "x 0123456789abcdef0123456789abcdef",
            "42 0123",
            "42 0123456789abcdef0123456789abcdef x",
            "42 0123456789abcdef0123456789abcdef 7 8",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_generation_is_the_same_by_whatever_switch() {
        let one = Origin::parse("42 0123456789abcdef0123456789abcdef 7").unwrap();
        let other = Origin {
            serial: None,
            ..one.clone()
        };
        assert_eq!(one, other);
    }
}
