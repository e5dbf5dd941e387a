//! A map in memory, for tests and for programs that link the library.

use std::collections::BTreeMap;

use crate::lhs::Lhs;
use crate::map::{Entries, Entry, Map, MapClass, MapName, StoreError};
use crate::rhs::Rhs;

/// A map in memory, in LHS order.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    name: MapName,
    entries: BTreeMap<Lhs, Vec<Rhs>>,
}

impl MemoryMap {
    /// A map of these entries; of one LHS given twice both values are kept, in order.
    pub fn new(name: &str, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut map: BTreeMap<Lhs, Vec<Rhs>> = BTreeMap::new();
        for Entry { lhs, rhs } in entries {
            map.entry(lhs).or_default().push(rhs);
        }
        MemoryMap {
            name: MapName::new(MapClass::Memory, name),
            entries: map,
        }
    }
}

impl Map for MemoryMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        Ok(self.entries.get(lhs).and_then(|all| all.first()).cloned())
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        Ok(self.entries.get(lhs).cloned().unwrap_or_default())
    }

    fn iter(&self) -> Entries<'_> {
        Box::new(self.entries.iter().flat_map(|(lhs, all)| {
            all.iter().map(|rhs| {
                Ok(Entry {
                    lhs: lhs.clone(),
                    rhs: rhs.clone(),
                })
            })
        }))
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_values_answers() {
        let map = MemoryMap::new("t", [Entry::new("a", "1"), Entry::new("a", "2")]);
        assert_eq!(map.get(b"a").unwrap(), Some(Rhs::from("1")));
        assert_eq!(map.get_all(b"a").unwrap().len(), 2);
        assert_eq!(map.get(b"A").unwrap(), None);
        assert_eq!(map.iter().count(), 2);
    }
}
