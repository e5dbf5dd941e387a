//! `mailq export`: what waits, as files that another mail program can be given.
//!
//! `ID.eml` holds a message with lines that end in LF, `ID.from` its sender, `ID.to` whoever
//! still waits for it, an address a line; all addresses stand in angle brackets, so that none
//! reads as an option. The queue stays as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::waiters;
use crate::addressee::Addressee;
use crate::queue::{Envelope, Queue};

/// What was written, and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exported {
    /// Messages.
    pub(super) written: usize,
    /// Messages that are held or quarantined, and stay.
    pub(super) held: usize,
}

/// Writes the messages of a queue into a folder, which is made where it is not there.
///
/// # Errors
/// When one can't be read or written; files that are there already are not touched.
pub(super) fn export(queue: &Queue, folder: &Path) -> io::Result<Exported> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut exported = Exported::default();
    for id in queue.ids() {
        let envelope = queue.envelope(&id).map_err(io::Error::other)?;
        if envelope.hold.is_some() {
            exported.held += 1;
            continue;
        }
        let to = recipients(&envelope);
        if to.is_empty() {
            continue;
        }
        let text = queue
            .text(&envelope)
            .map_err(io::Error::other)?
            .into_reader();
        write(folder, &envelope, &to, text)?;
        exported.written += 1;
    }
    File::open(folder)?.sync_all()?;
    Ok(exported)
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

fn write(folder: &Path, envelope: &Envelope, to: &[Vec<u8>], text: impl Read) -> io::Result<()> {
    let open = |ending: &str| {
        let path = folder.join(format!("{}.{ending}", envelope.id));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    let bracketed = |address: &[u8]| [b"<", address, b">\n"].concat();
    let mut from = open("from")?;
    from.write_all(&bracketed(&envelope.sender.0))?;
    from.sync_all()?;
    let mut list = open("to")?;
    let lines: Vec<Vec<u8>> = to.iter().map(|address| bracketed(address)).collect();
    list.write_all(&lines.concat())?;
    list.sync_all()?;
    // The last, so that a message that is there is whole.
    let mut out = BufWriter::new(open("eml")?);
    with_unix_ends(text, &mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Copies a text, with LF where CRLF was.
fn with_unix_ends(mut text: impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let mut open_cr = false;
    loop {
        let got = text.read(&mut piece)?;
        let octets = piece.get(..got).unwrap_or_default();
        if octets.is_empty() {
            break;
        }
        for octet in octets {
            if open_cr && *octet != b'\n' {
                out.write_all(b"\r")?;
            }
            open_cr = *octet == b'\r';
            if !open_cr {
                out.write_all(&[*octet])?;
            }
        }
    }
    if open_cr {
        out.write_all(b"\r")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Expanded, Octets, Progress, QueuedRecipient, QueuedTarget};

    #[test]
    fn line_ends_become_those_of_unix_wherever_pieces_end() {
        for (text, want) in [
            ("a\r\nb\r\n", "a\nb\n"),
            ("a\nb", "a\nb"),
            ("a\rb\r\r\n", "a\rb\r\n"),
            ("\r", "\r"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            with_unix_ends(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, want.as_bytes(), "{text:?}");
            let (mut whole, halves) = (Vec::new(), text.as_bytes().split_at(text.len() / 2));
            with_unix_ends(halves.0.chain(halves.1), &mut whole).unwrap();
            assert_eq!(whole, want.as_bytes(), "{text:?}");
        }
    }

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
