//! `mailq export`: what waits, as files that another mail program can be given.
//!
//! `ID.eml` holds a message with lines that end in LF, `ID.from` its sender, `ID.to` whoever
//! still waits for it, an address a line; all addresses stand in angle brackets, so that none
//! reads as an option. An `ID.eml` that is there is whole, and so are the others of its ID. The
//! queue stays as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::layout::waiters;
use crate::addressee::Addressee;
use crate::deliver::shape::{self, Shape};
use crate::queue::{Envelope, Queue};

/// What was written, and what was not.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// Messages.
    pub(super) written: usize,
    /// Messages that are held or quarantined, and stay.
    pub(super) held: usize,
    /// Messages that can't be read or written, and why.
    pub(super) failed: Vec<(Box<str>, io::Error)>,
}

/// What becomes of one message.
enum Fate {
    Written,
    Held,
    /// Nobody waits for it.
    Over,
}

/// Writes the messages of a queue into a folder, which is made where it is not there. One that
/// can't be read or written keeps no other from it, and leaves nothing of itself there; files
/// that are there already are not touched.
///
/// # Errors
/// When the folder can't be made or synced.
pub(super) fn export(queue: &Queue, folder: &Path) -> io::Result<Exported> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut exported = Exported::default();
    for id in queue.ids() {
        match export_one(queue, folder, &id) {
            Ok(Fate::Written) => exported.written += 1,
            Ok(Fate::Held) => exported.held += 1,
            Ok(Fate::Over) => {}
            Err(error) => exported.failed.push((id, error)),
        }
    }
    File::open(folder)?.sync_all()?;
    Ok(exported)
}

fn export_one(queue: &Queue, folder: &Path, id: &str) -> io::Result<Fate> {
    let envelope = queue.envelope(id).map_err(io::Error::other)?;
    if envelope.hold.is_some() {
        return Ok(Fate::Held);
    }
    let to = recipients(&envelope);
    if to.is_empty() {
        return Ok(Fate::Over);
    }
    let text = queue.text(&envelope).map_err(io::Error::other)?;
    write(folder, &envelope, &to, text.into_reader())?;
    Ok(Fate::Written)
}

/// Who waits, as another program takes him. Files and programs are those of an alias, which
/// stands for them.
fn recipients(envelope: &Envelope) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for waiter in waiters(envelope) {
        let recipient = envelope.recipients.get(waiter.recipient);
        let recipient = recipient.map(|r| r.address.0.clone());
        let own = waiter.target.filter(|target| {
            let is_address = !matches!(target.mailer.as_str(), "prog" | "*file*" | "error");
            is_address && matches!(Addressee::of(envelope, target), Addressee::Other { .. })
        });
        let address = own.map(|target| target.user.0.clone()).or(recipient);
        all.extend(address.filter(|address| !all.contains(address)));
    }
    all
}

/// The files of one message; those that were made are removed unless it becomes whole.
struct Files {
    /// The folder, and the ID.
    stem: PathBuf,
    made: Vec<PathBuf>,
}

impl Files {
    fn path(&self, ending: &str) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn create(&mut self, ending: &str) -> io::Result<File> {
        let path = self.path(ending);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| about(&path, &error))?;
        self.made.push(path);
        Ok(file)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write(folder: &Path, envelope: &Envelope, to: &[Vec<u8>], message: impl Read) -> io::Result<()> {
    let mut files = Files {
        stem: folder.join(&*envelope.id),
        made: Vec::new(),
    };
    let bracketed = |address: &[u8]| [b"<", address, b">\n"].concat();
    let mut from = files.create(".from")?;
    from.write_all(&bracketed(&envelope.sender.0))?;
    from.sync_all()?;
    let mut list = files.create(".to")?;
    let lines: Vec<Vec<u8>> = to.iter().map(|address| bracketed(address)).collect();
    list.write_all(&lines.concat())?;
    list.sync_all()?;
    let mut out = BufWriter::new(files.create(".eml.new")?);
    shape::write(message, &Shape::plain(), &mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    // The last, so that a message that is there is whole.
    let (new, path) = (files.path(".eml.new"), files.path(".eml"));
    renameat_with(CWD, &new, CWD, &path, RenameFlags::NOREPLACE)
        .or_else(|error| match error {
            // Some file systems know no flags; `.to` and `.from` were not there either.
            Errno::INVAL | Errno::NOSYS => Ok(fs::rename(&new, &path)?),
            error => Err(io::Error::from(error)),
        })
        .map_err(|error| about(&path, &error))?;
    files.made.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Expanded, Octets, Progress, QueuedRecipient, QueuedTarget};

    #[test]
    fn those_who_wait_get_it_and_no_others() {
        let recipient = |address: &str, expanded| QueuedRecipient {
            address: Octets::from(address),
            expanded,
            ..QueuedRecipient::default()
        };
        let copy = |recipient, mailer: &str, user: &str, progress| QueuedTarget {
            recipient,
            mailer: mailer.into(),
            user: Octets::from(user),
            progress,
            ..QueuedTarget::default()
        };
        let envelope = Envelope {
            recipients: vec![
                recipient("staff@a.example", Expanded::Yes),
                recipient("-O@a.example", Expanded::No),
                recipient("archive@a.example", Expanded::Yes),
                recipient("gone@a.example", Expanded::Told),
            ],
            targets: vec![
                copy(0, "local", "bob", Progress::Done),
                copy(0, "local", "ann", Progress::Waiting),
                copy(0, "esmtp", "x@late.example", Progress::Waiting),
                copy(2, "*file*", "/var/archive", Progress::Waiting),
                copy(2, "prog", "x", Progress::Waiting),
            ],
            ..Envelope::default()
        };
        let all = recipients(&envelope).concat();
        let all = String::from_utf8(all).unwrap();
        assert_eq!(all, "annx@late.example-O@a.examplearchive@a.example");
    }
}
