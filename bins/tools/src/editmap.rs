//! editmap(8): asks for, sets or deletes one entry of a map.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use libmaps::build::Ending;
use libmaps::lhs::Lhs;
use libmaps::map::{Entry, MapClass, StoreError};
use libmaps::rhs::Rhs;
use libmaps::store::class::Reads;
use libmaps::store::path::Safety;
use libmaps::store::publish::{EditBy, OnDuplicate, Options, Publisher};
use libmaps::store::shared::{Connection, Wish};
use libmaps::sysexits::SysExit;

use crate::config::{self, Config};
use crate::getopt::{self, Given, Opt, flag, long, value};
use crate::makemap::open_exit;
use crate::report::{VERSION, complain, finish, help, octets, print_and_end, version};
use crate::serve::site_maps::is_secret;
use crate::shared::{Changed, change_entry};
use crate::target::{Target, complain_of_opening, reason_of, split_shared, unknown_type};

const NAME: &str = "editmap";

/// The usage text, as the original prints it.
pub const USAGE: &str = "\
Usage: editmap [-C cffile] [-N] [-f] [-q|-u|-x] maptype mapname key [ \"value ...\" ]
";

/// Every option.
pub const OPTIONS: &[Opt] = &[
    value(b'C', "FILE", "read TrustedUser from FILE"),
    flag(b'N', "the key and the value end in a NUL, as in alias maps"),
    flag(b'f', "do not fold capitals in the key"),
    flag(b'q', "print the value of the key"),
    flag(b'u', "set the value of the key"),
    flag(b'x', "delete the key"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Query,
    Update,
    Delete,
}

/// Runs the program on its arguments (without its name).
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = match getopt::parse(OPTIONS, args) {
        Ok(parsed) => parsed,
        Err((complaint, _)) => {
            complain(&[format!("{NAME}: {complaint}").as_bytes()]);
            return usage();
        }
    };
    let (mut action, mut config, mut fold, mut ending) = (None, None, true, Ending::Bare);
    for given in parsed.given {
        let chosen = match given {
            Given::Long("help", _) => {
                let about = "Asks for, sets or deletes one entry of a map.";
                return print_and_end(NAME, &help(about, USAGE, OPTIONS));
            }
            Given::Long("version", _) => return print_and_end(NAME, &version(NAME)),
            Given::Short(b'C', file) => {
                config = file;
                continue;
            }
            Given::Short(b'N', _) => {
                ending = Ending::Nul;
                continue;
            }
            Given::Short(b'f', _) => {
                fold = false;
                continue;
            }
            Given::Short(b'q', _) => Action::Query,
            Given::Short(b'u', _) => Action::Update,
            Given::Short(b'x', _) => Action::Delete,
            Given::Short(..) | Given::Long(..) => continue,
        };
        if action.replace(chosen).is_some() {
            return usage();
        }
    }
    let Some(action) = action else {
        return usage();
    };
    let mut operands = parsed.operands;
    if let Some((word, name)) = operands.first().and_then(|first| split_shared(first)) {
        operands.splice(..1, [word, name]);
    }
    let (word, name, key, value) = match (action, operands.as_slice()) {
        (Action::Query | Action::Delete, [word, name, key]) => (word, name, key, None),
        (Action::Update, [word, name, key, value]) => (word, name, key, Some(value)),
        (Action::Update, [_, _, _, _, ..]) => {
            complain(&[b"editmap: only one value is taken: quote it if it has blanks"]);
            return usage();
        }
        _ => return usage(),
    };
    let key = match fold {
        true => octets(key).to_ascii_lowercase(),
        false => octets(key).to_vec(),
    };
    let job = Job {
        action,
        word,
        name,
        key,
        value: value.map(|v| octets(v).to_vec()),
        ending,
        config: config.as_deref(),
    };
    job.run().unwrap_or_else(|exit| exit.into())
}

fn usage() -> ExitCode {
    let _ = io::stderr().write_all(USAGE.as_bytes());
    SysExit::Usage.into()
}

struct Job<'a> {
    action: Action,
    word: &'a OsStr,
    name: &'a OsStr,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    ending: Ending,
    config: Option<&'a OsStr>,
}

impl Job<'_> {
    fn run(&self) -> Result<ExitCode, SysExit> {
        let config = config::for_editmap(self.config).map_err(|e| {
            complain(&[format!("{NAME}: {e}").as_bytes()]);
            SysExit::NoInput
        })?;
        let Some(target) = Target::new(self.word, self.name) else {
            complain_of_opening(NAME, self.word, self.name, unknown_type(self.word));
            return Err(SysExit::CantCreate);
        };
        let target = target.resolved().map_err(|e| self.opening(&e))?;
        let trusted = config.as_ref().and_then(Config::trusted_uid);
        match self.action {
            Action::Query => self.query(&target, trusted),
            Action::Update | Action::Delete => self.change(&target, trusted),
        }
    }

    fn opening(&self, e: &StoreError) -> SysExit {
        complain_of_opening(NAME, self.word, self.name, &reason_of(e));
        open_exit(e)
    }

    /// Key or value as the map stores it.
    fn stored(&self, octets: &[u8]) -> Vec<u8> {
        match self.ending {
            Ending::Bare => octets.to_vec(),
            Ending::Nul => [octets, b"\0"].concat(),
        }
    }

    fn query(&self, target: &Target, trusted: Option<u32>) -> Result<ExitCode, SysExit> {
        let map = target
            .open(Safety::Strict, trusted)
            .map_err(|e| self.opening(&e))?;
        let found = map.get(&self.stored(&self.key)).map_err(|e| {
            complain(&[format!("{NAME}: {e}").as_bytes()]);
            e.exit()
        })?;
        let Some(rhs) = found else {
            complain(&[
                b"editmap: couldn't find key ",
                &self.key,
                b" in map ",
                octets(self.name),
            ]);
            return Err(SysExit::Unavailable);
        };
        let value = rhs.as_bytes();
        let value = value.strip_suffix(b"\0").unwrap_or(value);
        let mut out = io::stdout().lock();
        let written = out
            .write_all(&[value, b"\n"].concat())
            .and_then(|()| out.flush());
        Ok(finish(NAME, written, SysExit::Ok))
    }

    /// Changes an entry in a directory, where the rest of the map is not read for it.
    fn change_there(&self, connection: &Connection) -> Result<ExitCode, SysExit> {
        let (key, value) = (self.stored(&self.key), &self.value);
        let value = value.as_ref().map(|value| self.stored(value));
        let changed = change_entry(connection, &key, value.as_deref());
        if changed.map_err(|e| self.opening(&e))? == Changed::Absent {
            self.complain_of_absence();
        }
        Ok(SysExit::Ok.into())
    }

    fn complain_of_absence(&self) {
        complain(&[
            b"editmap: key ",
            &self.key,
            b" doesn't exist in map ",
            octets(self.name),
        ]);
    }

    fn change(&self, target: &Target, trusted: Option<u32>) -> Result<ExitCode, SysExit> {
        let there = target.shared.as_ref();
        if let Some(connection) = there.filter(|shared| shared.class == MapClass::Ldap) {
            return self.change_there(connection);
        }
        let writer = target.writer(Wish::Edit).map_err(|e| self.opening(&e))?;
        let mut options = Options {
            on_duplicate: OnDuplicate::Replace,
            owner: trusted,
            // A copy would keep the password that is replaced in pages that are free.
            edit: match is_secret(&self.key) {
                true => EditBy::Rewriting,
                false => EditBy::Copying,
            },
            ..Options::new(target.new_class(), &format!("{NAME} {VERSION}"))
        };
        if let Some(writer) = &writer {
            writer.enter(&mut options);
        }
        let mut publisher = Publisher::edit(&target.path, options).map_err(|e| {
            target.warn_of_path(Safety::Strict, trusted);
            self.opening(&e)
        })?;
        for warning in publisher.warnings() {
            complain(&[warning.as_bytes()]);
        }
        if self.action == Action::Delete && publisher.old_metadata().is_none() {
            let path = target.path.clone();
            return Err(self.opening(&StoreError::Missing { path }));
        }
        if target.row.reads == Reads::TheClass {
            publisher
                .expect_class(target.row.class)
                .map_err(|e| self.opening(&e))?;
        }
        let key = self.stored(&self.key);
        let changed = match &self.value {
            Some(value) => {
                let rhs = Rhs::from(self.stored(value));
                publisher.set(Entry::new(Lhs::from(key), rhs)).map(|_| true)
            }
            None => publisher.remove(&key),
        };
        let failed = |e: StoreError| {
            complain(&[format!("{NAME}: {e}").as_bytes()]);
            e.exit()
        };
        if changed.map_err(failed)? {
            publisher.publish().map_err(failed)?;
            drop(writer);
        } else {
            self.complain_of_absence();
        }
        Ok(SysExit::Ok.into())
    }
}
