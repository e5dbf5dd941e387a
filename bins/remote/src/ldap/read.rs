//! Reading a directory: how far it has come, and what a search finds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{Scope, SearchEntry};
use libmaps::build::aliases::MARK;
use libmaps::sysexits::SysExit;

use super::reference::Scope as FindScope;
use super::resolve::{Resolved, too_much};
use super::search::{Empty, Kind, Search};
use super::{Directory, Entries};
use crate::fault::{Fault, within};

/// Entries of one page (RFC 2696).
const PAGE: i32 = 500;

/// The states of the providers of each naming context that was searched.
pub(super) type State = BTreeMap<String, Vec<String>>;

/// Whether all changes are one provider's. Others are told of a transaction bit by bit before it is
/// made, and of one that fails, too.
pub(super) fn is_alone(state: &State) -> bool {
    state.values().all(|providers| providers.len() == 1)
}

/// What a search gives.
#[derive(Default)]
pub(super) struct Read {
    pub(super) entries: Entries,
    /// The newest entryCSN.
    pub(super) newest: String,
    /// The names below which was searched besides the map's base.
    pub(super) bases: BTreeSet<String>,
}

impl Directory {
    /// The states of all providers of these naming contexts.
    pub(super) async fn state(&mut self, contexts: &BTreeSet<String>) -> Result<State, Fault> {
        let mut states = State::new();
        for context in contexts {
            let mut found = self
                .attributes(context, "(objectClass=*)", &["contextCSN"])
                .await?;
            let mut state = found.remove("contextCSN").unwrap_or_default();
            if state.is_empty() {
                let why = format!("{context} has no contextCSN: load the module syncprov for it");
                return Err(Fault::new(SysExit::Config, why));
            }
            state.sort();
            states.insert(context.clone(), state);
        }
        Ok(states)
    }

    /// The naming contexts that hold these names.
    pub(super) async fn contexts<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeSet<String>, Fault> {
        let mut root = self
            .attributes("", "(objectClass=*)", &["namingContexts"])
            .await?;
        let all = root.remove("namingContexts").unwrap_or_default();
        let plain = |dn: &str| dn.to_ascii_lowercase().replace(", ", ",");
        let mut contexts = BTreeSet::new();
        for name in names {
            let ends = |context: &&String| plain(name).ends_with(&plain(context));
            let longest = all.iter().filter(ends).max_by_key(|c| c.len());
            let Some(longest) = longest else {
                let why = format!("base: the server does not hold {name}");
                return Err(Fault::new(SysExit::Config, why));
            };
            contexts.insert(longest.clone());
        }
        Ok(contexts)
    }

    pub(super) async fn attributes(
        &mut self,
        dn: &str,
        filter: &str,
        names: &[&str],
    ) -> Result<HashMap<String, Vec<String>>, Fault> {
        let asked = self.ldap.search(dn, Scope::Base, filter, names.to_vec());
        let time = self.server.timeout;
        let (mut found, _) = within(time, async { asked.await?.success() }).await?;
        let entry = found.pop().map(SearchEntry::construct);
        Ok(entry.map(|e| e.attrs).unwrap_or_default())
    }

    /// As [`Directory::attributes`], of an entry that may be missing.
    pub(super) async fn attributes_if_there(
        &mut self,
        dn: &str,
        names: &[&str],
    ) -> Result<Option<HashMap<String, Vec<String>>>, Fault> {
        let filter = "(objectClass=*)";
        let asked = self.ldap.search(dn, Scope::Base, filter, names.to_vec());
        let found = within(self.server.timeout, asked).await?;
        // noSuchObject.
        if found.1.rc == 32 {
            return Ok(None);
        }
        let (mut found, _) = found.success()?;
        Ok(found.pop().map(|entry| SearchEntry::construct(entry).attrs))
    }

    /// Everything that the search finds.
    pub(super) async fn search(&mut self, search: &Search) -> Result<Read, Fault> {
        let mut read = Read::default();
        let (mut found, mut octets) = (0, 0);
        let mut referring = Vec::new();
        self.find(
            &search.base,
            FindScope::Subtree,
            &search.filter,
            search.names(),
            |entry| {
                let csn = entry.attrs.get("entryCSN").and_then(|v| v.first());
                if let Some(csn) = csn.filter(|csn| **csn > read.newest) {
                    read.newest.clone_from(csn);
                }
                found += 1;
                let entry = search.read(&entry, search.attributes.iter())?;
                octets += match entry.references.is_empty() {
                    true => search.put(&entry, &mut read.entries)?,
                    false => {
                        let octets = entry.octets();
                        referring.push(entry);
                        octets
                    }
                };
                match octets > search.kind.max_octets() {
                    true => Err(too_much(search)),
                    false => Ok(()),
                }
            },
        )
        .await?;
        let mut resolved = Resolved::default();
        for mut entry in referring {
            self.resolve(search, &mut entry, &mut resolved).await?;
            octets += search.put(&entry, &mut read.entries)?;
            if octets > search.kind.max_octets() {
                return Err(too_much(search));
            }
        }
        read.bases = resolved.bases;
        // What a server does not let us see is not there, for it: entries, or the words of a class.
        let nothing = match search.kind {
            _ if found == 0 => Some("nothing"),
            Kind::Class if read.entries.is_empty() => Some("no word"),
            _ => None,
        };
        if let (Some(nothing), Empty::Fault) = (nothing, search.empty) {
            let why = format!(
                "the search finds {nothing} below {} for {}; `empty yes` takes that for an empty map",
                search.base, search.filter
            );
            return Err(Fault::new(SysExit::DataErr, why));
        }
        if search.kind == Kind::Aliases {
            read.entries.insert(MARK.to_vec(), MARK.to_vec());
        }
        Ok(read)
    }

    /// Makes a search, and hands over each entry that it finds.
    pub(super) async fn find(
        &mut self,
        base: &str,
        scope: FindScope,
        filter: &str,
        names: Vec<&str>,
        mut take: impl FnMut(SearchEntry) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![
            Box::new(EntriesOnly::new()),
            Box::new(PagedResults::new(PAGE)),
        ];
        let scope = match scope {
            FindScope::Base => Scope::Base,
            FindScope::OneLevel => Scope::OneLevel,
            FindScope::Subtree => Scope::Subtree,
        };
        let asked = self
            .ldap
            .streaming_search_with(adapters, base, scope, filter, names);
        let time = self.server.timeout;
        let mut stream = within(time, asked).await?;
        while let Some(entry) = within(time, stream.next()).await? {
            take(SearchEntry::construct(entry))?;
        }
        // A limit of the server's (RFC 4511: sizeLimitExceeded) is an error: half a map is none.
        let ended = stream.finish().await.success()?;
        if let Some(other) = ended.refs.first() {
            let why = format!("a part of the tree is elsewhere, which is not searched: {other}");
            return Err(Fault::new(SysExit::DataErr, why));
        }
        Ok(())
    }
}
