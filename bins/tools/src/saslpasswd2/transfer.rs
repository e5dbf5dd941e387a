//! `--import` and `--export`: accounts as CSV, many in one publish.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libmaps::map::Map;
use libmaps::sasl::edit::NewAccount;
use libmaps::sasl::import::{self, ExportError, Given, LeftOut};
use libmaps::sasl::{SaslDb, SecretBytes};
use libmaps::sysexits::SysExit;

use super::store::{Job, derive};
use crate::alias_config::reason;
use crate::report::complain;
use crate::sasl_site::exit_of;

/// What becomes of the good rows of a file that has bad ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRows {
    /// Nothing is stored.
    StoreNothing,
    /// The good ones are stored (`--partial`).
    StoreTheGood,
}

/// The largest file that is imported, in octets.
const MAX_FILE_OCTETS: u64 = 256 * 1024 * 1024;

pub(super) fn import(
    program: &str,
    path: &Path,
    default_realm: &[u8],
    bad_rows: BadRows,
    job: &Job,
) -> ExitCode {
    let say = |text: String| complain(&[format!("{program}: {text}").as_bytes()]);
    let text = match read_all(path) {
        Ok(text) => text,
        Err(error) => {
            say(format!("{}: {}", path.display(), reason(&error)));
            return SysExit::NoInput.into();
        }
    };
    let (good, bad) = import::read(text.expose(), default_realm);
    for error in &bad {
        say(format!("{}: {error}", path.display()));
    }
    if !bad.is_empty() && bad_rows == BadRows::StoreNothing {
        say(format!(
            "{}: {} bad rows, nothing stored",
            path.display(),
            bad.len()
        ));
        return SysExit::DataErr.into();
    }
    let (mut accounts, mut passwords) = (Vec::new(), Vec::new());
    for row in good {
        match row.given {
            Given::Secrets(secrets) => accounts.push(NewAccount {
                user: row.user,
                secrets: *secrets,
            }),
            Given::Password(password) => passwords.push((row.user, password)),
        }
    }
    let stored = derive(program, "hashing", &passwords, job).and_then(|derived| {
        accounts.extend(derived);
        job.store(program, &accounts)
    });
    match stored {
        Ok(()) => {
            let count = accounts.len();
            let told = writeln!(io::stdout(), "{count} accounts stored");
            match (told, bad.is_empty()) {
                (Err(e), _) if e.kind() != io::ErrorKind::BrokenPipe => SysExit::IoErr.into(),
                (_, false) => SysExit::DataErr.into(),
                (_, true) => SysExit::Ok.into(),
            }
        }
        Err(error) => {
            say(error.to_string());
            match job.shared {
                Some(_) => exit_of(&error).into(),
                None => SysExit::CantCreate.into(),
            }
        }
    }
}

fn read_all(path: &Path) -> io::Result<SecretBytes> {
    let mut text = Vec::new();
    let mut from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path)?),
    };
    let octets = from
        .by_ref()
        .take(MAX_FILE_OCTETS + 1)
        .read_to_end(&mut text)?;
    if octets as u64 > MAX_FILE_OCTETS {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(SecretBytes::new(text))
}

pub(super) fn export(program: &str, path: &Path, db: &Path) -> ExitCode {
    let say = |text: String| complain(&[format!("{program}: {text}").as_bytes()]);
    let db = match SaslDb::open(db) {
        Ok(db) => db,
        Err(error) => {
            say(error.to_string());
            return error.exit().into();
        }
    };
    let written = match path.as_os_str() == "-" {
        true => {
            let mut out = io::stdout().lock();
            let done = import::write(&db, &mut |row| out.write_all(row));
            done.and_then(|left| out.flush().map(|()| left).map_err(ExportError::Write))
        }
        false => write_file(path, &db),
    };
    match written {
        Ok(left_out) => {
            left_out.iter().for_each(|left| say(left.to_string()));
            let is_bad = |left: &LeftOut| matches!(left, LeftOut::Unreadable(_));
            match left_out.iter().any(is_bad) {
                true => SysExit::DataErr.into(),
                false => SysExit::Ok.into(),
            }
        }
        // A reader that went away has what it wanted.
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            SysExit::Ok.into()
        }
        Err(ExportError::Write(error)) => {
            say(format!("{}: {}", path.display(), reason(&error)));
            SysExit::CantCreate.into()
        }
        Err(error) => {
            say(error.to_string());
            SysExit::IoErr.into()
        }
    }
}

/// Writes to the file at `path`: a device or pipe as it is, any other is replaced. A link or a
/// named pipe that another user has put there gets nothing: the secrets would be his.
fn write_file<M: Map>(path: &Path, db: &SaslDb<M>) -> Result<Vec<LeftOut>, ExportError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() && !is_trusted(&found) => {
            return Err(of_another_user());
        }
        // The link is ours: what it leads to counts.
        Ok(_) => fs::metadata(path),
        Err(_) => return replace(path, db),
    };
    match found {
        Ok(found) if !found.is_file() => {
            let opened = OpenOptions::new().write(true).open(path);
            let file = opened.map_err(ExportError::Write)?;
            let opened = file.metadata().map_err(ExportError::Write)?;
            let is_pipe = opened.file_type().is_fifo();
            // One without a name was handed to us by whoever called us.
            if opened.is_file() || is_pipe && !is_trusted(&opened) && has_a_name(&file) {
                return Err(of_another_user());
            }
            let mut out = BufWriter::new(file);
            let left = import::write(db, &mut |row| out.write_all(row))?;
            out.flush().map_err(ExportError::Write)?;
            Ok(left)
        }
        Ok(_) => replace(&fs::canonicalize(path).map_err(ExportError::Write)?, db),
        Err(_) => replace(path, db),
    }
}

/// Whether root or we have put it there.
fn is_trusted(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
}

/// Whether a pipe stands in a folder, where anybody may have made it.
fn has_a_name(pipe: &File) -> bool {
    rustix::fs::fstatfs(pipe).map_or(true, |system| system.f_type != PIPEFS)
}

/// The file system of pipes without a name (PIPEFS_MAGIC, statfs(2)).
const PIPEFS: rustix::fs::FsWord = 0x5049_5045;

fn of_another_user() -> ExportError {
    ExportError::Write(io::Error::other("what stands there is another user's"))
}

/// Writes beside `path`, readable by its owner alone, and renames: an old file
/// with wider permissions never holds secrets.
fn replace<M: Map>(path: &Path, db: &SaslDb<M>) -> Result<Vec<LeftOut>, ExportError> {
    let draft = beside(path);
    let _ = fs::remove_file(&draft);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(ExportError::Write)?;
    let mut out = BufWriter::new(made);
    let done = import::write(db, &mut |row| out.write_all(row)).and_then(|left| {
        out.flush()
            .and_then(|()| out.get_ref().sync_all())
            .and_then(|()| fs::rename(&draft, path))
            .map_err(ExportError::Write)?;
        Ok(left)
    });
    if done.is_err() {
        let _ = fs::remove_file(&draft);
    }
    done
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".draft");
    path.with_file_name(name)
}
