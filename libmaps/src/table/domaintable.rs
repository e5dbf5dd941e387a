//! domaintable: domains that stand for other domains, in every address that is read.
//!
//! The LHS is a domain, the RHS the domain that replaces it. Only whole domains
//! match, no parents.

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;
use crate::table::question::ask;

/// A domaintable.
#[derive(Clone)]
pub struct DomainTable<M> {
    map: Traced<M>,
}

impl<M: Map> DomainTable<M> {
    /// The table in this map.
    pub fn new(map: M) -> Self {
        DomainTable::of(Traced::new(map))
    }

    /// The table in a map that leaves probes already.
    pub fn of(map: Traced<M>) -> Self {
        DomainTable { map }
    }

    /// The domain that stands in the place of `domain`, if one does.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn replacement(
        &self,
        domain: &[u8],
        trace: &mut Trace,
    ) -> Result<Option<Vec<u8>>, LookupError> {
        let rhs = ask(&self.map, trace, &[domain], Step::Exact, &[])?;
        Ok(rhs.map(|rhs| rhs.into_bytes().into_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    #[test]
    fn whole_domains_only() {
        let map = MemoryMap::new("domaintable", [Entry::new("old.example", "new.example")]);
        let table = DomainTable::new(map);
        let ask = |domain: &[u8]| table.replacement(domain, &mut Trace::new()).unwrap();
        assert_eq!(ask(b"OLD.example"), Some(b"new.example".to_vec()));
        assert_eq!(ask(b"\"old\".ex\\ample"), Some(b"new.example".to_vec()));
        assert_eq!(ask(b"sub.old.example"), None);
    }
}
