//! `mapctl convert`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use libmaps::build::{Builder, Start};
use libmaps::lhs::Lhs;
use libmaps::map::{Entry, Map, MapClass, StoreError};
use libmaps::sasl::edit;
use libmaps::sasl::key::{USER_PASSWORD, account_of};
use libmaps::sasl::secret::Recipe;
use libmaps::store::Opened;
use libmaps::store::publish::{OnDuplicate, Options};
use libmaps::sysexits::SysExit;
use serde_json::json;

use super::name::Named;
use super::{Failure, Outcome, Style};
use crate::config::{self, Config};
use crate::progress::Progress;
use crate::report::VERSION;
use crate::sasl_site::host_realm;

/// Make a map of another class, counted and compared before it is published.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Replace the map TO if there is one.
    #[arg(long)]
    force: bool,
    /// The map to read: class:path, or a file whose class is told by its content.
    from: OsString,
    /// The map to make: class:path. If it is FROM itself and a Berkeley DB file, the old file
    /// is kept as NAME.bdb.
    to: OsString,
}

/// Converts; the new map is compared with the old one entry by entry before it is published.
pub(crate) fn convert(args: &ConvertArgs, style: Style) -> Outcome {
    let from = Named::parse(&args.from)?;
    let to = Named::parse(&args.to)?;
    to.expect_file()?;
    let Some(row) = to.row else {
        let text = format!("{}: say its class, as in hash:{0}", to.name.display());
        return Err(Failure::Other(SysExit::Usage, text));
    };
    if to.shared.is_some() {
        let text = format!("{}: mapctl push brings maps there", args.to.display());
        return Err(Failure::Other(SysExit::Usage, text));
    }
    let in_place = same_file(&from, &to);
    if to.path().exists() && !in_place && !args.force {
        let text = format!("{}: exists; --force replaces it", to.path().display());
        return Err(Failure::Other(SysExit::CantCreate, text));
    }
    let options = Options {
        owner: to.path().exists().then(trusted_user).flatten(),
        ..Options::new(row.class, &format!("mapctl {VERSION}"))
    };
    let begin = || Builder::open(to.path(), Start::Empty, options);
    let (mut builder, opened) = match in_place {
        // What is read before the lock is held may be changed by another writer meanwhile.
        true => {
            let builder = begin()?;
            let opened = builder.old_map()?;
            from.expect_class(&opened)?;
            (builder, opened)
        }
        false => {
            let opened = from.open()?;
            (begin()?, opened)
        }
    };
    let stamp = builder.old_metadata().filter(|_| in_place).map(Stamp::of);
    let duplicates = opened.keeps_duplicates();
    let described = described(&opened, duplicates);
    let old = opened.into_map();
    let (hashed, described) = match row.class {
        MapClass::Hash | MapClass::Btree => match passwords(old.as_ref())? {
            Passwords::Accounts(hashed) => (hashed, edit::DESCRIBED.to_owned()),
            Passwords::None => (BTreeMap::new(), described),
        },
        // A class that saslpasswd2 does not write keeps its passwords as they are.
        _ => (BTreeMap::new(), described),
    };
    let on_duplicate = match duplicates {
        true => OnDuplicate::KeepAll,
        false => OnDuplicate::Refuse,
    };
    builder.adopt(on_duplicate, &described);
    let mut progress = Progress::new("convert", None);
    let mut read = 0;
    for entry in old.iter() {
        let entry = entry?;
        read += 1;
        progress.at(read);
        let entry = hashed.get(&entry.lhs).unwrap_or(&entry);
        builder.put(entry.lhs.as_bytes(), entry.rhs.as_bytes(), read)?;
    }
    let mut check = |new: &dyn Map| {
        compare(old.as_ref(), &hashed, new, read)?;
        let now = fs::metadata(to.path()).ok().map(|m| Stamp::of(&m));
        match stamp.is_some() && now != stamp {
            // By a program that takes no lock of ours, such as Cyrus SASL's own.
            true => Err(StoreError::InUse {
                path: to.path().into(),
            }),
            false => Ok(()),
        }
    };
    let (published, _) = builder.publish_checked(&mut check)?;
    let kept = published.kept_berkeley.map(|p| p.display().to_string());
    let mut out = io::stdout().lock();
    match style {
        Style::Json => {
            let report = json!({"entries": published.entries, "kept_berkeley": kept});
            writeln!(out, "{report}")?;
        }
        Style::Text => {
            writeln!(
                out,
                "{}: {} entries, compared with {}",
                to.path().display(),
                published.entries,
                from.path().display()
            )?;
            if let Some(kept) = kept {
                writeln!(out, "{kept}: the Berkeley DB file as it was")?;
            }
        }
    }
    Ok(SysExit::Ok)
}

/// By which it is seen that a file was changed or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([u64; 3], [i64; 2]);

impl Stamp {
    fn of(file: &fs::Metadata) -> Self {
        let identity = [file.dev(), file.ino(), file.size()];
        Stamp(identity, [file.mtime(), file.mtime_nsec()])
    }
}

/// Whose maps root may replace, as for makemap: TrustedUser of `sendmail.cf`.
fn trusted_user() -> Option<u32> {
    let config = config::for_maps(None, false).ok().flatten();
    config.as_ref().and_then(Config::trusted_uid)
}

/// What the new map says it was built with: what the old one said, and whether it has duplicates.
fn described(old: &Opened, duplicates: bool) -> String {
    let said = match old {
        Opened::Redb(map) => map.meta().options.as_str(),
        _ => "",
    };
    let said = said.split(' ').filter(|word| !matches!(*word, "" | "-d"));
    let words: Vec<&str> = duplicates.then_some("-d").into_iter().chain(said).collect();
    words.join(" ")
}

/// Whether a map is a sasldb2.
enum Passwords {
    None,
    /// It is: what stands in the place of the passwords in clear text.
    Accounts(BTreeMap<Lhs, Entry>),
}

/// The passwords in clear text of a sasldb2 become hashes, as at the first write by saslpasswd2,
/// and before anything is written.
fn passwords(old: &dyn Map) -> Result<Passwords, Failure> {
    let mut passwords = 0;
    let mut accounts = false;
    for entry in old.iter() {
        let lhs = entry?.lhs;
        if let Some((_, property)) = account_of(lhs.as_bytes()) {
            accounts = true;
            passwords += u64::from(property == USER_PASSWORD);
        }
    }
    match (accounts, passwords) {
        (false, _) => return Ok(Passwords::None),
        (true, 0) => return Ok(Passwords::Accounts(BTreeMap::new())),
        _ => {}
    }
    let recipe = Recipe {
        server_realms: vec![host_realm().into_bytes()],
        ..Recipe::default()
    };
    let bar = Mutex::new(Progress::new("hash", Some(passwords)));
    edit::hashed_records(old, &recipe, &|done| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        bar.at(done as u64);
    })
    .map(Passwords::Accounts)
    .map_err(|e| Failure::Other(SysExit::IoErr, e.to_string()))
}

fn same_file(a: &Named, b: &Named) -> bool {
    match (a.path().canonicalize(), b.path().canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Every entry of the old map is in the new one, or what stands in its place, and there are as
/// many.
pub(super) fn compare(
    old: &dyn Map,
    hashed: &BTreeMap<Lhs, Entry>,
    new: &dyn Map,
    read: u64,
) -> Result<(), StoreError> {
    let differs = |why: String| StoreError::Corrupt {
        path: new.name().path.clone(),
        page: None,
        why,
    };
    for entry in old.iter() {
        let entry = entry?;
        let entry = hashed.get(&entry.lhs).unwrap_or(&entry);
        if !new.get_all(entry.lhs.as_bytes())?.contains(&entry.rhs) {
            return Err(differs(format!("the new map lacks {}", entry.lhs)));
        }
    }
    let stored = new.iter().try_fold(0, |n, entry| entry.map(|_| n + 1))?;
    if stored != read {
        return Err(differs(format!("{stored} entries were stored of {read}")));
    }
    Ok(())
}
