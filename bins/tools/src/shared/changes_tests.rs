use super::*;
use std::collections::BTreeMap;
use std::path::Path;

use libmaps::map::{Entry, MapClass, MapName};
use libmaps::store::MemoryMap;
use proptest::prelude::*;

fn map(text: &str) -> MemoryMap {
    let entries = text.split_whitespace().map(|e| {
        let (lhs, rhs) = e.split_once('=').unwrap();
        Entry::new(lhs, rhs)
    });
    MemoryMap::new("m", entries.collect::<Vec<_>>())
}

#[test]
fn added_removed_and_changed_keys_are_found() {
    let new = map("b=2 c=4 d=4 e=5");
    let (digest, changes) = between(&map("a=1 b=2 c=3 d=4"), &new, 4).unwrap();
    assert_eq!(digest, digest_of(&new).unwrap());
    let changes = changes.unwrap();
    let shown: Vec<String> = changes
        .iter()
        .map(|(lhs, values)| format!("{lhs}={values:?}"))
        .collect();
    assert_eq!(shown, ["a=[]", "c=[Rhs(4)]", "e=[Rhs(5)]"]);
    let nothing = (Digest::default(), Some(Vec::new()));
    assert_eq!(between(&map(""), &map(""), 0).unwrap(), nothing);
}

#[test]
fn what_was_edited_comes_to_the_same_as_what_is_found() {
    let (old, new) = (map("a=1 b=2 c=3 d=4"), map("b=2 c=4 d=4 e=5"));
    let changed: Vec<Lhs> = ["a", "b", "c", "d", "e", "f"].map(Lhs::from).into();
    let (digest, changes) = at(&changed, &old, &new, digest_of(&old).unwrap(), 5).unwrap();
    assert_eq!(digest, digest_of(&new).unwrap());
    let found = between(&old, &new, 5).unwrap();
    assert_eq!((digest, changes), found);
}

#[test]
fn what_was_edited_in_too_many_places_goes_whole() {
    let pairs = |n: u32| {
        (0..n)
            .map(|n| format!("k{n:04}=1"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (old, new) = (map(""), map(&pairs(1_001)));
    let changed: Vec<Lhs> = (0..1_001)
        .map(|n| Lhs::from(&*format!("k{n:04}")))
        .collect();
    let (digest, changes) = at(&changed, &old, &new, Digest::default(), 1_001).unwrap();
    assert_eq!((digest, changes), (digest_of(&new).unwrap(), None));
}

#[test]
fn too_many_changes_are_none() {
    let new: String = (0..1_002).map(|n| format!("k{n}=v ")).collect();
    let new = map(&new);
    let digest = digest_of(&new).unwrap();
    assert_eq!(between(&map(""), &new, 1_002).unwrap(), (digest, None));
    assert_eq!(
        between(&new, &map(""), 0).unwrap(),
        (Digest::default(), None)
    );
    // What is behind all old ones, and before them.
    for (old, new) in [("b=1", "a=1 b=1"), ("a=1", "a=1 b=1"), ("a=1 c=1", "b=1")] {
        let (old, new) = (map(old), map(new));
        let (digest, changes) = between(&old, &new, 2).unwrap();
        assert_eq!(digest, digest_of(&new).unwrap());
        assert!(changes.unwrap().len() <= 3);
    }
}

/// A map with several values of one LHS.
#[derive(Debug)]
struct Several {
    groups: Vec<Group>,
    name: MapName,
}

impl Map for Several {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        Ok(self.get_all(lhs)?.into_iter().next())
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        let found = self.groups.iter().find(|(has, _)| has.as_bytes() == lhs);
        Ok(found.map_or_else(Vec::new, |(_, values)| values.clone()))
    }

    fn iter(&self) -> Entries<'_> {
        let all = self.groups.iter().flat_map(|(lhs, values)| {
            let values = values.iter();
            values.map(move |rhs| Ok(Entry::new(lhs.as_bytes(), rhs.as_bytes())))
        });
        Box::new(all)
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

fn several() -> impl Strategy<Value = Several> {
    let values = proptest::collection::vec(0..3u8, 1..4);
    proptest::collection::btree_map(0..12u8, values, 0..10).prop_map(|all| {
        let groups = all.into_iter().map(|(lhs, values)| {
            let values = values.iter().map(|value| Rhs::from(&[*value][..]));
            (Lhs::from(&[lhs][..]), values.collect())
        });
        Several {
            groups: groups.collect(),
            name: MapName::new(MapClass::Hash, Path::new("several")),
        }
    })
}

proptest! {
    #[test]
    fn a_difference_makes_the_old_map_the_new_one(old in several(), new in several()) {
        let (digest, changes) = between(&old, &new, 10).unwrap();
        prop_assert_eq!(digest, digest_of(&new).unwrap());
        let changes = changes.unwrap();
        let mut made: BTreeMap<Lhs, Vec<Rhs>> = old.groups.iter().cloned().collect();
        for (lhs, values) in &changes {
            prop_assert_ne!(&old.get_all(lhs.as_bytes()).unwrap(), values);
            made.insert(lhs.clone(), values.clone());
        }
        made.retain(|_, values| !values.is_empty());
        prop_assert_eq!(made.into_iter().collect::<Vec<_>>(), new.groups.clone());
        let all: Vec<Lhs> = (0..12u8).map(|lhs| Lhs::from(&[lhs][..])).collect();
        let from = digest_of(&old).unwrap();
        prop_assert_eq!(at(&all, &old, &new, from, 10).unwrap(), (digest, Some(changes)));
    }
}
