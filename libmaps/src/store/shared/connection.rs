//! Connection files: where a shared map is, and where its replica.
//!
//! ```text
//! # /etc/mail/access.pgsql
//! host           db.example.org
//! user           mail
//! password-file  /etc/mail/pgsql.secret
//! map            access
//! ```
//!
//! A line is a word, white space and a value; `#` begins a comment line. A
//! word that is not known is an error: a setting that is passed over in
//! silence may be the one that kept strangers out. mapremote(5) lists them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::map::{MapClass, StoreError};
use crate::store::open_for_reading;
use crate::store::path::folder_of;
use crate::sysexits::SysExit;

/// The longest file that is read, in octets.
const MAX_OCTETS: u64 = 64 << 10;

/// Words of every class.
const COMMON: &[&str] = &[
    "host",
    "port",
    "user",
    "password-file",
    "tls",
    "ca-file",
    "cert-file",
    "key-file",
    "map",
    "replica",
    "poll",
    "timeout",
];

/// Words of one class.
fn own_words(class: MapClass) -> &'static [&'static str] {
    match class {
        MapClass::Pgsql => &["database", "keep"],
        MapClass::Redis => &["database", "keep", "cluster"],
        MapClass::Ldap => &[
            "base",
            "cluster-name",
            "host-name",
            "kind",
            "filter",
            "empty",
            "key-attribute",
            "value-attribute",
            "transactions",
        ],
        _ => &[],
    }
}

/// How the connection to the server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tls {
    /// Not at all.
    Off,
    /// By TLS from the start, or as the protocol begins it; the server's certificate must be good
    /// for its name.
    Verify,
    /// By LDAP's StartTLS, with the same demands.
    StartTls,
}

/// Whether a server is one, or a cluster of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The hosts are the same server, or one that takes its place.
    Single,
    /// The hosts are nodes of a Redis cluster, which tell of the others.
    Cluster,
}

/// Where the engine is and how to get in. Maps of the same server share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Host names or addresses, or the folder of a Unix socket, each with its port; tried in order.
    pub hosts: Vec<(String, u16)>,
    /// The user, if one is named.
    pub user: Option<String>,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Privacy.
    pub tls: Tls,
    /// The certificates that are trusted, in PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The database's name (PostgreSQL) or number (Redis).
    pub database: Option<String>,
    /// Whether the hosts are nodes of a Redis cluster.
    pub kind: Kind,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// The words of a connection file that one class alone has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(BTreeMap<String, (usize, String)>);

impl Words {
    /// The value of a word.
    #[must_use]
    pub fn get(&self, word: &str) -> Option<&str> {
        self.0.get(word).map(|(_, value)| value.as_str())
    }
}

/// A connection file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The file itself.
    pub file: PathBuf,
    /// Where its absolute paths are taken from.
    pub root: Option<PathBuf>,
    /// The engine.
    pub class: MapClass,
    /// The map's name in the engine.
    pub map: String,
    /// The map on this host that is read.
    pub replica: PathBuf,
    /// Where the engine is.
    pub server: Server,
    /// How many generations the engine keeps, 1 at least.
    pub keep: u32,
    /// How often the engine is asked though it would tell.
    pub poll: Duration,
    /// What else the file says.
    pub words: Words,
}

impl Connection {
    /// Reads the file at `path`, which is where `root` and the administrator put it; absolute
    /// paths in it are taken below `root`, others from its folder.
    ///
    /// # Errors
    /// [`StoreError::Missing`] and the system's; [`StoreError::Engine`] with the line that is wrong.
    pub fn read(class: MapClass, path: &Path, root: Option<&Path>) -> Result<Self, StoreError> {
        let mut text = String::new();
        open_for_reading(path)?
            .take(MAX_OCTETS + 1)
            .read_to_string(&mut text)
            .map_err(|e| StoreError::io(path, "read", e))?;
        if text.len() as u64 > MAX_OCTETS {
            return Err(wrong(path, "longer than 64 KiB".into()));
        }
        Connection::parse(class, path, root, &text)
    }

    /// The file to read for `path`: the replica, where that is a connection file by its name.
    ///
    /// # Errors
    /// As [`Connection::read`].
    pub fn readable(path: &Path, root: Option<&Path>) -> Result<PathBuf, StoreError> {
        match Connection::class_of(path) {
            Some(class) => Ok(Connection::read(class, path, root)?.replica),
            None => Ok(path.into()),
        }
    }

    /// The class that the name of a connection file ends in.
    #[must_use]
    pub fn class_of(path: &Path) -> Option<MapClass> {
        match path.extension()?.to_str()? {
            "pgsql" => Some(MapClass::Pgsql),
            "redis" => Some(MapClass::Redis),
            "ldap" => Some(MapClass::Ldap),
            _ => None,
        }
    }

    /// As [`Connection::read`], of a text that was read.
    ///
    /// # Errors
    /// [`StoreError::Engine`] with the line that is wrong.
    pub fn parse(
        class: MapClass,
        path: &Path,
        root: Option<&Path>,
        text: &str,
    ) -> Result<Self, StoreError> {
        let mut words = Words::default();
        for (n, line) in text.lines().enumerate() {
            let (n, line) = (n + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let value = value.trim();
            if !COMMON.contains(&word) && !own_words(class).contains(&word) {
                let why = format!("line {n}: {word:?} is no setting of class {class}");
                return Err(wrong(path, why));
            }
            if value.is_empty() {
                return Err(wrong(path, format!("line {n}: {word} has no value")));
            }
            if words.0.insert(word.into(), (n, value.into())).is_some() {
                return Err(wrong(path, format!("line {n}: {word} stands there twice")));
            }
        }
        let reader = Reader { path, root, words };
        let connection = Connection {
            file: path.into(),
            root: root.map(Path::to_path_buf),
            class,
            map: reader.map_name()?,
            replica: match reader.text("replica") {
                Some(replica) => reader.below(&replica),
                None => {
                    let mut name = path.as_os_str().to_owned();
                    name.push(".db");
                    name.into()
                }
            },
            server: reader.server(class)?,
            keep: reader.number("keep", 3, 1..=1000)?,
            poll: reader.seconds("poll", 30)?,
            words: Words::default(),
        };
        let mut words = reader.words;
        words
            .0
            .retain(|word, _| own_words(class).contains(&word.as_str()));
        Ok(Connection {
            words,
            ..connection
        })
    }

    /// Whether a whole map is written to the engine. To a directory it is where the file says so.
    #[must_use]
    pub fn takes_whole_maps(&self) -> bool {
        self.class != MapClass::Ldap || self.words.get("transactions") == Some("yes")
    }

    /// An error about this map.
    #[must_use]
    pub fn error(&self, exit: SysExit, why: impl Into<String>) -> StoreError {
        StoreError::Engine {
            path: self.file.clone(),
            why: why.into(),
            exit,
        }
    }
}

impl Server {
    /// The password: the first line of its file, which must be out of the reach of others.
    ///
    /// # Errors
    /// The file can't be read, or others may read it or change it.
    pub fn password(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let file = open_for_reading(path)?;
        let metadata = file
            .metadata()
            .map_err(|e| StoreError::io(path, "stat", e))?;
        if metadata.mode() & 0o027 != 0 {
            let why = format!(
                "mode {:04o}: a password file is out of the reach of others, 0600 or 0640",
                metadata.mode() & 0o7777
            );
            return Err(wrong(path, why));
        }
        let mut octets = Vec::new();
        file.take(MAX_OCTETS)
            .read_to_end(&mut octets)
            .map_err(|e| StoreError::io(path, "read", e))?;
        let line = octets.split(|c| *c == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.is_empty() {
            true => Err(wrong(
                path,
                "its first line is empty, not a password".into(),
            )),
            false => Ok(Some(line.to_vec())),
        }
    }

    /// Whether the hosts are nodes of a cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// The hosts, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let shown = |(host, port): &(String, u16)| match host.starts_with('/') {
            true => host.clone(),
            false => format!("{host}:{port}"),
        };
        let all: Vec<String> = self.hosts.iter().map(shown).collect();
        all.join(",")
    }
}

fn wrong(path: &Path, why: String) -> StoreError {
    StoreError::Engine {
        path: path.into(),
        why,
        exit: SysExit::Config,
    }
}

/// The words of a file on their way to types.
struct Reader<'a> {
    path: &'a Path,
    root: Option<&'a Path>,
    words: Words,
}

impl Reader<'_> {
    fn text(&self, word: &str) -> Option<String> {
        self.words.get(word).map(str::to_owned)
    }

    fn fault<T>(&self, word: &str, expected: &str) -> Result<T, StoreError> {
        let at = match self.words.0.get(word) {
            Some((line, _)) => format!("line {line}: {word}: {expected}"),
            None => format!("{word}: {expected}"),
        };
        Err(wrong(self.path, at))
    }

    fn below(&self, value: &str) -> PathBuf {
        let value = Path::new(value);
        match (value.strip_prefix("/"), self.root) {
            (Ok(inner), Some(root)) => root.join(inner),
            (Ok(_), None) => value.into(),
            (Err(_), _) => folder_of(self.path).join(value),
        }
    }

    fn file(&self, word: &str) -> Option<PathBuf> {
        self.text(word).map(|value| self.below(&value))
    }

    /// The map's name: a word of its own, else the connection file's name.
    fn map_name(&self) -> Result<String, StoreError> {
        let stem = self.path.file_stem().and_then(OsStr::to_str);
        let name = self.text("map").or_else(|| stem.map(str::to_owned));
        let name = name.unwrap_or_default();
        let good = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        match (1..=64).contains(&name.len()) && name.bytes().all(good) {
            true => Ok(name),
            false => self.fault("map", "expected up to 64 letters, digits and . _ -"),
        }
    }

    fn number(
        &self,
        word: &str,
        default: u32,
        within: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, StoreError> {
        let Some(value) = self.words.get(word) else {
            return Ok(default);
        };
        match value.parse().ok().filter(|n| within.contains(n)) {
            Some(n) => Ok(n),
            None => {
                let (least, most) = (within.start(), within.end());
                self.fault(word, &format!("expected a number from {least} to {most}"))
            }
        }
    }

    /// Seconds, with or without an `s`.
    fn seconds(&self, word: &str, default: u64) -> Result<Duration, StoreError> {
        let Some(value) = self.words.get(word) else {
            return Ok(Duration::from_secs(default));
        };
        let digits = value.strip_suffix('s').unwrap_or(value);
        match digits.parse().ok().filter(|n| (1..=86_400).contains(n)) {
            Some(n) => Ok(Duration::from_secs(n)),
            None => self.fault(word, "expected seconds, from 1 to 86400"),
        }
    }

    fn server(&self, class: MapClass) -> Result<Server, StoreError> {
        let tls = match self.words.get("tls") {
            None => None,
            Some("verify") => Some(Tls::Verify),
            Some("off") => Some(Tls::Off),
            Some("starttls") if class == MapClass::Ldap => Some(Tls::StartTls),
            Some(_) if class == MapClass::Ldap => {
                return self.fault("tls", "expected verify, starttls or off");
            }
            Some(_) => return self.fault("tls", "expected verify or off"),
        };
        let default_port = match (class, tls) {
            (MapClass::Pgsql, _) => 5432,
            (MapClass::Redis, _) => 6379,
            (_, Some(Tls::Off | Tls::StartTls)) => 389,
            _ => 636,
        };
        let port = self.number("port", default_port, 1..=65_535)?;
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        let Some(hosts) = self.words.get("host") else {
            return self.fault("host", "it is missing: the engine's name or address");
        };
        let hosts: Vec<(String, u16)> = hosts
            .split([',', ' ', '\t'])
            .filter(|host| !host.is_empty())
            .map(|host| host_and_port(host, port))
            .collect();
        let local = hosts.iter().all(|(host, _)| host.starts_with('/'));
        let identity = match (self.file("cert-file"), self.file("key-file")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return self.fault("cert-file", "cert-file and key-file go together"),
        };
        let password_file = self.file("password-file");
        if password_file.is_some() && tls == Some(Tls::Off) && !local && !all_loopback(&hosts) {
            return self.fault(
                "tls",
                "off: a password is not sent in clear to another host",
            );
        }
        Ok(Server {
            tls: match (tls, local) {
                (Some(tls), _) => tls,
                (None, true) => Tls::Off,
                (None, false) => Tls::Verify,
            },
            hosts,
            user: self.text("user"),
            password_file,
            ca_file: self.file("ca-file"),
            identity,
            database: self.text("database"),
            kind: match self.words.get("cluster") {
                None | Some("no") => Kind::Single,
                Some("yes") => Kind::Cluster,
                Some(_) => return self.fault("cluster", "expected yes or no"),
            },
            timeout: self.seconds("timeout", 20)?,
        })
    }
}

/// `host`, `host:port`, `[2001:db8::1]:port` or the folder of a socket.
fn host_and_port(text: &str, default: u16) -> (String, u16) {
    if text.starts_with('/') {
        return (text.into(), default);
    }
    let bare = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        inner.unwrap_or(host).to_owned()
    };
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (bare(host), port),
            Err(_) => (bare(text), default),
        },
        _ => (bare(text), default),
    }
}

fn all_loopback(hosts: &[(String, u16)]) -> bool {
    hosts.iter().all(|(host, _)| {
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|addr| addr.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parse(class: MapClass, text: &str) -> Result<Connection, String> {
        Connection::parse(class, Path::new("/etc/mail/access.pgsql"), None, text)
            .map_err(|e| e.reason())
    }

    #[test]
    fn a_file_names_the_server_and_the_replica() {
        let c = parse(
            MapClass::Pgsql,
            "# the maps\nhost\tdb.example.org, 192.0.2.1:6000 [2001:db8::1]:7000\n\
             user mail\npassword-file secret\nreplica access.db\npoll 5s\nkeep 9\n",
        )
        .unwrap();
        assert_eq!(c.map, "access");
        assert_eq!(c.replica, Path::new("/etc/mail/access.db"));
        assert_eq!(c.server.tls, Tls::Verify);
        assert_eq!(c.server.password_file, Some("/etc/mail/secret".into()));
        let host = |n: usize| (c.server.hosts[n].0.as_str(), c.server.hosts[n].1);
        assert_eq!(host(0), ("db.example.org", 5432));
        assert_eq!(host(1), ("192.0.2.1", 6000));
        assert_eq!(host(2), ("2001:db8::1", 7000));
        assert_eq!((c.poll, c.keep), (Duration::from_secs(5), 9));
        let c = parse(MapClass::Pgsql, "host /run/postgresql\nmap m").unwrap();
        assert_eq!((c.map.as_str(), c.server.tls), ("m", Tls::Off));
        assert_eq!(c.replica, Path::new("/etc/mail/access.pgsql.db"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, why) in [
            ("", "host: it is missing: the engine's name or address"),
            (
                "host a\ncluster yes",
                "line 2: \"cluster\" is no setting of class pgsql",
            ),
            ("host a\nhost b", "line 2: host stands there twice"),
            ("host", "line 1: host has no value"),
            ("host a\ntls no", "line 2: tls: expected verify or off"),
            (
                "host a\nkeep 0",
                "line 2: keep: expected a number from 1 to 1000",
            ),
            (
                "host a\nmap a/b",
                "line 2: map: expected up to 64 letters, digits and . _ -",
            ),
            (
                "host a\ntls off\npassword-file p",
                "line 2: tls: off: a password is not sent in clear to another host",
            ),
            (
                "host a\ncert-file p",
                "line 2: cert-file: cert-file and key-file go together",
            ),
        ] {
            assert_eq!(parse(MapClass::Pgsql, text).unwrap_err(), why, "{text}");
        }
        assert!(parse(MapClass::Redis, "host a\ncluster yes").is_ok());
        assert!(parse(MapClass::Pgsql, "host 127.0.0.1\ntls off\npassword-file p").is_ok());
    }

    #[test]
    fn a_password_file_that_others_reach_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "hunter2\nsecond\n").unwrap();
        let mut server = parse(MapClass::Pgsql, "host /run").unwrap().server;
        server.password_file = Some(path.clone());
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set(0o640);
        assert_eq!(server.password().unwrap().unwrap(), b"hunter2");
        for mode in [0o644, 0o660, 0o604] {
            set(mode);
            let why = server.password().unwrap_err().to_string();
            assert!(why.contains("out of the reach of others"), "{why}");
        }
    }
}
