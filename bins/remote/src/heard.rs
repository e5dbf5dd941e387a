//! The maps that an engine told news of, from whoever hears them to whoever follows.
//!
//! Each name stands here once, however often it is told. What is told is anybody's who may tell
//! something: names that no map can have are passed over, and where there are too many, each map
//! may have news.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::fault::Fault;

/// The most names that wait to be taken.
const MAX_NAMES: usize = 1_024;
/// The longest name of a map, mapremote(5).
const MAX_NAME_OCTETS: usize = 64;

/// What was heard and is not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    names: BTreeSet<String>,
    /// Whether there were too many.
    is_full: bool,
    /// Why nothing more will be heard.
    over: Option<Fault>,
}

/// What there is news of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing; the time is over.
    None,
    /// These maps.
    Of(Vec<String>),
    /// Any map.
    OfAny,
}

impl Heard {
    /// There is news of this map.
    pub(crate) fn tell(&self, name: &str) {
        if name.len() > MAX_NAME_OCTETS {
            return;
        }
        let mut waiting = self.lock();
        if waiting.names.len() < MAX_NAMES {
            waiting.names.insert(name.to_owned());
        } else if !waiting.names.contains(name) {
            waiting.is_full = true;
        }
        self.filled.notify_one();
    }

    /// Nothing more will be heard.
    pub(crate) fn end(&self, why: Fault) {
        self.lock().over = Some(why);
        self.filled.notify_one();
    }

    /// Takes what there is, or waits for it, for so long at the most.
    ///
    /// # Errors
    /// Why nothing more will be heard, when all that was heard is taken.
    pub(crate) async fn wait(&self, time: Duration) -> Result<News, Fault> {
        let end = Instant::now() + time;
        loop {
            if let Some(news) = self.take()? {
                return Ok(news);
            }
            if timeout_at(end, self.filled.notified()).await.is_err() {
                return Ok(self.take()?.unwrap_or(News::None));
            }
        }
    }

    fn take(&self) -> Result<Option<News>, Fault> {
        let mut waiting = self.lock();
        let names = std::mem::take(&mut waiting.names);
        if std::mem::take(&mut waiting.is_full) {
            return Ok(Some(News::OfAny));
        }
        match (names.is_empty(), &waiting.over) {
            (false, _) => Ok(Some(News::Of(names.into_iter().collect()))),
            (true, Some(why)) => Err(why.clone()),
            (true, None) => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(heard: &Heard) -> Result<News, Fault> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(heard.wait(Duration::ZERO))
    }

    fn of(names: &[&str]) -> Result<News, Fault> {
        Ok(News::Of(names.iter().map(|n| (*n).to_owned()).collect()))
    }

    #[test]
    fn each_name_is_told_once_and_none_is_hidden() {
        let heard = Heard::default();
        assert_eq!(take(&heard), Ok(News::None));
        for _ in 0..2 * MAX_NAMES {
            heard.tell("m");
        }
        heard.tell("other");
        heard.tell(&"x".repeat(MAX_NAME_OCTETS + 1));
        assert_eq!(take(&heard), of(&["m", "other"]));
        assert_eq!(take(&heard), Ok(News::None));
    }

    #[test]
    fn too_many_names_are_news_of_any() {
        let heard = Heard::default();
        for n in 0..MAX_NAMES {
            heard.tell(&n.to_string());
        }
        heard.tell("7");
        assert!(matches!(take(&heard), Ok(News::Of(names)) if names.len() == MAX_NAMES));
        for n in 0..=MAX_NAMES {
            heard.tell(&n.to_string());
        }
        assert_eq!(take(&heard), Ok(News::OfAny));
        assert_eq!(take(&heard), Ok(News::None));
    }

    #[test]
    fn the_end_is_told_after_all_news() {
        let heard = Heard::default();
        let why = Fault::damaged("gone");
        heard.tell("m");
        heard.end(why.clone());
        assert_eq!(take(&heard), of(&["m"]));
        for _ in 0..2 {
            assert_eq!(take(&heard), Err(why.clone()));
        }
    }
}
