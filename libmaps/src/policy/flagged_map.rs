//! A map asked as its site's flags say: `-N`, `-O`, `-f`, `-a`, `-m`.
//!
//! Most maps have no such flag, and no key in them ends in NUL. That is found out once, when the
//! map is opened, and such a map is asked directly; only the others stand behind a [`FlaggedMap`].

use std::sync::Arc;

use crate::map::{Entries, Entry, KeyCase, Map, MapName, StoreError};
use crate::rhs::Rhs;
use crate::site::model::{MapCase, MapSpec, NulSuffix};
use crate::store::Opened;

/// The entry that newaliases adds to each alias map: all other keys end as it does.
const NEWALIASES_KEY: &[u8] = b"@\0";

/// What a site's flags change about asking a map.
#[derive(Clone, Debug)]
pub(super) struct MapFlags {
    nul: NulSuffix,
    case: KeyCase,
    asked: MapCase,
    answer: Answer,
    append: Box<[u8]>,
}

/// What is answered for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Its RHS.
    Rhs,
    /// `-m`: the LHS as it was asked for.
    Lhs,
}

/// How the keys of a map end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// As they were written.
    Bare,
    /// All of them in NUL.
    Nul,
    /// Some of them in NUL.
    Either,
}

impl MapFlags {
    pub(super) fn of(spec: &MapSpec) -> Self {
        MapFlags {
            nul: spec.nul,
            case: spec.key_case(),
            asked: spec.case,
            answer: match spec.match_only {
                true => Answer::Lhs,
                false => Answer::Rhs,
            },
            append: spec.append.clone().unwrap_or_default().into_bytes().into(),
        }
    }

    /// The map in a file.
    pub(super) fn over_file(&self, opened: Opened) -> Arc<dyn Map> {
        let mut flags = self.clone();
        if self.asked == MapCase::AsBuilt {
            flags.case = opened.key_case();
        }
        let says_nul = opened.says("-N");
        let map = Arc::from(opened.into_map());
        let ending = match self.nul {
            NulSuffix::Always => Ending::Nul,
            NulSuffix::Never => Ending::Bare,
            NulSuffix::AsFound => ending_of(&map, says_nul),
        };
        flags.over(map, ending)
    }

    /// A map whose keys end in no NUL: one behind a socket, or a text that was read as it stands.
    pub(super) fn over_bare(&self, map: Arc<dyn Map>) -> Arc<dyn Map> {
        self.over(map, Ending::Bare)
    }

    fn over(&self, map: Arc<dyn Map>, ending: Ending) -> Arc<dyn Map> {
        let plain = ending == Ending::Bare
            && self.case == KeyCase::Folded
            && self.answer == Answer::Rhs
            && self.append.is_empty();
        if plain {
            return map;
        }
        Arc::new(FlaggedMap {
            map,
            ending,
            flags: self.clone(),
        })
    }
}

/// How the keys of a map end, by what its builder said and by the first of them.
///
/// sendmail asks for both endings until one of them has an answer, and from then on for that
/// one alone. What it finds so depends on what is asked first; here a map with keys of both kinds
/// is asked for both.
fn ending_of(map: &Arc<dyn Map>, says_nul: bool) -> Ending {
    let first_has_nul = match map.iter().next() {
        None => return Ending::Bare,
        Some(Ok(entry)) => entry.lhs.as_bytes().ends_with(b"\0"),
        // What can be read of it shall be found.
        Some(Err(_)) => true,
    };
    match (says_nul, first_has_nul) {
        (false, false) => Ending::Bare,
        _ if matches!(map.get(NEWALIASES_KEY), Ok(Some(_))) => Ending::Nul,
        _ => Ending::Either,
    }
}

/// See the head of this file.
struct FlaggedMap {
    map: Arc<dyn Map>,
    ending: Ending,
    flags: MapFlags,
}

impl FlaggedMap {
    /// Asks for the key with the endings that the map's keys have.
    fn find<T>(
        &self,
        lhs: &[u8],
        ask: impl Fn(&[u8]) -> Result<T, StoreError>,
        found: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let folded;
        let key = match (self.flags.case, self.flags.answer) {
            // Nobody has folded it yet: the answer is the key as it was.
            (KeyCase::Folded, Answer::Lhs) => {
                folded = lhs.to_ascii_lowercase();
                &folded
            }
            _ => lhs,
        };
        if self.ending == Ending::Bare {
            return ask(key);
        }
        let with_nul = ask(&[key, b"\0"].concat())?;
        match self.ending == Ending::Nul || found(&with_nul) {
            true => Ok(with_nul),
            false => ask(key),
        }
    }

    /// What is answered for an entry with this RHS.
    fn answer(&self, lhs: &[u8], rhs: Rhs) -> Rhs {
        let text = match self.flags.answer {
            Answer::Lhs => lhs,
            Answer::Rhs => rhs.as_bytes(),
        };
        // A value ends at its first NUL, as a C string does.
        let text = text.split(|octet| *octet == 0).next().unwrap_or_default();
        if text.len() == rhs.as_bytes().len() && self.flags.append.is_empty() {
            return rhs;
        }
        Rhs::from([text, &self.flags.append].concat())
    }
}

impl Map for FlaggedMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        let found = self.find(lhs, |key| self.map.get(key), Option::is_some)?;
        Ok(found.map(|rhs| self.answer(lhs, rhs)))
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        let found = self.find(lhs, |key| self.map.get_all(key), |all| !all.is_empty())?;
        let answers = found.into_iter().map(|rhs| self.answer(lhs, rhs));
        Ok(answers.collect())
    }

    fn iter(&self) -> Entries<'_> {
        Box::new(self.map.iter().map(|entry| {
            let Entry { lhs, rhs } = entry?;
            let bare = match self.ending {
                Ending::Bare => None,
                Ending::Nul | Ending::Either => lhs.as_bytes().strip_suffix(b"\0"),
            };
            let lhs = bare.map(Into::into).unwrap_or(lhs);
            let rhs = self.answer(lhs.as_bytes(), rhs);
            Ok(Entry { lhs, rhs })
        }))
    }

    fn name(&self) -> &MapName {
        self.map.name()
    }

    fn key_case(&self) -> KeyCase {
        match self.flags.answer {
            Answer::Lhs => KeyCase::AsGiven,
            Answer::Rhs => self.flags.case,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Step, Trace, Traced};
    use crate::store::memory::MemoryMap;

    fn flagged(flags: &str, entries: &[(&str, &str)]) -> Traced<Arc<dyn Map>> {
        let spec = MapSpec::parse(&format!("hash {flags} /m")).unwrap();
        let entries = entries.iter().map(|(lhs, rhs)| Entry::new(*lhs, *rhs));
        let map: Arc<dyn Map> = Arc::new(MemoryMap::new("m", entries));
        let ending = match spec.nul {
            NulSuffix::Always => Ending::Nul,
            NulSuffix::Never => Ending::Bare,
            NulSuffix::AsFound => ending_of(&map, false),
        };
        Traced::new(MapFlags::of(&spec).over(map, ending))
    }

    #[test]
    fn flags_say_how_a_key_is_asked_for_and_what_is_answered() {
        const BARE: &[(&str, &str)] = &[("a.example", "x"), ("B.example", "y")];
        const NUL: &[(&str, &str)] = &[("a.example\0", "x\0"), ("b.example\0", "y\0")];
        const BOTH: &[(&str, &str)] = &[("a.example\0", "x\0"), ("b.example", "y")];
        for (flags, entries, asked, want) in [
            ("", BARE, "A.example", Some("x")),
            ("", BARE, "B.example", None),
            ("-f", BARE, "B.example", Some("y")),
            ("-f", BARE, "A.example", None),
            ("", NUL, "A.Example", Some("x")),
            ("", NUL, "c.example", None),
            ("-N", NUL, "b.example", Some("y")),
            ("-N", BARE, "a.example", None),
            ("-O", NUL, "a.example", None),
            ("-O", BARE, "a.example", Some("x")),
            ("", BOTH, "a.example", Some("x")),
            ("", BOTH, "b.example", Some("y")),
            ("-a.ok", BARE, "a.example", Some("x.ok")),
            ("-a.ok", NUL, "a.example", Some("x.ok")),
            ("-m", BARE, "A.Example", Some("A.Example")),
            ("-m -a@here", NUL, "A.Example", Some("A.Example@here")),
            ("-m", BARE, "c.example", None),
            ("-m -f", BARE, "A.Example", None),
        ] {
            let map = flagged(flags, entries);
            let found = map.get(&mut Trace::new(), asked.as_bytes(), Step::Exact);
            let want = want.map(Rhs::from);
            assert_eq!(found.unwrap(), want, "{flags} {asked} in {entries:?}");
        }
    }

    #[test]
    fn a_map_without_flags_is_asked_directly() {
        let map: Arc<dyn Map> = Arc::new(MemoryMap::new("m", [Entry::new("a", "x")]));
        let flags = MapFlags::of(&MapSpec::new("hash", "/m"));
        let ending = ending_of(&map, false);
        let same = flags.over(Arc::clone(&map), ending);
        assert!(Arc::ptr_eq(&map, &same));
    }

    #[test]
    fn capitals_count_as_the_site_says_or_as_the_map_does() {
        use crate::map::MapClass;
        use crate::store::publish::{Options, Publisher};
        use KeyCase::{AsGiven, Folded};
        let plain = MapSpec::new("hash", "/m");
        let flagged = MapSpec::parse("hash -f /m").unwrap();
        // What the map was built with, and in which letters each is asked.
        for (described, want) in [
            ("", [Folded, AsGiven, Folded]),
            ("-d -f", [Folded, AsGiven, AsGiven]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m.db");
            let mut options = Options::new(MapClass::Hash, "test");
            options.described = described.into();
            Publisher::create(&path, options)
                .unwrap()
                .publish()
                .unwrap();
            let specs = [plain.clone(), flagged.clone(), plain.clone().as_built()];
            let got = specs.map(|spec| {
                let name = MapName::new(MapClass::Hash, &path);
                let opened = crate::store::open_any(&path, name).unwrap();
                MapFlags::of(&spec).over_file(opened).key_case()
            });
            assert_eq!(got, want, "{described}");
        }
    }

    #[test]
    fn a_map_of_newaliases_is_asked_once() {
        let map: Arc<dyn Map> = Arc::new(MemoryMap::new(
            "m",
            [Entry::new("@\0", "@\0"), Entry::new("list\0", "joe\0")],
        ));
        assert_eq!(ending_of(&map, false), Ending::Nul);
    }

    #[test]
    fn entries_are_shown_as_they_are_asked_for() {
        let map = flagged("-a!", &[("a\0", "x\0")]);
        let entries: Vec<Entry> = map.map().iter().map(Result::unwrap).collect();
        assert_eq!(entries, [Entry::new("a", "x!")]);
    }
}
