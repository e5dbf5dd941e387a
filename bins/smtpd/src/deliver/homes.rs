//! Homes that do not answer.
//!
//! A home may lie on a server that is down, and then whoever looks for a file there hangs in
//! the kernel, where nobody can end him. So it is known whose lookups take long: of such a user
//! nothing more is asked until they are done. Where that concerns several users of one folder
//! the server itself looks for nothing there any more: it asks the agent, whose process can be
//! ended, and asks so few at a time that others can still be asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libmaps::site::users::User;
use tokio::sync::Semaphore;

use super::forward_file::Unread;
use super::lanes::Lanes;
use crate::agent;

/// How long a lookup takes.
pub(super) const PATIENCE: Patience = Patience {
    brief: Duration::from_secs(5),
    whole: Duration::from_secs(15),
};
/// Users of one folder whose lookups may take long before the others are only asked for by the
/// agent.
const MOST_OF_FOLDER: usize = 4;
/// Users of all folders.
const MOST: usize = 32;
/// Lookups at one time, and those of one user.
static LOOKUPS: Lanes = Lanes::new(32, 2, 1000);
/// Lookups that only the agent does, at one time.
static ASKING: Semaphore = Semaphore::const_new(8);
/// How long a user whose home did not answer is not asked for again.
const REST: Duration = Duration::from_secs(300);
/// Most users of whom that is remembered.
const MAX_RESTING: usize = 10_000;

static HOMES: Mutex<Homes> = Mutex::new(Homes {
    slow: BTreeMap::new(),
    resting: BTreeMap::new(),
});

/// The times of a lookup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// After this it counts as slow.
    pub(super) brief: Duration,
    /// After this it is no longer waited for.
    pub(super) whole: Duration,
}

/// How a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As is cheapest.
    Look,
    /// By a process that can be ended.
    Ask,
}

struct Homes {
    /// Users whose lookups take long, in which folder, and how many.
    slow: BTreeMap<u32, (PathBuf, usize)>,
    /// Users whose homes did not answer, and until when they are left alone.
    resting: BTreeMap<u32, Instant>,
}

/// Reads something in a user's home, on a thread of its own and in time.
///
/// # Errors
/// What `read` says, and [`Unread::Later`] where the home does not answer.
pub(super) async fn in_time<T: Send + 'static>(
    user: &User,
    patience: Patience,
    read: impl FnOnce(Way) -> Result<T, Unread> + Send + 'static,
) -> Result<T, Unread> {
    let uid = user.uid;
    let silent = || Unread::Later(format!("forward: the home of user {uid} does not answer"));
    let lane = uid.to_string();
    let turn = LOOKUPS.enter(&lane, 1, patience.whole).await;
    let _turn = turn.map_err(|_| silent())?;
    let folder = user.home.parent().unwrap_or(Path::new("/")).to_path_buf();
    let way = homes().way(uid, &folder, Instant::now());
    let way = way.ok_or_else(silent)?;
    let _asking = match way {
        Way::Look => None,
        Way::Ask if agent::running().is_none() => return Err(silent()),
        Way::Ask => {
            let asking = tokio::time::timeout(patience.whole, ASKING.acquire()).await;
            Some(asking.map_err(|_| silent())?)
        }
    };
    let mut reading = tokio::task::spawn_blocking(move || read(way));
    let failed = |error| Unread::Later(format!("forward: {error}"));
    if let Ok(read) = tokio::time::timeout(patience.brief, &mut reading).await {
        return read.map_err(failed)?;
    }
    homes().begin(uid, folder);
    let left = patience.whole.saturating_sub(patience.brief);
    match tokio::time::timeout(left, &mut reading).await {
        Ok(read) => {
            homes().end(uid);
            read.map_err(failed)?
        }
        Err(_) => {
            homes().rest(uid, Instant::now());
            tokio::spawn(async move {
                let _ = reading.await;
                homes().end(uid);
            });
            Err(silent())
        }
    }
}

fn homes() -> MutexGuard<'static, Homes> {
    HOMES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Homes {
    /// How a user's home is asked, if it is.
    fn way(&mut self, uid: u32, folder: &Path, now: Instant) -> Option<Way> {
        if self.slow.contains_key(&uid) {
            return None;
        }
        if self.resting.get(&uid).is_some_and(|until| *until > now) {
            return None;
        }
        let of_folder = self.slow.values().filter(|(at, _)| at == folder);
        match of_folder.count() >= MOST_OF_FOLDER || self.slow.len() >= MOST {
            true => Some(Way::Ask),
            false => Some(Way::Look),
        }
    }

    fn begin(&mut self, uid: u32, folder: PathBuf) {
        let (_, lookups) = self.slow.entry(uid).or_insert((folder, 0));
        *lookups += 1;
    }

    fn end(&mut self, uid: u32) {
        if let Some((_, lookups)) = self.slow.get_mut(&uid) {
            *lookups -= 1;
            if *lookups == 0 {
                self.slow.remove(&uid);
            }
        }
    }

    fn rest(&mut self, uid: u32, now: Instant) {
        if self.resting.len() >= MAX_RESTING {
            self.resting.retain(|_, until| *until > now);
        }
        if self.resting.len() < MAX_RESTING {
            self.resting.insert(uid, now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, home: &str) -> User {
        User {
            name: "bob".into(),
            uid,
            gid: uid,
            gecos: String::new(),
            home: home.into(),
            shell: "/bin/sh".into(),
        }
    }

    #[tokio::test]
    async fn a_home_that_hangs_holds_one_thread_and_no_more() {
        let (answer, answered) = std::sync::mpsc::channel::<()>();
        let hang = move |_| {
            let _ = answered.recv();
            Ok(1)
        };
        let bob = user(4_000_000_001, "/homes/of/test/bob");
        let short = Patience {
            brief: Duration::from_millis(5),
            whole: Duration::from_millis(20),
        };
        let read = in_time(&bob, short, hang).await;
        assert!(matches!(read, Err(Unread::Later(_))));
        let never: fn(Way) -> Result<i32, Unread> = |_| panic!("a second thread");
        let again = in_time(&bob, PATIENCE, never).await;
        assert!(matches!(again, Err(Unread::Later(_))));
        let ann = user(4_000_000_002, "/homes/of/test/ann");
        let other = in_time(&ann, PATIENCE, |way| Ok((way, 2))).await;
        assert_eq!(other.unwrap(), (Way::Look, 2));
        answer.send(()).unwrap();
        while homes().slow.contains_key(&bob.uid) {
            tokio::task::yield_now().await;
        }
        // Whatever it was, it is left alone for a while.
        let again = in_time(&bob, PATIENCE, never).await;
        assert!(matches!(again, Err(Unread::Later(_))));
        homes().resting.remove(&bob.uid);
        assert_eq!(in_time(&bob, PATIENCE, |_| Ok(3)).await.unwrap(), 3);
    }

    #[test]
    fn where_several_hang_others_are_asked_for_by_a_process_that_can_be_ended() {
        let now = Instant::now();
        let mut homes = Homes {
            slow: BTreeMap::new(),
            resting: BTreeMap::new(),
        };
        let (nfs, local) = (Path::new("/nfs"), Path::new("/home"));
        // One user is one, however many lookups of his hang.
        for _ in 0..10 {
            homes.begin(1, nfs.into());
        }
        assert_eq!(homes.way(2, nfs, now), Some(Way::Look));
        for uid in 2..=4 {
            homes.begin(uid, nfs.into());
        }
        assert_eq!(homes.way(4, nfs, now), None);
        assert_eq!(homes.way(5, nfs, now), Some(Way::Ask));
        assert_eq!(homes.way(6, local, now), Some(Way::Look));
        for uid in 100..200 {
            homes.begin(uid, format!("/nfs{uid}").into());
        }
        assert_eq!(homes.way(6, local, now), Some(Way::Ask));
        for uid in 100..200 {
            homes.end(uid);
        }
        homes.end(4);
        homes.rest(4, now);
        assert_eq!(homes.way(4, nfs, now), None);
        assert_eq!(homes.way(5, nfs, now), Some(Way::Look));
        assert_eq!(homes.way(4, nfs, now + REST), Some(Way::Look));
        for uid in 1000..30_000 {
            homes.rest(uid, now);
        }
        assert!(homes.resting.len() <= MAX_RESTING);
    }
}
