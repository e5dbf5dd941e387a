//! What is to be changed in a directory for a map to be another.

use std::collections::{BTreeMap, BTreeSet};

use libmaps::sysexits::SysExit;

use super::Entries;
use super::change::Change;
use super::own::{Own, compared};
use super::owned::{There, check_keys, check_value};
use super::search::Search;
use crate::fault::Fault;

/// What a writer wants.
pub(super) enum Goal {
    /// The map is to be this.
    Whole(Entries),
    /// These keys are to have these values; none: they go.
    Keys(BTreeMap<Vec<u8>, Option<Vec<u8>>>),
}

impl Goal {
    /// The keys in which `new` is another map than `old`.
    pub(super) fn between(old: &Entries, new: Entries) -> Self {
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        let mut keys: BTreeMap<_, _> = gone.map(|key| (key.clone(), None)).collect();
        let changed = new
            .into_iter()
            .filter(|(key, value)| old.get(key) != Some(value));
        keys.extend(changed.map(|(key, value)| (key, Some(value))));
        Goal::Keys(keys)
    }

    /// What this key is to have, where nothing but the goal says.
    fn of(&self, key: &[u8]) -> Wanted<'_> {
        match self {
            Goal::Whole(new) => new.get(key).map_or(Wanted::Gone, |v| Wanted::Value(v)),
            Goal::Keys(keys) => match keys.get(key) {
                None => Wanted::AsItIs,
                Some(None) => Wanted::Gone,
                Some(Some(value)) => Wanted::Value(value),
            },
        }
    }

    /// All keys that are to be there.
    fn keys(&self) -> Box<dyn Iterator<Item = (&Vec<u8>, &Vec<u8>)> + '_> {
        match self {
            Goal::Whole(new) => Box::new(new.iter()),
            Goal::Keys(keys) => Box::new(
                keys.iter()
                    .filter_map(|(key, value)| Some((key, value.as_ref()?))),
            ),
        }
    }
}

/// What a key is to have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted<'a> {
    AsItIs,
    Gone,
    Value(&'a [u8]),
}

/// The changes that make the entries `now` what is wanted: those that go, those that change, those
/// that come.
///
/// # Errors
/// An entry would have to change that is more than one key of this map, or is in another way none
/// that a writer changes; or a key fits in no entry.
pub(super) fn changes(
    now: &[There],
    goal: &Goal,
    search: &Search,
    own: &Own,
    attribute: &str,
) -> Result<Vec<Change>, Fault> {
    let (mut gone, mut changed, mut come) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
    for there in now {
        let entry = &there.found;
        let keys = entry.keys.iter().map(|key| key.to_ascii_lowercase());
        let keys: Vec<Vec<u8>> = keys.collect();
        let has = search.value_of(entry);
        let stays = |key: &Vec<u8>| match goal.of(key) {
            Wanted::AsItIs => true,
            Wanted::Gone => false,
            Wanted::Value(value) => has.as_deref() == Some(value),
        };
        let is_good = !keys.is_empty() && keys.iter().all(stays);
        let wanted = keys.first().map_or(Wanted::Gone, |key| goal.of(key));
        seen.extend(keys);
        if is_good {
            continue;
        }
        check_keys(entry)?;
        check_value(entry)?;
        if let Some(why) = there.more_than_an_entry(search) {
            let why = format!(
                "{}: it is not for this map alone to change, since {why}: ldapmodify(1)",
                entry.dn
            );
            return Err(Fault::new(SysExit::Config, why));
        }
        match wanted {
            Wanted::Value(value) => changed.push(Change::Replace {
                dn: entry.dn.clone(),
                attribute: attribute.to_owned(),
                value: value.to_vec(),
            }),
            Wanted::Gone | Wanted::AsItIs => gone.push(Change::Delete {
                dn: entry.dn.clone(),
            }),
        }
    }
    for (key, value) in goal.keys().filter(|(key, _)| !seen.contains(*key)) {
        let shown = String::from_utf8_lossy(key);
        let (dn, mut attributes) = own.entry(&shown).map_err(|why| bad(key, &why))?;
        let value = [value.clone()].into();
        attributes.push((attribute.as_bytes().to_vec(), value));
        come.push(Change::Add { dn, attributes });
    }
    gone.append(&mut changed);
    gone.append(&mut come);
    Ok(gone)
}

/// Whether a directory can hold these entries.
///
/// # Errors
/// It can't, with the key.
pub(super) fn check(entries: &Entries) -> Result<(), Fault> {
    let mut all: BTreeMap<String, &Vec<u8>> = BTreeMap::new();
    for (key, value) in entries {
        let text = str::from_utf8(key).map_err(|_| bad(key, "the key is no UTF-8"))?;
        if text.contains('\0') || value.contains(&0) {
            return Err(bad(
                key,
                "a key and a value in a directory are texts without NUL",
            ));
        }
        if str::from_utf8(value).is_err() {
            return Err(bad(key, "the value is no UTF-8"));
        }
        if value.is_empty() || compared(text).is_empty() {
            return Err(bad(key, "a directory has no empty keys and values"));
        }
        if let Some(other) = all.insert(compared(text), key) {
            let other = String::from_utf8_lossy(other);
            let why = format!("for a directory the key {other} is the same");
            return Err(bad(key, &why));
        }
    }
    Ok(())
}

fn bad(key: &[u8], why: &str) -> Fault {
    let key = String::from_utf8_lossy(key);
    Fault::new(SysExit::DataErr, format!("key {key}: {why}"))
}
