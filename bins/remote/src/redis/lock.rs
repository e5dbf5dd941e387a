//! The right to write a map: a key that its holder renews.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libmaps::store::shared::Server;
use libmaps::sysexits::SysExit;
use redis::{ConnectionLike, cmd};

use super::open;
use crate::fault::{Fault, HELD};

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the lock of a writer that is gone stays.
const LIFE: Duration = Duration::from_secs(20);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

const RENEW: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0";
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// The lock; dropped, it is free. That it is still ours is checked by whoever changes something.
pub(super) struct Lock {
    token: String,
    over: Arc<AtomicBool>,
    renewing: Option<thread::JoinHandle<()>>,
}

impl Lock {
    /// As [`Lock::within`], for as long as a writer waits.
    ///
    /// # Errors
    /// Another writer holds the map for longer, or the server does not answer.
    pub(super) fn wait(server: &Server, key: &str) -> Result<Self, Fault> {
        let lock = Self::within(server, key, PATIENCE)?;
        lock.ok_or_else(|| Fault::new(SysExit::TempFail, HELD))
    }

    /// Waits for the lock, for so long at the most, and renews it from then on, on a connection of
    /// its own. `None` if another writer holds it still.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) fn within(
        server: &Server,
        key: &str,
        patience: Duration,
    ) -> Result<Option<Self>, Fault> {
        let mut connection = open(server)?;
        let lot = getrandom::u64().map_err(|e| Fault::new(SysExit::OsErr, e.to_string()))?;
        let token = format!("{lot:016x}");
        let until = Instant::now() + patience;
        loop {
            let mut set = cmd("SET");
            set.arg(key)
                .arg(&token)
                .arg("NX")
                .arg("PX")
                .arg(millis(LIFE));
            let got: Option<String> = set.query(&mut *connection)?;
            if got.is_some() {
                break;
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
        let over = Arc::new(AtomicBool::new(false));
        let (key, told, lock) = (key.to_owned(), Arc::clone(&over), token.clone());
        let server = server.clone();
        let renewing = thread::Builder::new()
            .name("lock".into())
            .spawn(move || renew(&server, &key, &lock, &told))?;
        Ok(Some(Lock {
            token,
            over,
            renewing: Some(renewing),
        }))
    }

    /// What stands in the key while the lock is ours.
    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Renews the lock until it is over, then gives it up.
fn renew(server: &Server, key: &str, token: &str, over: &AtomicBool) {
    let mut connection: Option<Box<dyn ConnectionLike>> = open(server).ok();
    loop {
        thread::park_timeout(RENEWAL);
        let is_over = over.load(Ordering::Relaxed);
        let mut eval = cmd("EVAL");
        eval.arg(if is_over { RELEASE } else { RENEW });
        eval.arg(1).arg(key).arg(token).arg(millis(LIFE));
        let done = match &mut connection {
            Some(connection) => eval.query::<u64>(&mut **connection).is_ok(),
            None => false,
        };
        if is_over {
            return;
        }
        if !done {
            connection = open(server).ok();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(renewing) = self.renewing.take() {
            renewing.thread().unpark();
            let _ = renewing.join();
        }
    }
}
