//! How far a directory has come: the newest change that it has of each of its providers.
//!
//! OpenLDAP tells it in `contextCSN`, a change sequence number for each provider:
//! `20261126023201.123456Z#000000#001#000000` is a time, a count, the provider's number and a count
//! within the change. Numbers of one provider compare as texts.

use std::collections::BTreeMap;
use std::fmt;

/// Most providers, as slapd-config(5) has it for `olcServerID`.
const MAX_PROVIDERS: usize = 4096;
/// The longest change number, in octets.
const MAX_OCTETS: usize = 64;

/// The newest change of each provider, by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing(BTreeMap<String, String>);

impl Standing {
    /// Of the values of `contextCSN`; `None`: one of them is no change number.
    #[must_use]
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut newest = BTreeMap::new();
        for change in changes {
            let provider = provider_of(change)?;
            if newest.len() >= MAX_PROVIDERS {
                return None;
            }
            newest.insert(provider.to_owned(), change.to_owned());
        }
        (!newest.is_empty()).then_some(Standing(newest))
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Standing::of(text.split(','))
    }

    /// A change that `other` has and this lacks.
    #[must_use]
    pub fn lacks<'a>(&self, other: &'a Standing) -> Option<&'a str> {
        let mut changes = other.0.iter();
        let missing = changes.find(|(provider, change)| self.0.get(*provider) < Some(*change));
        missing.map(|(_, change)| change.as_str())
    }
}

/// The number of the provider that made a change.
fn provider_of(change: &str) -> Option<&str> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b".#".contains(&c);
    if change.len() > MAX_OCTETS || !change.bytes().all(good) {
        return None;
    }
    let mut parts = change.split('#');
    let (time, _count, provider) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_some() && parts.next().is_none();
    (is_whole && time.starts_with(|c: char| c.is_ascii_digit())).then_some(provider)
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.0.values().map(String::as_str).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "20261126023201.123456Z#000000#001#000000";
    const LATER: &str = "20261126023201.123457Z#000000#001#000000";
    const TWO: &str = "20261126023202.000000Z#000000#002#000000";

    #[test]
    fn each_provider_counts_for_itself() {
        let standing = |changes: &[&str]| Standing::of(changes.iter().copied()).unwrap();
        let here = standing(&[ONE, TWO]);
        assert_eq!(Standing::parse(&here.to_string()), Some(here.clone()));
        for (there, lacks) in [
            (&[ONE, TWO][..], None),
            (&[LATER, TWO], None),
            (&[TWO, LATER], None),
            (&[LATER], Some(TWO)),
            (&[TWO], Some(ONE)),
        ] {
            assert_eq!(standing(there).lacks(&here), lacks, "{there:?}");
        }
        assert_eq!(standing(&[ONE]).lacks(&standing(&[LATER])), Some(LATER));
    }

    #[test]
    fn what_is_no_change_number_is_none() {
        for text in [
            "",
            "x",
            "1#2#3",
            "1#2#3#4#5",
            "1 #2#3#4",
            "#1#2#3",
            "1#2#3#4,",
        ] {
            assert_eq!(Standing::parse(text), None, "{text}");
        }
        assert_eq!(Standing::of([]), None);
    }
}
