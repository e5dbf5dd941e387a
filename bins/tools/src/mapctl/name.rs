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
use libmaps::store::sniff::sniff_path;
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
    /// The maps that the site's configuration means by a word, in the order in which they are
    /// asked; none where the word is no such name, or where there is no configuration and none
    /// was named.
    fn maps(&self, word: &OsStr) -> Result<Vec<SiteMap>, Failure> {
        let Some(word) = SITE_MAPS.iter().find(|name| word == **name) else {
            return Ok(Vec::new());
        };
        let loaded = match site::load(self.root.as_deref(), self.config.as_deref()) {
            Ok(loaded) => loaded,
            Err(_) if self.root.is_none() && self.config.is_none() => return Ok(Vec::new()),
            Err(e) => return Err(Failure::Other(e.exit(), e.to_string())),
        };
        let mut specs = specs_of(&loaded.site, word);
        if specs.is_empty() {
            let text = format!("{word}: the site's configuration has no such map");
            return Err(Failure::Other(SysExit::Config, text));
        }
        // As the server, which passes over alias files of classes that nothing here reads.
        let is_read = |spec: &MapSpec| spec.stored().is_some() || spec.is_remote();
        if specs.iter().any(is_read) {
            specs.retain(is_read);
        }
        let maps = specs.into_iter().map(|spec| {
            if !spec.is_remote() {
                let path = loaded.site.below(&spec.path);
                return Ok(Some(SiteMap { spec, path }));
            }
            let fault = |error: StoreError| Failure::Other(SysExit::Config, error.to_string());
            let map = remote_of(&spec).map_err(fault)?;
            Ok(map.map(|map| SiteMap {
                spec,
                path: map.address().to_string().into(),
            }))
        });
        maps.filter_map(Result::transpose).collect()
    }
}

/// A map that the site's configuration names.
struct SiteMap {
    spec: MapSpec,
    /// Below the site's root; of a map behind a socket, its address.
    path: PathBuf,
}

impl SiteMap {
    /// As the command line names it.
    fn text(&self) -> OsString {
        let path = self.path.as_os_str().as_bytes();
        OsString::from_vec([self.spec.class.as_bytes(), b":", path].concat())
    }

    fn named(&self, root: Option<&Path>) -> Result<Named, Failure> {
        let named = Named::parse_below(&self.text(), root)?;
        let case = self.spec.key_case();
        Ok(Named { case, ..named })
    }
}

/// Only alias files can be several.
fn specs_of(site: &Site, word: &str) -> Vec<MapSpec> {
    let features = &site.features;
    let one = match word {
        "aliases" => return site.alias_files().into_iter().map(|f| f.map).collect(),
        "access" => features.access.as_ref().map(|access| &access.map),
        "authinfo" => features.authinfo.as_ref(),
        "domaintable" => features.domaintable.as_ref(),
        "genericstable" => features.genericstable.as_ref(),
        "mailertable" => features.mailertable.as_ref(),
        "virtusertable" => features.virtusertable.as_ref(),
        _ => None,
    };
    one.into_iter().cloned().collect()
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
    /// [`Named::parse`] has it. A name of several maps is refused, with what to say instead.
    pub(crate) fn find(text: &OsStr, site: &SiteArgs) -> Result<Self, Failure> {
        let maps = site.maps(text)?;
        match maps.as_slice() {
            [] => Named::parse(text),
            [map] => map.named(site.root.as_deref()),
            several => {
                let all: Vec<String> = several
                    .iter()
                    .map(|map| map.text().display().to_string())
                    .collect();
                let text = format!(
                    "{}: the site has {} such maps; say which: {}",
                    text.display(),
                    several.len(),
                    all.join(" or ")
                );
                Err(Failure::Other(SysExit::Usage, text))
            }
        }
    }

    /// As [`Named::find`], but all maps of the name, in the order in which they are asked.
    pub(crate) fn find_all(text: &OsStr, site: &SiteArgs) -> Result<Vec<Self>, Failure> {
        let maps = site.maps(text)?;
        if maps.is_empty() {
            return Ok(vec![Named::parse(text)?]);
        }
        let root = site.root.as_deref();
        maps.iter().map(|map| map.named(root)).collect()
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
        let path = file_of(row, &name);
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

/// The file of a map: its name with the suffix of the class, unless there is only one without it.
///
/// `hash:sasldb2` is sasldb2 itself. But `hash:access` is access.db also where that is not made
/// yet: what stands under the bare name is its source.
fn file_of(row: Option<&ClassWord>, name: &OsStr) -> PathBuf {
    let bare = PathBuf::from(name);
    let full = match row.or_else(|| ClassWord::find("hash")) {
        Some(row) => row.file(name),
        None => return bare,
    };
    if full.symlink_metadata().is_ok() || !bare.is_file() {
        return full;
    }
    // Without a class the name is a path, and what it leads to is what is meant. A file that
    // can't be read keeps its name, so that the error is about it.
    let is_source = row.is_some() && sniff_path(&bare).is_ok_and(|format| !format.is_map());
    match is_source {
        true => full,
        false => bare,
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
