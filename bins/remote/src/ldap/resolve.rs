//! Following the searches that entries name, within bounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use libmaps::sysexits::SysExit;

use super::Directory;
use super::reference::{Reference, Scope, Url};
use super::search::{Found, Search};
use crate::fault::Fault;

/// How deep searches may lead to others.
const MAX_DEPTH: u32 = 16;
/// Different searches of one map.
const MAX_SEARCHES: usize = 10_000;

/// What the searches of one map gave: each is made once, whatever number of entries name it.
#[derive(Default)]
pub(super) struct Resolved {
    known: BTreeMap<Reference, Rc<Vec<Found>>>,
    octets: usize,
    /// The names below which was searched.
    pub(super) bases: BTreeSet<String>,
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
            Reference::Url(text) => {
                let bad = |why| Fault::new(SysExit::DataErr, why);
                let url = Url::parse(text).map_err(bad)?;
                let attributes = search.attributes_of(&url.attributes);
                (url.base, url.scope, url.filter, attributes)
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
