//! The site with its classes as they are now: words of shared maps, live.
//!
//! A class is held in memory, so a new generation of its map makes a new
//! [`Site`]. A map that is missing or broken leaves the class as it was.

use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use crate::live::{Live, Refresh};
use crate::map::{Map, StoreError};
use crate::site::class_map;
use crate::site::model::Site;
use crate::site::model::shared_class::{ClassMap, Words};

/// A site whose classes follow their shared maps.
pub struct LiveClasses {
    /// The site of this moment.
    site: RwLock<Arc<Site>>,
    maps: Vec<LiveClass>,
    /// One filling at a time; who comes meanwhile takes the site as it was.
    filling: Mutex<()>,
}

/// The words of a map; the map keeps its file open, so that no other has its inode.
struct Held {
    words: Words,
    _map: Box<dyn Map>,
}

struct LiveClass {
    map: ClassMap,
    /// `None` until it could be opened.
    live: Mutex<Option<Arc<Live<Held>>>>,
}

impl LiveClasses {
    /// The classes of a site that was loaded with their words.
    #[must_use]
    pub fn of(site: &Arc<Site>) -> Self {
        let maps = site.shared_classes.maps().cloned();
        let maps = maps.map(|map| LiveClass {
            map,
            live: Mutex::new(None),
        });
        LiveClasses {
            site: RwLock::new(Arc::clone(site)),
            maps: maps.collect(),
            filling: Mutex::new(()),
        }
    }

    /// The site of this moment. A map that can't be read keeps its words, and is handed to
    /// `report`.
    pub fn site(&self, mut report: impl FnMut(&StoreError)) -> Arc<Site> {
        if !self.maps.is_empty() {
            match self.filling.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                _one => self.fill(&mut report),
            }
        }
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fill(&self, report: &mut dyn FnMut(&StoreError)) {
        let current = Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner));
        let mut is_new = false;
        for class in &self.maps {
            match class.refresh(&current) {
                Ok(Fresh::New) => is_new = true,
                Ok(Fresh::Same) => {}
                Err(error) => report(&error),
            }
        }
        if !is_new {
            return;
        }
        let held: Vec<_> = self.maps.iter().map(LiveClass::held).collect();
        // Without the words of one the others can't be told from its own: all stays.
        let is_whole =
            |(class, held): (&LiveClass, &Option<_>)| held.is_some() || class.map.map.optional;
        if !self.maps.iter().zip(&held).all(is_whole) {
            return;
        }
        let none = Words::new();
        let words = held.iter().map(|held| match held {
            Some(held) => &held.words,
            None => &none,
        });
        let mut site = Site::clone(&current);
        site.fill_classes(words);
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }
}

/// Whether there are other words than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fresh {
    Same,
    New,
}

impl LiveClass {
    fn refresh(&self, site: &Site) -> Result<Fresh, StoreError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live.as_ref() {
            return match live.refresh() {
                Refresh::Unchanged => Ok(Fresh::Same),
                Refresh::Reloaded => Ok(Fresh::New),
                Refresh::KeptOld(error) => Err(error),
            };
        }
        let opened = self.map.replica(site).and_then(|path| {
            Live::open(path, |path| {
                class_map::read(path).map(|(_map, words)| Held { words, _map })
            })
        });
        match opened {
            Ok(opened) => {
                *live = Some(Arc::new(opened));
                Ok(Fresh::New)
            }
            Err(StoreError::Missing { .. }) if self.map.map.optional => Ok(Fresh::Same),
            Err(error) => Err(error),
        }
    }

    fn held(&self) -> Option<Arc<Held>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().map(|live| live.snapshot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Entry, MapClass};
    use crate::site::load;
    use crate::store::publish::{Options, Publisher};
    use std::fs;
    use std::path::Path;

    const MC: &str = "OSTYPE(`linux')dnl\n\
        define(`confDOMAIN_NAME', `mail.example.test')dnl\n\
        define(`confLDAP_DEFAULT_SPEC', `-h localhost -b dc=x')dnl\n\
        VIRTUSER_DOMAIN_FILE(`@LDAP')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n";

    fn publish(replica: &Path, words: &[&str]) {
        let options = Options::new(MapClass::Hash, "test");
        let mut publisher = Publisher::create(replica, options).unwrap();
        for word in words {
            publisher.put(Entry::new(*word, *word)).unwrap();
        }
        publisher.publish().unwrap();
    }

    #[test]
    fn a_class_follows_its_map_and_keeps_its_words_without_it() {
        let root = tempfile::tempdir().unwrap();
        let mail = root.path().join("etc/mail");
        fs::create_dir_all(&mail).unwrap();
        fs::write(mail.join("sendmail.mc"), MC).unwrap();
        let load = || load(Some(root.path()), None).unwrap();
        let errors: Vec<String> = load().errors().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0]
                .contains("sendmail.mc:4: error: class VirtHost: its words were never fetched")
                && errors[0].contains("mapctl follow --once"),
            "{errors:?}"
        );
        fs::write(
            mail.join("class-VirtHost.ldap"),
            "host localhost\nbase dc=x\n",
        )
        .unwrap();
        let replica = mail.join("class-VirtHost.ldap.db");
        publish(&replica, &["shop.example"]);
        let loaded = load();
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        // What may have a virtual user may be relayed to.
        let has = |site: &Site, word: &[u8]| {
            let classes = &site.classes;
            let both = [&classes.virtual_hosts, &classes.relay_domains];
            assert_eq!(both[0].contains(word), both[1].contains(word));
            both[0].contains(word)
        };
        assert!(has(&loaded.site, b"shop.example"));
        let live = LiveClasses::of(&Arc::new(loaded.site));
        let now = || live.site(|error| panic!("{error}"));
        assert!(has(&now(), b"shop.example"));
        assert!(Arc::ptr_eq(&now(), &now()));
        publish(&replica, &["store.example"]);
        assert!(has(&now(), b"store.example") && !has(&now(), b"shop.example"));
        fs::remove_file(&replica).unwrap();
        let mut told = 0;
        assert!(has(&live.site(|_| told += 1), b"store.example"));
        assert_eq!(told, 1);
        fs::write(&replica, "nonsense").unwrap();
        assert!(has(&live.site(|_| told += 1), b"store.example"));
        assert_eq!(told, 2);
    }
}
