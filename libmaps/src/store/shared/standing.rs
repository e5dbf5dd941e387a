//! How far a directory has come: the newest change that it has of each of its providers.
//!
//! OpenLDAP tells it in `contextCSN` of each naming context, a change sequence number for each
//! provider: `20261126023201.123456Z#000000#001#000000` is a time, a count, the provider's number
//! and a count within the change. Numbers of one provider in one context compare as texts; of
//! another context they say nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most providers of all contexts, as slapd-config(5) has it for `olcServerID`.
const MAX_PROVIDERS: usize = 4096;
/// The longest change number, in octets.
const MAX_OCTETS: usize = 64;
/// The longest name of a naming context, in octets, as it is written.
const MAX_CONTEXT: usize = 4096;

/// The newest change of each provider, by the naming context and the provider's number. The context
/// has no name where an older release wrote it down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing(BTreeMap<(String, String), String>);

impl Standing {
    /// Of the values of `contextCSN`, each after the name of its naming context; `None`: one of them
    /// is no change number.
    #[must_use]
    pub fn of<'a>(changes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut standing = Standing::default();
        for (context, change) in changes {
            standing.put(written(context), change)?;
        }
        (!standing.0.is_empty()).then_some(standing)
    }

    /// Reads what [`fmt::Display`] writes: `CHANGE@CONTEXT`, with commas between them. Of older
    /// releases `@CONTEXT` is not there.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut standing = Standing::default();
        for item in text.split(',') {
            let (change, context) = match item.split_once('@') {
                Some((_, "")) => return None,
                Some((change, context)) => (change, context),
                None => (item, ""),
            };
            let is_good = |c: u8| is_plain(c) || c == b'%';
            if !context.bytes().all(is_good) {
                return None;
            }
            standing.put(context.to_owned(), change)?;
        }
        Some(standing)
    }

    /// Of a context as it is written.
    fn put(&mut self, context: String, change: &str) -> Option<()> {
        let provider = provider_of(change)?.to_owned();
        if self.0.len() >= MAX_PROVIDERS || context.len() > MAX_CONTEXT {
            return None;
        }
        self.0.insert((context, provider), change.to_owned());
        Some(())
    }

    /// A change that `other` has and this lacks, in a context of both.
    #[must_use]
    pub fn lacks<'a>(&self, other: &'a Standing) -> Option<&'a str> {
        let contexts: BTreeSet<&str> = self.0.keys().map(|(context, _)| context.as_str()).collect();
        let is_missing = |((context, provider), change): &(&(String, String), &String)| {
            if !context.is_empty() {
                let has = self.0.get(&(context.clone(), provider.clone()));
                return contexts.contains(context.as_str()) && has < Some(*change);
            }
            // Whichever context it was of.
            let mut all = self.0.iter();
            !all.any(|((_, of), has)| of == provider && has >= *change)
        };
        let mut changes = other.0.iter();
        changes.find(is_missing).map(|(_, change)| change.as_str())
    }
}

/// Octets of a context that stand for themselves.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"=.-_".contains(&octet)
}

/// The name of a context, as one word without commas: folded, without blanks after commas, and
/// octets that are not plain as `%2c`.
fn written(context: &str) -> String {
    let folded = context.to_ascii_lowercase().replace(", ", ",");
    let octets = folded.bytes().map(|octet| match is_plain(octet) {
        true => char::from(octet).to_string(),
        false => format!("%{octet:02x}"),
    });
    octets.collect()
}

/// The number of the provider that made a change; `None` of what is no change number.
#[must_use]
pub fn provider_of(change: &str) -> Option<&str> {
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
        let all = self
            .0
            .iter()
            .map(|((context, _), change)| match context.as_str() {
                "" => change.clone(),
                context => format!("{change}@{context}"),
            });
        f.write_str(&all.collect::<Vec<_>>().join(","))
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
        let standing = |changes: &[&str]| {
            Standing::of(changes.iter().map(|c| ("dc=Example, dc=org", *c))).unwrap()
        };
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
    fn each_context_counts_for_itself() {
        let both = Standing::of([("dc=a,dc=b", LATER), ("o=c d", ONE)]).unwrap();
        let text = format!("{LATER}@dc=a%2cdc=b,{ONE}@o=c%20d");
        assert_eq!(both.to_string(), text);
        assert_eq!(Standing::parse(&text), Some(both.clone()));
        for (there, lacks) in [
            (&[("dc=a,dc=b", LATER), ("o=c d", ONE)][..], None),
            (&[("DC=a, DC=b", LATER)], None),
            // Moved to another context.
            (&[("dc=other", ONE)], None),
            (&[("o=c d", TWO)], Some(ONE)),
            (&[("dc=a,dc=b", ONE), ("o=c d", LATER)], Some(LATER)),
        ] {
            let there = Standing::of(there.iter().copied()).unwrap();
            assert_eq!(there.lacks(&both), lacks, "{there}");
        }
        // An older release named no context.
        let old = Standing::parse(LATER).unwrap();
        assert_eq!(old.to_string(), LATER);
        assert_eq!(both.lacks(&old), None);
        let behind = Standing::of([("dc=a,dc=b", ONE)]).unwrap();
        assert_eq!(behind.lacks(&old), Some(LATER));
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
            "1#2#3#4@",
            "1#2#3#4@a@b",
            "1#2#3#4@a b",
        ] {
            assert_eq!(Standing::parse(text), None, "{text}");
        }
        assert_eq!(Standing::of([]), None);
    }
}
