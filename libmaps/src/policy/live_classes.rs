//! The site with its classes as they are now: words of shared maps, live.
//!
//! A class is held in memory, so a new generation of its map makes a new
//! [`Site`]. Each class has the newest words that could be read, whatever
//! becomes of the others: a map that is missing or broken leaves its class as it
//! was, beginning with the words that the site was loaded with.

use std::fmt;
use std::path::Path;
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
    /// One filling at a time; who comes meanwhile takes the site as it was.
    maps: Mutex<Vec<LiveClass>>,
}

/// What became of a class's map; said once, not at each look.
#[derive(Clone, Copy, Debug)]
pub enum ClassNews<'a> {
    /// It can't be read, and the class keeps its words.
    Kept {
        /// The class as sendmail knows it.
        class: &'a str,
        /// Why.
        error: &'a StoreError,
    },
    /// It can be read again.
    Readable {
        /// The class as sendmail knows it.
        class: &'a str,
        /// The map, of which a class may have several.
        map: &'a Path,
    },
}

impl fmt::Display for ClassNews<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClassNews::Kept { class, error } => write!(f, "class {class} kept as it was: {error}"),
            ClassNews::Readable { class, map } => {
                write!(f, "class {class}: {} readable again", map.display())
            }
        }
    }
}

/// The words of a map; the map keeps its file open, so that no other has its inode.
struct Held {
    words: Arc<Words>,
    _map: Box<dyn Map>,
}

struct LiveClass {
    map: ClassMap,
    /// `None` until it could be opened.
    live: Option<Live<Held>>,
    /// The last error that was reported.
    said: Option<String>,
}

impl LiveClasses {
    /// The classes of a site that was loaded with their words.
    #[must_use]
    pub fn of(site: &Arc<Site>) -> Self {
        let maps = site.shared_classes.maps().cloned();
        let maps = maps.map(|map| LiveClass {
            map,
            live: None,
            said: None,
        });
        LiveClasses {
            site: RwLock::new(Arc::clone(site)),
            maps: Mutex::new(maps.collect()),
        }
    }

    /// The site of this moment. A map that can't be read keeps its words; that, and that it can
    /// be read again, is told to `report` once.
    pub fn site(&self, mut report: impl FnMut(ClassNews<'_>)) -> Arc<Site> {
        match self.maps.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            Ok(mut maps) => self.fill(&mut maps, &mut report),
            Err(TryLockError::Poisoned(maps)) => self.fill(&mut maps.into_inner(), &mut report),
        }
        self.current()
    }

    fn current(&self) -> Arc<Site> {
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fill(&self, maps: &mut [LiveClass], report: &mut dyn FnMut(ClassNews<'_>)) {
        if maps.is_empty() {
            return;
        }
        let current = self.current();
        let mut is_new = false;
        let mut words = Vec::with_capacity(maps.len());
        for (class, known) in maps.iter_mut().zip(current.shared_classes.words()) {
            let fresh = class.refresh(&current, known);
            is_new |= matches!(fresh, Ok(Fresh::New));
            class.tell(&fresh, report);
            words.push(class.words().or_else(|| known.cloned()));
        }
        if !is_new {
            return;
        }
        let mut site = Site::clone(&current);
        site.fill_classes(words);
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }
}

/// What a look at a map found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fresh {
    /// It is not there, never was, and need not be.
    Absent,
    /// The words are as before.
    Same,
    /// There are other words than before.
    New,
}

impl Fresh {
    /// What a map that was read brings to a class with these words.
    fn than(known: Option<&Arc<Words>>, read: &Arc<Words>) -> Self {
        match known == Some(read) {
            true => Fresh::Same,
            false => Fresh::New,
        }
    }
}

impl LiveClass {
    /// Looks for a newer map; `known` are the words that the class has from this one.
    fn refresh(&mut self, site: &Site, known: Option<&Arc<Words>>) -> Result<Fresh, StoreError> {
        if let Some(live) = &self.live {
            return match live.refresh() {
                Refresh::Unchanged => Ok(Fresh::Same),
                Refresh::Reloaded => Ok(Fresh::than(known, &live.snapshot().words)),
                Refresh::KeptOld(error) => Err(error),
            };
        }
        let opened = self.map.replica(site).and_then(|path| {
            Live::open(path, |path| {
                let (_map, words) = class_map::read(path)?;
                let words = Arc::new(words);
                Ok(Held { words, _map })
            })
        });
        match opened {
            Ok(opened) => {
                let fresh = Fresh::than(known, &opened.snapshot().words);
                self.live = Some(opened);
                Ok(fresh)
            }
            // One that had words is not empty because its file is gone.
            Err(StoreError::Missing { .. }) if self.map.map.optional && known.is_none() => {
                Ok(Fresh::Absent)
            }
            Err(error) => Err(error),
        }
    }

    /// Says what is not as it was at the last look.
    fn tell(&mut self, fresh: &Result<Fresh, StoreError>, report: &mut dyn FnMut(ClassNews<'_>)) {
        let text = fresh.as_ref().err().map(ToString::to_string);
        if self.said == text {
            return;
        }
        self.said = text;
        let class = &self.map.class;
        match fresh {
            Err(error) => report(ClassNews::Kept { class, error }),
            Ok(Fresh::Same | Fresh::New) => {
                let map = &self.map.map.path;
                report(ClassNews::Readable { class, map });
            }
            Ok(Fresh::Absent) => {}
        }
    }

    fn words(&self) -> Option<Arc<Words>> {
        let live = self.live.as_ref()?;
        Some(Arc::clone(&live.snapshot().words))
    }
}

#[cfg(test)]
#[path = "live_classes_tests.rs"]
mod tests;
