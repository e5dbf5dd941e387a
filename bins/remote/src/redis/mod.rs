//! Redis and Valkey, alone or as a cluster.
//!
//! All keys of a map have one hash tag, so that in a cluster they lie on one
//! node, where a script can change several at once:
//!
//! ```text
//! {mailmaps:access}:head         schema, serial, current, last
//! {mailmaps:access}:generations  number to record, a JSON object
//! {mailmaps:access}:switches     of each switch the marks that the map goes on from, SERIAL:MARK
//! {mailmaps:access}:g:7:MARK:0   the entries of generation 7, frames in pieces of a mebioctet
//! {mailmaps:access}:lock         who writes; it goes by itself when he does not renew it
//! ```
//!
//! Pieces that are being loaded have a time to live until the commit, so that
//! what a dead writer left goes by itself. Their keys have the generation's
//! mark: a server that took the place of another may give a number twice, and
//! no writer touches the pieces of another then. The commit is one script: it
//! checks that the lock is still ours and every piece there, switches, and
//! tells all. A removal is one too, and never takes what is current.

mod lock;
mod news;
mod record;
pub(crate) mod tally;

use std::collections::HashMap;
use std::time::Duration;

use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Origin, Server, Tls};
use libmaps::sysexits::SysExit;
use redis::{
    Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ConnectionLike, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value, cmd,
};

use crate::engine::{
    Amount, Current, Engine, Generation, Generations, Give, Head, Left, MOMENT, REMEMBERED, SCHEMA,
    Switch, Take, removable,
};
use crate::fault::{Fault, chain};
use crate::heard::News;
use lock::Lock;
use news::Subscription;

/// The channel that new generations are told on; what is told is the map's name.
const CHANNEL: &str = "mailmaps";
/// The size of a piece, in octets; an entry is in one piece.
const PIECE_OCTETS: usize = 1 << 20;
/// How long what a dead writer left stays, in seconds.
const LOADING_SECONDS: u64 = 3_600;

/// The switch. KEYS: head, generations, lock, switches, pieces. ARGV: token, number, record or
/// nothing, channel, map, serial, mark, how many switches are remembered, and of what the writer's
/// host has the serial and the mark, if it has anything. A cluster's client says it again when the
/// answer was lost on the way: a switch that is remembered was made.
const SWITCH: &str = "
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
  if redis.call('ZSCORE', KEYS[4], ARGV[6] .. ':' .. ARGV[7]) then
    return 'OK'
  end
  return redis.error_reply('LOCKLOST the lock went to another writer')
end
for i = 5, #KEYS do
  if redis.call('PERSIST', KEYS[i]) == 0 and redis.call('EXISTS', KEYS[i]) == 0 then
    return redis.error_reply('PIECELOST a piece of the generation is gone')
  end
end
if ARGV[3] == '' and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then
  return redis.error_reply('RECORDLOST the generation is gone')
end
if ARGV[3] ~= '' then
  local time = redis.call('TIME')
  local record = cjson.decode(ARGV[3])
  record['committed_ms'] = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(record))
end
local serial = tonumber(redis.call('HGET', KEYS[1], 'serial') or '0') + 1
serial = math.max(serial, tonumber(ARGV[6]))
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
last = math.max(last, tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'current', ARGV[2],
  'serial', string.format('%.0f', serial), 'last', string.format('%.0f', last))
local function remember(serial, mark)
  redis.call('ZADD', KEYS[4], serial, serial .. ':' .. mark)
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', serial - tonumber(ARGV[8])))
remember(string.format('%.0f', serial), ARGV[7])
if ARGV[9] then
  remember(ARGV[9], ARGV[10])
end
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 'OK'
";

/// The removal of a generation. KEYS: head, generations, lock, pieces. ARGV: token, number.
const REMOVE: &str = "
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
  return redis.error_reply('LOCKLOST the lock went to another writer')
end
if redis.call('HGET', KEYS[1], 'current') == ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
for i = 4, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
";

/// A connection to a server or a cluster.
pub struct Redis {
    connection: Box<dyn ConnectionLike>,
    server: Server,
    news: Option<Subscription>,
    lock: Option<Lock>,
    /// How many pieces generations have, by their keys' beginning.
    pieces: HashMap<String, u64>,
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let text = chain(&error);
        let refused = [
            "NOAUTH",
            "WRONGPASS",
            "NOPERM",
            "AuthenticationFailed",
            "READONLY",
            "ReadOnly",
        ];
        let exit = match refused.iter().any(|word| text.contains(word)) {
            true => SysExit::Config,
            false => SysExit::TempFail,
        };
        Fault::new(exit, text)
    }
}

fn key(map: &str, rest: &str) -> String {
    format!("{{mailmaps:{map}}}:{rest}")
}

fn piece_key(map: &str, origin: &Origin, piece: u64) -> String {
    let (number, mark) = (origin.generation, &origin.mark);
    key(map, &format!("g:{number}:{mark}:{piece}"))
}

impl Redis {
    fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Fault> {
        Ok(command.query(&mut *self.connection)?)
    }

    fn head(&mut self, map: &str) -> Result<Option<Head>, Fault> {
        let fields: HashMap<String, String> = self.ask(cmd("HGETALL").arg(key(map, "head")))?;
        if fields.is_empty() {
            return Ok(None);
        }
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
        match number("schema") {
            Some(found) if found == u64::from(SCHEMA.unsigned_abs()) => {}
            found => {
                let found = found.map_or("?".into(), |n| n.to_string());
                let why = format!(
                    "the server holds maps of version {found}; this program knows version {SCHEMA}"
                );
                return Err(Fault::new(SysExit::Config, why));
            }
        }
        let serial = number("serial").unwrap_or(0);
        let current = match number("current") {
            None => Current::Never,
            Some(current) => self.current(map, current, serial)?,
        };
        Ok(Some(Head {
            serial,
            last: number("last").unwrap_or(0),
            current,
        }))
    }

    fn current(&mut self, map: &str, number: u64, serial: u64) -> Result<Current, Fault> {
        let text: Option<String> =
            self.ask(cmd("HGET").arg(key(map, "generations")).arg(number))?;
        let now = self.now()?;
        let gone = || Fault::damaged(format!("generation {number} is current, and is not there"));
        let record = text.ok_or_else(gone);
        let record = record.and_then(|text| self.read_record(map, number, &text, now));
        Ok(Current::of(record, Some(serial)))
    }

    fn read_record(
        &mut self,
        map: &str,
        number: u64,
        text: &str,
        now_ms: u64,
    ) -> Result<Generation, Fault> {
        let (generation, pieces) = record::parse(number, text, now_ms)?;
        self.pieces
            .insert(piece_key(map, &generation.origin, 0), pieces);
        Ok(generation)
    }

    /// The server's clock, in milliseconds.
    fn now(&mut self) -> Result<u64, Fault> {
        let (seconds, micros): (u64, u64) = self.ask(&cmd("TIME"))?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// The keys of a generation's pieces.
    fn pieces_of(&self, map: &str, origin: &Origin) -> Vec<String> {
        let first = piece_key(map, origin, 0);
        let count = self.pieces.get(&first).copied().unwrap_or(0);
        (0..count).map(|at| piece_key(map, origin, at)).collect()
    }

    fn put_piece(&mut self, key: &str, piece: &[u8]) -> Result<(), Fault> {
        let mut set = cmd("SET");
        set.arg(key).arg(piece);
        self.ask(set.arg("EX").arg(LOADING_SECONDS))
    }
}

impl Engine for Redis {
    async fn connect(server: &Server) -> Result<Self, Fault> {
        // Only the first in a process is taken; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Redis {
            connection: open(server)?,
            server: server.clone(),
            news: None,
            lock: None,
            pieces: HashMap::new(),
        })
    }

    async fn listen(&mut self, _maps: &[String]) -> Result<(), Fault> {
        self.news = Some(Subscription::start(&self.server)?);
        Ok(())
    }

    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault> {
        let Some(news) = &mut self.news else {
            tokio::time::sleep(time).await;
            return Ok(None);
        };
        match news.wait(time).await? {
            News::Of(maps) => Ok(Some(maps)),
            News::OfAny => Ok(None),
            News::None => {
                self.ask::<String>(&cmd("PING"))?;
                Ok(None)
            }
        }
    }

    async fn look(&mut self, connection: &Connection) -> Result<Option<Head>, Fault> {
        self.head(&connection.map)
    }

    async fn leave(&mut self) -> Result<(), Fault> {
        self.lock = None;
        Ok(())
    }

    async fn recover(&mut self) -> Result<(), Fault> {
        self.lock = None;
        self.ask::<String>(&cmd("PING")).map(drop)
    }

    async fn stay(&mut self) -> Result<(), Fault> {
        // The lock is renewed by a thread of its own.
        Ok(())
    }

    async fn lock(&mut self, map: &str) -> Result<Head, Fault> {
        self.lock = Some(Lock::wait(&self.server, &key(map, "lock"))?);
        let mut set = cmd("HSETNX");
        set.arg(key(map, "head")).arg("schema").arg(SCHEMA);
        self.ask::<u64>(&set)?;
        // Numbers are given once, so that two writers never load pieces of one number.
        let mut next = cmd("HINCRBY");
        next.arg(key(map, "head")).arg("last").arg(1);
        let last: u64 = self.ask(&next)?;
        let head = self.head(map)?;
        let head = head.ok_or_else(|| Fault::new(SysExit::TempFail, "the map is gone"))?;
        Ok(Head {
            last: last.saturating_sub(1),
            ..head
        })
    }

    async fn generations(&mut self, map: &str) -> Result<Generations, Fault> {
        let records: HashMap<u64, String> =
            self.ask(cmd("HGETALL").arg(key(map, "generations")))?;
        let now = self.now()?;
        let mut numbers: Vec<_> = records.into_iter().collect();
        numbers.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let mut all = Generations::default();
        for (number, text) in numbers {
            all.take(number, self.read_record(map, number, &text, now));
        }
        Ok(all)
    }

    async fn marks(&mut self, map: &str, serial: u64) -> Result<Vec<String>, Fault> {
        let mut range = cmd("ZRANGEBYSCORE");
        range.arg(key(map, "switches")).arg(serial).arg(serial);
        let members: Vec<String> = self.ask(&range)?;
        let mark = |member: &String| Some(member.split_once(':')?.1.to_owned());
        Ok(members.iter().filter_map(mark).collect())
    }

    async fn entries(
        &mut self,
        map: &str,
        generation: &Generation,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let number = generation.origin.generation;
        for (at, key) in self.pieces_of(map, &generation.origin).iter().enumerate() {
            let piece: Option<Vec<u8>> = self.ask(cmd("GET").arg(key))?;
            let gone = || Fault::damaged(format!("generation {number}: piece {at} is gone"));
            let piece = piece.ok_or_else(gone)?;
            let mut rest = piece.as_slice();
            while let Some((frame, behind)) = Frame::split(rest)? {
                take(frame)?;
                rest = behind;
            }
        }
        Ok(())
    }

    async fn load(
        &mut self,
        map: &str,
        generation: &Generation,
        give: &mut Give<'_>,
    ) -> Result<(), Fault> {
        let origin = &generation.origin;
        let (mut piece, mut at) = (Vec::new(), 0);
        while let Some(frame) = give()? {
            if !piece.is_empty() && piece.len() + frame.len() > PIECE_OCTETS {
                self.put_piece(&piece_key(map, origin, at), &piece)?;
                piece.clear();
                at += 1;
            }
            piece.extend_from_slice(&frame);
        }
        if !piece.is_empty() {
            self.put_piece(&piece_key(map, origin, at), &piece)?;
            at += 1;
        }
        self.pieces.insert(piece_key(map, origin, 0), at);
        Ok(())
    }

    async fn commit(
        &mut self,
        map: &str,
        switch: Switch<'_>,
        here: Option<&Origin>,
    ) -> Result<(), Fault> {
        let (generation, text) = match switch {
            Switch::New(new) => {
                let pieces = self.pieces_of(map, &new.origin).len();
                (new, record::text(new, pieces as u64))
            }
            Switch::Back(old) => (old, String::new()),
        };
        let Some(lock) = self.lock.take() else {
            return Err(Fault::new(SysExit::Software, "the map is not locked"));
        };
        let number = generation.origin.generation;
        let parts = ["head", "generations", "lock", "switches"];
        let mut keys: Vec<String> = parts.iter().map(|part| key(map, part)).collect();
        keys.extend(self.pieces_of(map, &generation.origin));
        let mut eval = cmd("EVAL");
        eval.arg(SWITCH).arg(keys.len()).arg(&keys);
        eval.arg(lock.token())
            .arg(number)
            .arg(&text)
            .arg(CHANNEL)
            .arg(map)
            .arg(generation.origin.serial.unwrap_or(0))
            .arg(&generation.origin.mark)
            .arg(REMEMBERED);
        if let Some((serial, here)) = here.and_then(|here| here.serial.zip(Some(here))) {
            eval.arg(serial).arg(&here.mark);
        }
        self.ask::<String>(&eval).map(drop).map_err(|fault| {
            let refused = ["LOCKLOST", "PIECELOST", "RECORDLOST"]
                .iter()
                .any(|w| fault.why.contains(w));
            match refused {
                true => fault,
                false => Fault::new(
                    fault.exit,
                    format!("{}; it may or may not have become current", fault.why),
                ),
            }
        })
    }

    /// All at once: a server frees what is unlinked beside its work.
    async fn remove(&mut self, map: &str, keep: u32, amount: Amount) -> Result<Left, Fault> {
        let lock = key(map, "lock");
        let lock = match amount {
            Amount::All => Lock::wait(&self.server, &lock)?,
            Amount::Little => match Lock::within(&self.server, &lock, MOMENT)? {
                Some(lock) => lock,
                None => return Ok(Left::Nothing),
            },
        };
        let Some(head) = self.head(map)? else {
            return Ok(Left::Nothing);
        };
        let all = self.generations(map).await?;
        let current = head.current.generation().map(|g| g.origin.generation);
        for number in removable(&all, current, keep) {
            let mut keys = vec![key(map, "head"), key(map, "generations"), key(map, "lock")];
            // Of a record that makes no sense nobody knows the pieces; it goes alone.
            let found = all.whole.iter().find(|g| g.origin.generation == number);
            keys.extend(found.map_or(Vec::new(), |g| self.pieces_of(map, &g.origin)));
            let mut eval = cmd("EVAL");
            eval.arg(REMOVE).arg(keys.len()).arg(&keys);
            self.ask::<u64>(eval.arg(lock.token()).arg(number))?;
        }
        drop(lock);
        Ok(Left::Nothing)
    }
}

/// The first host that lets us in, or the cluster that the hosts belong to.
fn open(server: &Server) -> Result<Box<dyn ConnectionLike>, Fault> {
    open_within(server, 8)
}

/// As [`open`]; a command is tried so often again while a cluster changes.
fn open_within(server: &Server, retries: u32) -> Result<Box<dyn ConnectionLike>, Fault> {
    let infos = infos(server)?;
    if server.is_cluster() {
        let mut builder = redis::cluster::ClusterClient::builder(infos)
            .connection_timeout(server.timeout)
            .response_timeout(server.timeout)
            .retries(retries);
        if let Some(user) = &server.user {
            builder = builder.username(user);
        }
        if let Some(password) = password(server)? {
            builder = builder.password(password);
        }
        if server.tls != Tls::Off {
            builder = builder.tls(TlsMode::Secure).certs(certificates(server)?);
        }
        return Ok(Box::new(builder.build()?.get_connection()?));
    }
    Ok(Box::new(single(server)?))
}

/// A connection to one server: the first of the hosts that is a master, else the first that
/// answers, on which nobody can write and a follower can read.
fn single(server: &Server) -> Result<redis::Connection, Fault> {
    let mut last = Fault::new(SysExit::Config, "host: it is missing");
    let mut replica = None;
    for info in infos(server)? {
        let client = match server.tls {
            Tls::Off => Client::open(info),
            Tls::Verify | Tls::StartTls => Client::build_with_tls(info, certificates(server)?),
        };
        let opened = client.and_then(|client| {
            let connection = client.get_connection_with_timeout(server.timeout)?;
            connection.set_read_timeout(Some(server.timeout))?;
            connection.set_write_timeout(Some(server.timeout))?;
            Ok(connection)
        });
        match opened {
            Ok(mut connection) => match is_replica(&mut connection) {
                true => replica = replica.or(Some(connection)),
                false => return Ok(connection),
            },
            Err(error) => last = error.into(),
        }
    }
    replica.ok_or(last)
}

/// Whether the server says that it is the replica of another; one that will not say is taken as
/// it is.
fn is_replica(connection: &mut redis::Connection) -> bool {
    let role: Result<Vec<Value>, _> = cmd("ROLE").query(connection);
    let role = role.ok().and_then(|role| role.into_iter().next());
    let role = role.and_then(|word| redis::from_redis_value::<String>(word).ok());
    role.as_deref() == Some("slave")
}

fn infos(server: &Server) -> Result<Vec<ConnectionInfo>, Fault> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(user) = &server.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password(server)? {
        settings = settings.set_password(password);
    }
    if let Some(database) = &server.database {
        let number = database
            .parse()
            .map_err(|_| Fault::new(SysExit::Config, "database: expected a number"))?;
        settings = settings.set_db(number);
    }
    let info = |(host, port): &(String, u16)| {
        let addr = match (host.starts_with('/'), server.tls) {
            (true, _) => ConnectionAddr::Unix(host.into()),
            (false, Tls::Off) => ConnectionAddr::Tcp(host.clone(), *port),
            (false, Tls::Verify | Tls::StartTls) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        let info = addr.into_connection_info()?;
        Ok(info.set_redis_settings(settings.clone()))
    };
    server.hosts.iter().map(info).collect()
}

fn password(server: &Server) -> Result<Option<String>, Fault> {
    let password = server.password()?;
    let text = password.map(String::from_utf8).transpose();
    text.map_err(|_| Fault::new(SysExit::Config, "password-file: the password is no UTF-8"))
}

fn certificates(server: &Server) -> Result<TlsCertificates, Fault> {
    let read = |path: &std::path::Path| {
        std::fs::read(path)
            .map_err(|e| Fault::new(SysExit::Config, format!("{}: {e}", path.display())))
    };
    let ca_file = server.ca_file.as_deref();
    let ca_file = ca_file.unwrap_or(std::path::Path::new(crate::tls::SYSTEM_CA_FILE));
    let identity = server.identity.as_ref();
    let client_tls = identity.map(|(certificate, key)| {
        Ok::<_, Fault>(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        })
    });
    Ok(TlsCertificates {
        client_tls: client_tls.transpose()?,
        root_cert: Some(read(ca_file)?),
    })
}
