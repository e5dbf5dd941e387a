//! Map names as mapctl takes them: `class:path`, the name of one of the site's maps, or a path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libmaps::map::{KeyCase, Map, MapName, StoreError};
use libmaps::policy::maps::remote_of;
use libmaps::site::model::MapSpec;
use libmaps::site::{self, Site};
use libmaps::store::class::{ClassWord, Reads};
use libmaps::store::lock::wait_for_writers;
use libmaps::store::shared::Connection;
use libmaps::store::socketmap::{Address, DEFAULT_PATIENCE, SocketMap};
use libmaps::store::{self, Opened};
use libmaps::sysexits::SysExit;

use super::Failure;

/// Where the site's configuration is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SiteArgs {
    /// Take all paths of the site below this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Read the configuration from this file instead of /etc/mail/sendmail.mc.
    #[arg(short = 'C', long = "config", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The names of the site's maps.
const SITE_MAPS: &[&str] = &[
    "access",
    "aliases",
    "authinfo",
    "domaintable",
    "genericstable",
    "mailertable",
    "virtusertable",
];

impl SiteArgs {
    /// The map that the site's configuration means by a word; `None` where the word is no such
    /// name, or where there is no configuration and none was named.
    fn map(&self, word: &OsStr) -> Result<Option<SiteMap>, Failure> {
        let Some(word) = SITE_MAPS.iter().find(|name| word == **name) else {
            return Ok(None);
        };
        let loaded = match site::load(self.root.as_deref(), self.config.as_deref()) {
            Ok(loaded) => loaded,
            Err(_) if self.root.is_none() && self.config.is_none() => return Ok(None),
            Err(e) => return Err(Failure::Other(e.exit(), e.to_string())),
        };
        let Some(spec) = spec_of(&loaded.site, word) else {
            let text = format!("{word}: the site's configuration has no such map");
            return Err(Failure::Other(SysExit::Config, text));
        };
        if spec.is_remote() {
            let fault = |error: StoreError| Failure::Other(SysExit::Config, error.to_string());
            let Some(map) = remote_of(&spec).map_err(fault)? else {
                return Ok(None);
            };
            let path = map.address().to_string().into();
            return Ok(Some(SiteMap { spec, path }));
        }
        let path = loaded.site.below(&spec.path);
        Ok(Some(SiteMap { spec, path }))
    }
}

/// A map that the site's configuration names.
struct SiteMap {
    spec: MapSpec,
    /// Below the site's root; of a map behind a socket, its address.
    path: PathBuf,
}

fn spec_of(site: &Site, word: &str) -> Option<MapSpec> {
    let features = &site.features;
    match word {
        "access" => features.access.as_ref().map(|access| access.map.clone()),
        "aliases" => site.alias_files().into_iter().next().map(|file| file.map),
        "authinfo" => features.authinfo.clone(),
        "domaintable" => features.domaintable.clone(),
        "genericstable" => features.genericstable.clone(),
        "mailertable" => features.mailertable.clone(),
        "virtusertable" => features.virtusertable.clone(),
        _ => None,
    }
}

/// A map as it was named: a class word, if there was one, and a file.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) row: Option<&'static ClassWord>,
    /// The name without the class.
    pub(crate) name: OsString,
    /// The file: the name with the class's suffix, unless there is only one without it.
    pub(crate) path: PathBuf,
    /// Where the map is a server's: `socketmap:unix:/path:name`.
    socket: Option<Address>,
    /// Of a shared map: its connection file, read; the path is the replica's.
    pub(crate) shared: Option<Connection>,
    /// How the site asks it, where it is one of the site's.
    pub(crate) case: KeyCase,
}

impl Named {
    /// The map that a word of the command line means: one of the site's by its name, else as
    /// [`Named::parse`] has it.
    pub(crate) fn find(text: &OsStr, site: &SiteArgs) -> Result<Self, Failure> {
        match site.map(text)? {
            Some(SiteMap { spec, path }) => {
                let text = [spec.class.as_bytes(), b":", path.as_os_str().as_bytes()].concat();
                let text = OsString::from_vec(text);
                let named = Named::parse_below(&text, site.root.as_deref())?;
                let case = spec.key_case();
                Ok(Named { case, ..named })
            }
            None => Named::parse(text),
        }
    }

    /// Takes `class:path` or a path apart.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, Failure> {
        Named::parse_below(text, None)
    }

    fn parse_below(text: &OsStr, root: Option<&Path>) -> Result<Self, Failure> {
        let octets = text.as_bytes();
        let colon = octets.iter().position(|b| *b == b':');
        let before = colon.and_then(|at| octets.get(..at));
        let (row, name) = match (before, colon) {
            (Some(word), Some(at)) if !word.contains(&b'/') => {
                let word = String::from_utf8_lossy(word);
                if matches!(&*word, "socket" | "socketmap") {
                    return Named::remote(octets.get(at + 1..).unwrap_or_default());
                }
                let row = ClassWord::find(&word).ok_or_else(|| {
                    let text = format!("{word}: no class of maps; see makemap -l");
                    Failure::Other(SysExit::Usage, text)
                })?;
                let name = octets.get(at + 1..).unwrap_or_default();
                (Some(row), OsString::from_vec(name.to_vec()))
            }
            _ => (None, text.to_owned()),
        };
        let shared = row.map(|row| row.connection(&name, root)).transpose()?;
        if let Some(connection) = shared.flatten() {
            return Ok(Named {
                row,
                name,
                path: connection.replica.clone(),
                socket: None,
                shared: Some(connection),
                case: KeyCase::Folded,
            });
        }
        let bare = PathBuf::from(&name);
        let row_or_hash = row.or_else(|| ClassWord::find("hash"));
        let full = row_or_hash.map_or_else(|| bare.clone(), |row| row.file(&name));
        // `hash:access` beside its source is access.db; `hash:sasldb2` is sasldb2 itself.
        let path = match !full.exists() && bare.is_file() {
            true => bare,
            false => full,
        };
        Ok(Named {
            row,
            name,
            path,
            socket: None,
            shared: None,
            case: KeyCase::Folded,
        })
    }

    fn remote(address: &[u8]) -> Result<Self, Failure> {
        let text = String::from_utf8_lossy(address).into_owned();
        let parsed = Address::parse(&text, None);
        let address = parsed.map_err(|fault| {
            Failure::Other(SysExit::Usage, format!("socketmap:{text}: {fault}"))
        })?;
        Ok(Named {
            row: None,
            path: PathBuf::from(&text),
            name: text.into(),
            socket: Some(address),
            shared: None,
            case: KeyCase::Folded,
        })
    }

    /// Refuses a map behind a socket, which can't be written.
    pub(crate) fn expect_file(&self) -> Result<(), Failure> {
        match &self.socket {
            None => Ok(()),
            Some(address) => {
                let text = format!("socketmap:{address}: a map behind a socket can't be written");
                Err(Failure::Other(SysExit::Usage, text))
            }
        }
    }

    /// Opens the map for reading; the class must be the one that was named, if one was.
    pub(crate) fn open(&self) -> Result<Opened, StoreError> {
        if let Some(address) = &self.socket {
            let map = SocketMap::new(address.clone(), DEFAULT_PATIENCE);
            return Ok(Opened::Socket(Box::new(map)));
        }
        let class = self
            .row
            .map_or(libmaps::map::MapClass::Hash, |row| row.class);
        let file = store::open_for_reading(&self.path)?;
        wait_for_writers(&file, &self.path)?;
        let opened = store::open_file(file, &self.path, MapName::new(class, &self.path))?;
        self.expect_class(&opened)?;
        Ok(opened)
    }

    /// Refuses a map of another class than was named, if one was.
    pub(crate) fn expect_class(&self, opened: &Opened) -> Result<(), StoreError> {
        match self.row {
            Some(row) if row.reads == Reads::TheClass => opened.expect_class(row.class, &self.path),
            _ => Ok(()),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// All values of a key, as it stands, or as an alias map stores it, with a NUL at its end.
pub(crate) fn values(map: &dyn Map, key: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = map.get_all(key)?;
    if found.is_empty() {
        found = map.get_all(&[key, b"\0"].concat())?;
    }
    let values = found.into_iter().map(|rhs| {
        let octets = rhs.as_bytes();
        octets.strip_suffix(b"\0").unwrap_or(octets).to_vec()
    });
    Ok(values.collect())
}
