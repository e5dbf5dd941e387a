//! Following the searches that entries name, within bounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use libmaps::sysexits::SysExit;

use super::Directory;
use super::reference::{Reference, Scope};
use super::search::{Found, Search};
use crate::fault::Fault;

/// How deep searches may lead to others.
const MAX_DEPTH: u32 = 16;
/// Different searches of one map.
const MAX_SEARCHES: usize = 10_000;
/// Entries that the searches of all entries of one map lead to, each as often as it is come to.
const MAX_VISITS: usize = 10_000_000;
/// Visits after which others have their turn, so that a time limit binds.
const VISITS_A_TURN: usize = 1 << 10;

/// What the searches of one map gave: each is made once, whatever number of entries name it.
#[derive(Default)]
pub(super) struct Resolved {
    known: BTreeMap<Reference, Rc<Vec<Found>>>,
    octets: usize,
    visits: usize,
    /// The names below which was searched.
    pub(super) bases: BTreeSet<String>,
}

impl Resolved {
    /// Counts an entry, or a search, that is come to. What is known already is gone through without
    /// the server, so that nothing else would end that.
    async fn visit(&mut self) -> Result<(), Fault> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            let why = format!("the map's searches come to entries more than {MAX_VISITS} times");
            return Err(Fault::new(SysExit::DataErr, why));
        }
        if self.visits.is_multiple_of(VISITS_A_TURN) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Directory {
    /// Adds to an entry's values those that its searches give. An entry counts once, so that a
    /// search which leads back to itself ends.
    pub(super) async fn resolve(
        &mut self,
        search: &Search,
        entry: &mut Found,
        resolved: &mut Resolved,
    ) -> Result<(), Fault> {
        let mut seen = BTreeSet::from([entry.dn.to_lowercase()]);
        let mut made = BTreeSet::new();
        let first = entry.references.iter().map(|r| (r.clone(), 1));
        let mut waiting: VecDeque<(Reference, u32)> = first.collect();
        let mut octets = entry.octets();
        while let Some((reference, depth)) = waiting.pop_front() {
            resolved.visit().await?;
            if !made.insert(reference.clone()) {
                continue;
            }
            if depth > MAX_DEPTH {
                let why = format!("its searches lead more than {MAX_DEPTH} deep");
                return Err(entry.fault(&why));
            }
            let parts = match resolved.known.get(&reference) {
                Some(parts) => Rc::clone(parts),
                None => {
                    let asked = self.parts(search, &reference, resolved).await;
                    let parts = Rc::new(asked.map_err(|fault| of_entry(entry, &reference, fault))?);
                    resolved.known.insert(reference, Rc::clone(&parts));
                    parts
                }
            };
            for part in parts.iter() {
                resolved.visit().await?;
                if !seen.insert(part.dn.to_lowercase()) {
                    continue;
                }
                octets += part.octets();
                if octets > search.kind.max_octets() {
                    return Err(entry.fault("its searches find more than is held in memory"));
                }
                entry.values.extend(part.values.iter().cloned());
                let deeper = part.references.iter().map(|r| (r.clone(), depth + 1));
                waiting.extend(deeper);
            }
        }
        Ok(())
    }

    /// What one search finds.
    async fn parts(
        &mut self,
        search: &Search,
        reference: &Reference,
        resolved: &mut Resolved,
    ) -> Result<Vec<Found>, Fault> {
        if resolved.known.len() >= MAX_SEARCHES {
            let why = format!("the map's entries name more than {MAX_SEARCHES} searches");
            return Err(Fault::new(SysExit::DataErr, why));
        }
        let own: Vec<_> = search.attributes.iter().cloned().collect();
        let (base, scope, filter, attributes) = match reference {
            Reference::Dn(dn) => (dn.clone(), Scope::Subtree, "(objectClass=*)".into(), own),
            Reference::Filter(text) => (search.base.clone(), Scope::Subtree, text.clone(), own),
            Reference::Url { url, .. } => {
                let attributes = search.attributes_of(&url.attributes);
                (url.base.clone(), url.scope, url.filter.clone(), attributes)
            }
        };
        resolved.bases.insert(base.clone());
        let mut names: Vec<&str> = attributes.iter().map(|a| a.name.as_str()).collect();
        names.push("objectClass");
        let mut parts = Vec::new();
        let mut octets = resolved.octets;
        self.find(&base, scope, &filter, names, |entry| {
            let part = search.read(&entry, &attributes)?;
            octets += part.octets();
            parts.push(part);
            match octets > search.kind.max_octets() {
                true => Err(too_much(search)),
                false => Ok(()),
            }
        })
        .await?;
        resolved.octets = octets;
        Ok(parts)
    }
}

/// A map that does not fit.
pub(super) fn too_much(search: &Search) -> Fault {
    let most = search.kind.max_octets();
    let why = format!("a map of more than {most} octets is not held in memory");
    Fault::new(SysExit::DataErr, why)
}

/// A fault of a search as one of the entry that names it, unless the server was at fault.
fn of_entry(entry: &Found, reference: &Reference, fault: Fault) -> Fault {
    let text: String = reference.text().chars().take(200).collect();
    let named = entry.fault(&format!("its search {text}: {}", fault.why));
    match fault.exit {
        SysExit::TempFail => Fault::new(SysExit::TempFail, named.why),
        _ => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(work)
    }

    /// Comes to entries until that is a fault; each was found before.
    async fn go_on(resolved: &mut Resolved) -> Fault {
        loop {
            if let Err(fault) = resolved.visit().await {
                return fault;
            }
        }
    }

    #[test]
    fn entries_that_are_found_over_and_over_come_to_an_end() {
        let mut resolved = Resolved {
            visits: MAX_VISITS - 3,
            ..Resolved::default()
        };
        let fault = block_on(go_on(&mut resolved));
        assert_eq!(fault.exit, SysExit::DataErr);
        assert_eq!(resolved.visits, MAX_VISITS + 1);
    }

    #[test]
    fn a_time_limit_binds_without_the_server() {
        let mut resolved = Resolved::default();
        let ended = block_on(async {
            let going = go_on(&mut resolved);
            tokio::time::timeout(Duration::ZERO, going).await
        });
        assert!(ended.is_err());
        assert!(resolved.visits.is_multiple_of(VISITS_A_TURN));
    }
}
