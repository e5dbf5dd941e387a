//! genericstable: local senders to the addresses that the world shall see.
//!
//! The LHS is `user@domain`, `user+*@domain`, `@domain`, `user` or `user+*`; the RHS
//! is an address, which is not masqueraded, or a user, who is as if he had been
//! written without a domain. With `+*`, `%1` is the detail.

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;
use crate::table::question;
use crate::tokens;

/// A genericstable.
#[derive(Clone)]
pub struct GenericsTable<M> {
    map: Traced<M>,
}

/// Whether the bare domain is asked for too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainEntry {
    /// The address had a domain: `@domain` is asked before the user alone.
    Asked,
    /// The address had none; the host name was put in for it.
    NotAsked,
}

impl<M: Map> GenericsTable<M> {
    /// The table in this map.
    pub fn new(map: M) -> Self {
        GenericsTable::of(Traced::new(map))
    }

    /// The table in a map that leaves probes already.
    pub fn of(map: Traced<M>) -> Self {
        GenericsTable { map }
    }

    /// The RHS for `local@domain`, the arguments put in; nothing if no entry fits.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn find(
        &self,
        local: &[u8],
        domain: &[u8],
        domain_entry: DomainEntry,
        trace: &mut Trace,
    ) -> Result<Option<Vec<u8>>, LookupError> {
        let plussed = tokens::split_after_one(local, b'+');
        let at = |user: &[u8]| [user, b"@", domain].concat();
        let mut ask =
            |lhs: &[u8], step: Step, argument: Option<&[u8]>| self.ask(lhs, step, argument, trace);
        let mut found = ask(&at(local), Step::Exact, None)?;
        if let (None, Some((user, detail))) = (&found, plussed) {
            let any = tokens::concat(&[user, b"+*"]);
            found = ask(&at(&any), Step::AnyDetail, Some(detail))?;
            if found.is_none() {
                found = ask(&at(user), Step::NoDetail, None)?;
            }
        }
        if found.is_none() && domain_entry == DomainEntry::Asked {
            found = ask(&at(b""), Step::Domain, Some(local))?;
        }
        if found.is_none() {
            found = ask(local, Step::User, None)?;
        }
        if let (None, Some((user, detail))) = (&found, plussed) {
            let any = tokens::concat(&[user, b"+*"]);
            found = ask(&any, Step::AnyDetail, Some(detail))?;
            if found.is_none() {
                found = ask(user, Step::NoDetail, None)?;
            }
        }
        Ok(found)
    }

    fn ask(
        &self,
        lhs: &[u8],
        step: Step,
        argument: Option<&[u8]>,
        trace: &mut Trace,
    ) -> Result<Option<Vec<u8>>, LookupError> {
        let found = question::ask(&self.map, trace, &[lhs], step, argument.as_slice())?;
        let rhs = found.map(|rhs| rhs.into_bytes().into_vec());
        // An entry that comes to nothing is no entry.
        Ok(rhs.filter(|rhs| !rhs.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    fn asked(local: &str, domain_entry: DomainEntry) -> Vec<String> {
        let table = GenericsTable::new(MemoryMap::new("genericstable", []));
        let mut trace = Trace::new();
        let found = table.find(local.as_bytes(), b"h.example", domain_entry, &mut trace);
        assert_eq!(found.unwrap(), None);
        trace.probes().map(|p| p.lhs.to_string()).collect()
    }

    #[test]
    fn the_order_of_questions() {
        assert_eq!(
            asked("joe+x", DomainEntry::Asked),
            [
                "joe+x@h.example",
                "joe+*@h.example",
                "joe@h.example",
                "@h.example",
                "joe+x",
                "joe+*",
                "joe"
            ]
        );
        assert_eq!(
            asked("joe", DomainEntry::NotAsked),
            ["joe@h.example", "joe"]
        );
    }

    #[test]
    fn the_detail_is_the_first_argument() {
        let map = MemoryMap::new("genericstable", [Entry::new("joe+*", "j.%1@pub.example")]);
        let found = GenericsTable::new(map).find(
            b"joe+x",
            b"h.example",
            DomainEntry::Asked,
            &mut Trace::new(),
        );
        assert_eq!(found.unwrap(), Some(b"j.x@pub.example".to_vec()));
    }
}
