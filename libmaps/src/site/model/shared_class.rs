//! Classes whose words are in maps that hosts share (`F{R}@LDAP`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Classes, MapSpec, Site};
use crate::map::StoreError;
use crate::site::diagnostic::Place;
use crate::store::path::with_suffix;
use crate::store::shared::Connection;

/// The words of a map, as they stand there.
pub type Words = Vec<Box<[u8]>>;

/// A shared map whose LHS are words of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMap {
    /// The class as sendmail knows it: `w`, `VirtHost`.
    pub class: String,
    /// The map.
    pub map: MapSpec,
    /// Where the configuration says so.
    pub place: Place,
}

/// The shared maps of a site's classes, and what those are without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedClasses {
    steps: Vec<Step>,
    /// The classes without the words of the maps.
    own: Classes,
}

/// How shared words come into classes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// From a map; no words until it could be read.
    Map(ClassMap, Option<Arc<Words>>),
    /// From another class that has some (`C{R}$={VirtHost}`).
    Copy { from: String, to: String },
}

impl ClassMap {
    /// The map's connection file.
    #[must_use]
    pub fn connection_file(&self, site: &Site) -> PathBuf {
        site.below(&with_suffix(self.map.path.as_os_str(), ".ldap"))
    }

    /// The file that is read.
    ///
    /// # Errors
    /// When the connection file can't be read.
    pub fn replica(&self, site: &Site) -> Result<PathBuf, StoreError> {
        Connection::readable(&self.connection_file(site), site.root.as_deref())
    }
}

impl SharedClasses {
    /// The maps, in the order of the configuration.
    pub fn maps(&self) -> impl Iterator<Item = &ClassMap> {
        self.steps.iter().filter_map(|step| match step {
            Step::Map(map, _) => Some(map),
            Step::Copy { .. } => None,
        })
    }

    /// The words that the classes were last filled with, for each of [`SharedClasses::maps`].
    pub fn words(&self) -> impl Iterator<Item = Option<&Arc<Words>>> {
        self.steps.iter().filter_map(|step| match step {
            Step::Map(_, words) => Some(words.as_ref()),
            Step::Copy { .. } => None,
        })
    }

    /// Whether no class has words from a shared map.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a map.
    pub(crate) fn add(&mut self, map: ClassMap) {
        self.steps.push(Step::Map(map, None));
    }

    /// Notes that a class takes the words of another, if those are shared.
    pub(crate) fn copy(&mut self, from: &str, to: &str) {
        let is_shared = self.steps.iter().any(|step| match step {
            Step::Map(map, _) => map.class == from,
            Step::Copy { to, .. } => to == from,
        });
        if is_shared {
            let (from, to) = (from.to_owned(), to.to_owned());
            self.steps.push(Step::Copy { from, to });
        }
    }
}

impl Site {
    /// Notes what the classes are without shared words.
    pub(crate) fn keep_own_classes(&mut self) {
        if !self.shared_classes.is_empty() {
            self.shared_classes.own = self.classes.clone();
        }
    }

    /// Fills the classes anew: with these words, those of each shared map in its order. A map that
    /// could not be read yet has none.
    pub fn fill_classes(&mut self, words: impl IntoIterator<Item = Option<Arc<Words>>>) {
        let mut words = words.into_iter();
        for step in &mut self.shared_classes.steps {
            if let Step::Map(_, held) = step {
                *held = words.next().flatten();
            }
        }
        let mut shared: BTreeMap<&str, Vec<&Words>> = BTreeMap::new();
        for step in &self.shared_classes.steps {
            match step {
                Step::Map(map, words) => {
                    let lists = shared.entry(&map.class).or_default();
                    lists.extend(words.as_deref());
                }
                Step::Copy { from, to } => {
                    let more = shared.get(from.as_str()).cloned().unwrap_or_default();
                    shared.entry(to).or_default().extend(more);
                }
            }
        }
        let mut classes = self.shared_classes.own.clone();
        for (name, lists) in shared {
            if let Some(class) = classes.named_mut(name) {
                class.extend(lists.into_iter().flatten().map(AsRef::as_ref));
            }
        }
        self.classes = classes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn words_go_where_the_configuration_takes_them() {
        let map = |class: &str| ClassMap {
            class: class.into(),
            map: MapSpec::new("ldap", "/m"),
            place: Place::new(Path::new("sendmail.mc"), 1),
        };
        let mut site = Site::default();
        site.classes.local_hosts.insert(b"here.example");
        site.shared_classes.copy("M", "G");
        site.shared_classes.add(map("VirtHost"));
        site.shared_classes.copy("VirtHost", "R");
        site.shared_classes.copy("R", "G");
        site.shared_classes.add(map("w"));
        site.keep_own_classes();
        let list =
            |words: &[&str]| -> Words { words.iter().map(|w| w.as_bytes().into()).collect() };
        for (virtual_hosts, local) in [
            (list(&["Shop.example"]), list(&["mail.example"])),
            // What is gone from a map is gone from all that had it.
            (list(&["store.example"]), list(&[])),
        ] {
            site.fill_classes([&virtual_hosts, &local].map(|words| Some(Arc::new(words.clone()))));
            let lower = |words: &Words| -> Vec<Vec<u8>> {
                words.iter().map(|w| w.to_ascii_lowercase()).collect()
            };
            let classes = &site.classes;
            for class in [
                &classes.virtual_hosts,
                &classes.relay_domains,
                &classes.generics_domains,
            ] {
                assert_eq!(class.sorted(), lower(&virtual_hosts));
            }
            assert!(classes.local_hosts.contains(b"here.example"));
            assert_eq!(classes.local_hosts.len(), 1 + local.len());
            assert!(classes.masquerade_domains.is_empty());
        }
    }
}
