//! The connections of clients, counted for all hosts.
//!
//! ```text
//! {mailmaps:throttle}:hosts              host to the time until which its word counts, in milliseconds
//! {mailmaps:throttle}:rate:60:192.0.2.1  box to the connections that began in it
//! {mailmaps:throttle}:open:192.0.2.1     host to the connections that are open there
//! ```
//!
//! As in sendmail (ratectrl.c), a window has six boxes, and those count whose time is within the
//! last six. A host says how many are open there, and that it is alive; of a host that has not
//! said so for a while nothing counts any more. All this is one script, for many clients at a
//! time, so one round trip; all keys have one hash tag, so one node of a cluster.
//!
//! What is said while a connection is being lost may have come or not, and what ends while there
//! is none is never said. So each connection has a name of its own for its host, `NAME#LOT`, and
//! takes those of the host's earlier ones from the living: nothing that they said counts any more.

use std::net::IpAddr;
use std::time::Duration;

use libmaps::store::shared::{Connection, Server};
use libmaps::sysexits::SysExit;
use redis::{ConnectionLike, cmd};

use super::lock::millis;
use super::{key, open_within};
use crate::fault::Fault;

/// Boxes of a window: sendmail's CHTSIZE.
const BOXES: u64 = 6;
/// How long a host's word counts.
pub(crate) const LIFE: Duration = Duration::from_secs(30);
/// How long what is open of a client is kept without news.
const KEEP: Duration = Duration::from_secs(86_400);
/// How long the engine may take over an answer, whatever the connection file says: sessions
/// wait for it no longer than that.
const PATIENCE: Duration = Duration::from_secs(1);
/// A command is not said again when its answer was lost: what it counts would count twice. Of a
/// cluster that has changed the next connection learns.
const RETRIES: u32 = 0;

/// What a host's earlier connections said counts no more. KEYS: hosts. ARGV: what it is called.
const FORGET: &str = "
local own = ARGV[1] .. '#'
local hosts = redis.call('HKEYS', KEYS[1])
for i = 1, #hosts do
  if hosts[i] == ARGV[1] or string.sub(hosts[i], 1, #own) == own then
    redis.call('HDEL', KEYS[1], hosts[i])
  end
end
return 0
";

/// KEYS: hosts, then of each client its rate and its open. ARGV: host, life, a box's width, boxes,
/// keep; then of each client how many have come, and how many are open at the host.
const COUNT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local host, life, width, boxes, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local answer = {redis.call('HEXISTS', KEYS[1], host)}
redis.call('HSET', KEYS[1], host, string.format('%.0f', now + life))
redis.call('PEXPIRE', KEYS[1], 2 * life)
local alive, hosts = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #hosts, 2 do
  if tonumber(hosts[i + 1]) >= now then
    alive[hosts[i]] = true
  else
    redis.call('HDEL', KEYS[1], hosts[i])
  end
end
local box = math.floor(now / width)
for i = 2, #KEYS, 2 do
  local come, here = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  if here > 0 then
    redis.call('HSET', KEYS[i + 1], host, here)
    redis.call('PEXPIRE', KEYS[i + 1], keep)
  else
    redis.call('HDEL', KEYS[i + 1], host)
  end
  local rate, open = 0, 0
  if come > 0 then
    redis.call('HINCRBY', KEYS[i], string.format('%.0f', box), come)
    redis.call('PEXPIRE', KEYS[i], width * (boxes + 1))
    local counts = redis.call('HGETALL', KEYS[i])
    for n = 1, #counts, 2 do
      if tonumber(counts[n]) > box - boxes then
        rate = rate + tonumber(counts[n + 1])
      else
        redis.call('HDEL', KEYS[i], counts[n])
      end
    end
    local opens = redis.call('HGETALL', KEYS[i + 1])
    for n = 1, #opens, 2 do
      if alive[opens[n]] then
        open = open + tonumber(opens[n + 1])
      else
        redis.call('HDEL', KEYS[i + 1], opens[n])
      end
    end
  end
  answer[#answer + 1] = rate
  answer[#answer + 1] = open
end
return answer
";

/// What a host says of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// The client.
    pub(crate) client: IpAddr,
    /// How many connections have come.
    pub(crate) come: u32,
    /// How many are open at this host.
    pub(crate) open: u32,
}

/// The counts over all hosts; nothing is counted where nothing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Within the window.
    pub(crate) rate: u32,
    /// Open now.
    pub(crate) open: u32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Told {
    /// The counts of each client, in the order of the words.
    pub(crate) counts: Vec<Counts>,
    /// Whether the engine still knew this host; if not, it knows nothing that is open there.
    pub(crate) known: bool,
}

/// A connection to the engine that counts.
pub(crate) struct Tally {
    connection: Box<dyn ConnectionLike>,
    name: String,
    /// What the host is called by this connection alone.
    host: String,
    window: Duration,
}

impl Tally {
    /// Connects, within a second for each host of the list. `host` is what this one is called
    /// there; of what it said before nothing counts any more.
    pub(crate) fn connect(
        connection: &Connection,
        host: &str,
        window: Duration,
    ) -> Result<Self, Fault> {
        // Only the first in a process is taken; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server {
            timeout: connection.server.timeout.min(PATIENCE),
            ..connection.server.clone()
        };
        let lot = getrandom::u32().map_err(|e| Fault::new(SysExit::OsErr, e.to_string()))?;
        let mut tally = Tally {
            connection: open_within(&server, RETRIES)?,
            name: connection.map.clone(),
            host: format!("{host}#{lot:08x}"),
            window,
        };
        let mut forget = cmd("EVAL");
        forget.arg(FORGET).arg(1).arg(key(&tally.name, "hosts"));
        forget.arg(host).query::<u64>(&mut *tally.connection)?;
        Ok(tally)
    }

    /// Says these words, and that this host is alive.
    pub(crate) fn say(&mut self, words: &[Word]) -> Result<Told, Fault> {
        let window = millis(self.window);
        let seconds = self.window.as_secs();
        let mut keys = vec![key(&self.name, "hosts")];
        for word in words {
            keys.push(key(&self.name, &format!("rate:{seconds}:{}", word.client)));
            keys.push(key(&self.name, &format!("open:{}", word.client)));
        }
        let mut eval = cmd("EVAL");
        eval.arg(COUNT).arg(keys.len()).arg(&keys);
        eval.arg(&self.host).arg(millis(LIFE));
        eval.arg((window / BOXES).max(1))
            .arg(BOXES)
            .arg(millis(KEEP));
        for word in words {
            eval.arg(word.come).arg(word.open);
        }
        let answer: Vec<u64> = eval.query(&mut *self.connection)?;
        let number = |n: &u64| u32::try_from(*n).unwrap_or(u32::MAX);
        let Some((known, counts)) = answer.split_first() else {
            return Err(Fault::new(SysExit::TempFail, "an empty answer"));
        };
        let (pairs, _) = counts.as_chunks::<2>();
        let counts = pairs.iter().map(|[rate, open]| Counts {
            rate: number(rate),
            open: number(open),
        });
        Ok(Told {
            counts: counts.collect(),
            known: *known == 1,
        })
    }

    /// This host's connections count no more.
    pub(crate) fn leave(mut self) -> Result<(), Fault> {
        let mut remove = cmd("HDEL");
        remove.arg(key(&self.name, "hosts")).arg(&self.host);
        remove.query::<u64>(&mut *self.connection)?;
        Ok(())
    }
}
