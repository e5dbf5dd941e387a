//! [`Site`]: what an administrator's configuration means, typed.
//!
//! Everything that decides reads this and nothing else; no text of a `.mc`
//! file gets past the reader. Paths stand as the administrator wrote them;
//! [`Site::below`] takes them below the root folder.

pub mod class;
pub mod daemon;
pub mod features;
pub mod mailer;
pub mod maps;
pub mod means;
pub mod options;
pub mod regex_map;
pub mod shared_class;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::site::diagnostic::Place;

pub use class::{Class, Classes};
pub use daemon::{ClientOptions, DaemonOptions, Family, FilterFailure, MailFilter};
pub use features::{
    AccessDb, Bang, Control, DelayChecks, DelayMode, DnsList, DnsListAction, DnsListKind, Features,
    GreetPause, LocalDelivery, NoCanonify, RelayMailFrom, ReplyPiece, ReplyText,
};
pub use mailer::{Mailer, Mailers, Rewriting};
pub use maps::{FileName, MapCase, MapSpec, NulSuffix};
pub use means::Means;
pub use options::Options;
pub use regex_map::RegexMap;
pub use shared_class::{ClassMap, SharedClasses};

/// A site: the effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The folder below which all paths are taken (`--root`); none for the system's own.
    pub root: Option<PathBuf>,
    /// Time between queue runs, where the command line names one (`-q`); the configuration cannot.
    pub queue_interval: Option<std::time::Duration>,
    /// `$j`: the official name of this host.
    pub host_name: String,
    /// `$w`: the host name up to the first dot.
    pub short_name: String,
    /// `$m`: the domain of this host; empty if the host name has none.
    pub domain: String,
    /// `$n`: whom errors come from.
    pub error_name: String,
    /// Numbers of Precedence words that `P` lines define, by the word in small letters.
    pub precedences: BTreeMap<String, i32>,
    /// Classes.
    pub classes: Classes,
    /// Which of them have words from maps that hosts share.
    pub shared_classes: SharedClasses,
    /// FEATUREs.
    pub features: Features,
    /// Where mail is passed on to.
    pub relays: Relays,
    /// Masquerading.
    pub masquerade: Masquerade,
    /// Options.
    pub options: Options,
    /// Listeners.
    pub daemons: Vec<DaemonOptions>,
    /// How connections are made.
    pub clients: Vec<ClientOptions>,
    /// Mail filters that are defined; `options.filters.input` names those that are asked.
    pub filters: Vec<MailFilter>,
    /// Mailers.
    pub mailers: Mailers,
    /// Texts of replies that the site can change.
    pub messages: Messages,
    /// Maps that `K` lines define beside those of the FEATUREs, by name.
    pub maps: BTreeMap<String, MapSpec>,
    /// Connection files of maps that the configuration has by LDAP.
    pub ldap_maps: Vec<LdapMap>,
    /// Macros that `D` lines define (`D{name}value`), by name, beside `j`, `M` and those with a field of their own.
    pub macros: BTreeMap<String, String>,
    /// Where the things that the checks report were said: `FEATURE(access_db)`, `SMART_HOST`, `MASQUERADE_AS`, ...
    /// [`WHOLE_FILE`] is the file itself.
    pub places: BTreeMap<String, Place>,
}

/// A QUEUE_DIR of several folders, in each of which sendmail keeps a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueGroup<'a> {
    /// As it was written: `/var/spool/mqueue/q*`.
    pub named: &'a Path,
    /// The folder above them, where there is one queue here.
    pub folder: &'a Path,
}

/// The entry of [`Site::places`] that is the configuration file as a whole.
pub const WHOLE_FILE: &str = "the file";

/// A map that `sendmail.mc` has by LDAP, as `FEATURE(access_db, LDAP)` does: it is shared, and its
/// connection file is made of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapMap {
    /// The connection file, as the site would have written its name.
    pub file: PathBuf,
    /// What it holds.
    pub text: String,
    /// Where the configuration says so.
    pub place: Place,
}

/// Where mail is passed on to. Each is a mailertable RHS: `host`, `[host]` or `mailer:host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relays {
    /// `SMART_HOST` (`$S`): all mail that is not local.
    pub smart_host: Option<String>,
    /// `LUSER_RELAY` (`$L`): mail for local users that don't exist.
    pub luser: Option<String>,
    /// `MAIL_HUB` (`$H`): all local mail.
    pub mail_hub: Option<String>,
    /// `LOCAL_RELAY` (`$R`): mail for unqualified names.
    pub local: Option<String>,
    /// `UUCP_RELAY` (`$Y`).
    pub uucp: Option<String>,
    /// `BITNET_RELAY` (`$B`).
    pub bitnet: Option<String>,
    /// `DECNET_RELAY` (`$C`).
    pub decnet: Option<String>,
    /// `FAX_RELAY` (`$F`).
    pub fax: Option<String>,
}

/// Masquerading: as whom mail is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// `MASQUERADE_AS` (`$M`); none for no masquerading, empty for domains that are stripped.
    pub name: Option<String>,
    /// `allmasquerade`: recipients too.
    pub all: bool,
    /// `limited_masquerade`: only `$=M`, not `$=w`.
    pub limited: bool,
    /// `masquerade_entire_domain`: `$=M` matches subdomains too.
    pub entire_domain: bool,
    /// `masquerade_envelope`: the envelope too.
    pub envelope: bool,
    /// `local_no_masquerade`: not for the local mailer.
    pub not_local: bool,
}

/// Texts of replies that the site can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// `confRELAY_MSG`: relaying denied, code and text.
    pub relay: ReplyText,
    /// `confRCPTREJ_MSG`: the recipient is on the blocklist, code and text.
    pub recipient: ReplyText,
    /// `confREJECT_MSG`: an access RHS of REJECT, code and text.
    pub reject: ReplyText,
    /// The status that goes with `reject`; none where the site words the message itself, whose text then decides.
    pub reject_status: Option<&'static str>,
}

impl Default for Messages {
    fn default() -> Self {
        Messages {
            relay: ReplyText("\"550 Relaying denied\"".to_owned()),
            recipient: ReplyText("\"550 Mailbox disabled for this recipient\"".to_owned()),
            reject: ReplyText("\"550 Access denied\"".to_owned()),
            reject_status: Some("5.7.1"),
        }
    }
}

/// One alias file of the `AliasFile` option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasFile {
    /// Map class and path; `implicit` where the site names no class.
    pub map: MapSpec,
}

impl Site {
    /// The path below the root folder; `..` does not lead out of it.
    #[must_use]
    pub fn below(&self, path: &Path) -> PathBuf {
        below(self.root.as_deref(), path)
    }

    /// Reads a system file such as `/etc/hosts`: below the root where it stands there, else the system's own.
    /// A missing file is an empty one.
    pub fn read_or_system(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        super::hosts::read_or_system(self.root.as_deref(), path)
    }

    /// The alias files, in the order in which they are asked, with the paths as written.
    ///
    /// The option lists them separated by commas, each as `path`, `class:path` or `class:-flags path`.
    #[must_use]
    pub fn alias_files(&self) -> Vec<AliasFile> {
        self.options
            .files
            .aliases
            .split(',')
            .filter_map(|text| alias_file(text.trim()))
            .enumerate()
            .map(|(number, map)| AliasFile {
                map: map.named(&format!("Alias{number}")),
            })
            .collect()
    }

    /// The maps that decisions ask: tables, alias files, and those that classes have words from.
    #[must_use]
    pub fn asked_maps(&self) -> Vec<MapSpec> {
        let tables = self.features.tables().map(|(_, map)| map.clone());
        let aliases = self.alias_files().into_iter().map(|file| file.map);
        let classes = self.shared_classes.maps().map(|class| class.map.clone());
        tables.chain(aliases).chain(classes).collect()
    }

    /// The queue's folder, as written. Of a group of folders it is the one above them.
    #[must_use]
    pub fn queue_folder(&self) -> &Path {
        let named = self.options.queue.directory.as_deref();
        let named = named.unwrap_or(Path::new("/var/spool/mqueue"));
        self.queue_group().map_or(named, |group| group.folder)
    }

    /// What QUEUE_DIR names, where that is a group of folders: its last component ends in `*`.
    #[must_use]
    pub fn queue_group(&self) -> Option<QueueGroup<'_>> {
        let named = self.options.queue.directory.as_deref()?;
        let last = named.file_name()?.as_encoded_bytes();
        let folder = named.parent().filter(|_| last.ends_with(b"*"))?;
        Some(QueueGroup { named, folder })
    }

    /// Files of the system that decisions look at. Some of these are taken below the root only
    /// where they stand there.
    pub fn system_files(&self) -> impl Iterator<Item = PathBuf> {
        let files = [
            "/etc/passwd",
            "/etc/group",
            "/etc/shells",
            "/etc/hosts",
            "/etc/resolv.conf",
        ];
        files.into_iter().flat_map(|path| {
            let path = Path::new(path);
            [path.to_path_buf(), self.below(path)]
        })
    }
}

/// `path` below `root`; `..` does not lead out of it. Without a root the path itself.
#[must_use]
pub fn below(root: Option<&Path>, path: &Path) -> PathBuf {
    let Some(root) = root else {
        return path.to_path_buf();
    };
    let mut full = root.to_path_buf();
    let mut depth = 0usize;
    for part in path.components() {
        match part {
            Component::Normal(name) => {
                full.push(name);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                full.pop();
                depth -= 1;
            }
            _ => {}
        }
    }
    full
}

fn alias_file(text: &str) -> Option<MapSpec> {
    if text.is_empty() {
        return None;
    }
    let map = match text.split_once(':') {
        Some((class, rest))
            if !class.is_empty() && class.bytes().all(|b| b.is_ascii_lowercase()) =>
        {
            MapSpec::parse(&format!("{class} {rest}"))
        }
        _ => MapSpec::parse(&format!("implicit {text}")),
    };
    map.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let root = Some(Path::new("/r"));
        for (path, full) in [
            ("/etc/mail/access", "/r/etc/mail/access"),
            ("etc/x", "/r/etc/x"),
            ("/../../etc/passwd", "/r/etc/passwd"),
            ("/a/../../b", "/r/b"),
            ("/", "/r"),
        ] {
            assert_eq!(below(root, Path::new(path)), Path::new(full), "{path}");
        }
        assert_eq!(below(None, Path::new("/etc/x")), Path::new("/etc/x"));
    }

    #[test]
    fn alias_files_come_with_and_without_a_class() {
        let mut site = Site::default();
        site.options.files.aliases = "/etc/aliases, hash:/etc/mail/lists,dbm:-f /x ,".to_owned();
        let texts: Vec<String> = site.alias_files().iter().map(|f| f.map.text()).collect();
        assert_eq!(
            texts,
            ["implicit /etc/aliases", "hash /etc/mail/lists", "dbm -f /x"]
        );
    }
}
