//! An old map's entries with the changes of an edit.

use std::collections::BTreeMap;

use crate::lhs::Lhs;
use crate::map::{Entry, Map, StoreError};
use crate::rhs::Rhs;
use crate::store::Sink;
use crate::store::redb::Change;

/// Hands over the entries of `base`, which come in LHS order, with the changes made.
pub(crate) fn merge_into(
    sink: &mut Sink<'_>,
    base: &dyn Map,
    changes: &BTreeMap<Lhs, Vec<Change>>,
) -> Result<(), StoreError> {
    let mut changes = changes.iter().peekable();
    // The old values of the LHS that `changes` is at.
    let mut old: Vec<Rhs> = Vec::new();
    base.for_each(&mut |lhs, rhs| {
        while let Some((changed, _)) = changes.peek()
            && changed.as_bytes() < lhs
        {
            make_next(&mut changes, &mut old, sink)?;
        }
        match changes.peek() {
            Some((changed, _)) if changed.as_bytes() == lhs => {
                old.push(Rhs::from(rhs));
                Ok(())
            }
            _ => sink(lhs, rhs),
        }
    })?;
    while changes.peek().is_some() {
        make_next(&mut changes, &mut old, sink)?;
    }
    Ok(())
}

/// Makes the next LHS's changes to its old values, and hands over what it has then.
fn make_next<'a>(
    changes: &mut impl Iterator<Item = (&'a Lhs, &'a Vec<Change>)>,
    old: &mut Vec<Rhs>,
    sink: &mut Sink<'_>,
) -> Result<(), StoreError> {
    let mut values = std::mem::take(old);
    let Some((lhs, changes)) = changes.next() else {
        return Ok(());
    };
    apply(&mut values, changes);
    for rhs in values {
        sink(lhs.as_bytes(), rhs.as_bytes())?;
    }
    Ok(())
}

/// Makes one LHS's changes.
fn apply(values: &mut Vec<Rhs>, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Set(rhs) => *values = vec![rhs.clone()],
            Change::Add(rhs) => values.push(rhs.clone()),
            Change::Remove => values.clear(),
        }
    }
}

/// The entries of `base` with the changes made, in LHS order.
pub(crate) fn merged(
    base: &dyn Map,
    changes: BTreeMap<Lhs, Vec<Change>>,
) -> Result<BTreeMap<Lhs, Vec<Rhs>>, StoreError> {
    let mut all: BTreeMap<Lhs, Vec<Rhs>> = BTreeMap::new();
    for entry in base.iter() {
        let Entry { lhs, rhs } = entry?;
        all.entry(lhs).or_default().push(rhs);
    }
    for (lhs, changes) in changes {
        let values = all.entry(lhs.clone()).or_default();
        apply(values, &changes);
        if values.is_empty() {
            all.remove(&lhs);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryMap;

    fn shown(base: &[&str], changes: &[(&str, &[Change])]) -> String {
        let entries = base.iter().map(|e| {
            let (lhs, rhs) = e.split_once('=').unwrap();
            Entry::new(lhs, rhs)
        });
        let base = MemoryMap::new("m", entries);
        let changes: BTreeMap<Lhs, Vec<Change>> = changes
            .iter()
            .map(|(lhs, all)| (Lhs::from(*lhs), all.to_vec()))
            .collect();
        let text = |lhs: &[u8], rhs: &[u8]| {
            format!(
                "{}={} ",
                String::from_utf8_lossy(lhs),
                String::from_utf8_lossy(rhs)
            )
        };
        let (mut streamed, mut whole) = (String::new(), String::new());
        merge_into(
            &mut |lhs, rhs| {
                streamed += &text(lhs, rhs);
                Ok(())
            },
            &base,
            &changes,
        )
        .unwrap();
        for (lhs, values) in merged(&base, changes).unwrap() {
            for rhs in values {
                whole += &text(lhs.as_bytes(), rhs.as_bytes());
            }
        }
        assert_eq!(streamed, whole, "both ways give the same");
        streamed
    }

    #[test]
    fn changes_fall_into_their_places() {
        let set = |v: &str| Change::Set(Rhs::from(v));
        let add = |v: &str| Change::Add(Rhs::from(v));
        let base = ["b=1", "d=1", "d=2", "f=1"];
        assert_eq!(shown(&base, &[]), "b=1 d=1 d=2 f=1 ");
        assert_eq!(
            shown(
                &base,
                &[("a", &[set("x")]), ("e", &[set("x")]), ("g", &[set("x")])]
            ),
            "a=x b=1 d=1 d=2 e=x f=1 g=x "
        );
        assert_eq!(
            shown(
                &base,
                &[
                    ("b", &[Change::Remove]),
                    ("d", &[set("x")]),
                    ("f", &[add("2")])
                ]
            ),
            "d=x f=1 f=2 "
        );
        assert_eq!(
            shown(&base, &[("c", &[Change::Remove])]),
            "b=1 d=1 d=2 f=1 "
        );
        assert_eq!(
            shown(&base, &[("d", &[Change::Remove, add("3")])]),
            "b=1 d=3 f=1 "
        );
        assert_eq!(shown(&[], &[("a", &[set("1"), add("2")])]), "a=1 a=2 ");
    }
}
