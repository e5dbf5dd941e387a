//! The format of a dropped file, written by `sendmail` and read by the server.
//!
//! ```text
//! message text, lines end in CRLF
//! a Submission as JSON
//! smtpd-drop 1 0000000000000c0d 000001f4        octets of the text and of the JSON, in hex
//! ```
//!
//! The last line has a fixed size, so the text can be written as it comes. A file is
//! believed only when its parts add up to its size to the octet.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libmaps::opening;

use super::DropId;
use super::submission::{Submission, SubmissionFault};

/// What the last line begins with: the format and its number.
const MAGIC: &str = "smtpd-drop 1 ";
/// Octets of the last line.
const TRAILER_OCTETS: usize = MAGIC.len() + 16 + 1 + 8 + 1;
/// Largest envelope.
pub(super) const MAX_JSON_OCTETS: u64 = 16 * 1024 * 1024;
/// How often a name is tried that is taken.
const MAX_NAMES: usize = 16;

/// A file that is being written. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct DropWriter {
    folder: PathBuf,
    id: DropId,
    out: BufWriter<File>,
    octets: u64,
    finished: bool,
}

impl DropWriter {
    /// Starts a file in the folder, under a name that nobody has.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let id = DropId::random()?;
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o660)
                .custom_flags(libc::O_NOFOLLOW)
                .open(id.unfinished(folder));
            match opened {
                Ok(file) => {
                    // Whatever the caller's umask: the server reads it as another user.
                    file.set_permissions(std::fs::Permissions::from_mode(0o660))?;
                    join_group(&file, folder);
                    return Ok(DropWriter {
                        folder: folder.into(),
                        id,
                        out: BufWriter::new(file),
                        octets: 0,
                        finished: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < MAX_NAMES => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The id that the message will have.
    #[must_use]
    pub fn id(&self) -> &DropId {
        &self.id
    }

    /// Octets of text so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds text; its lines end in CRLF.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn push(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)?;
        self.octets += text.len() as u64;
        Ok(())
    }

    /// Ends the file and puts it where the server finds it; durable when this returns.
    ///
    /// # Errors
    /// When it can't be written or synced; then the server does not find it.
    pub fn finish(mut self, submission: &Submission) -> io::Result<DropId> {
        let json = serde_json::to_vec(submission).map_err(io::Error::other)?;
        self.out.write_all(&json)?;
        let trailer = format!("{MAGIC}{:016x} {:08x}\n", self.octets, json.len());
        self.out.write_all(trailer.as_bytes())?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        let complete = self.id.complete(&self.folder);
        std::fs::rename(self.id.unfinished(&self.folder), &complete)?;
        self.finished = true;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        match synced {
            Ok(()) => Ok(self.id.clone()),
            // One that the server has taken already is safe in the queue.
            Err(_) if std::fs::remove_file(&complete).is_err() => Ok(self.id.clone()),
            Err(error) => Err(error),
        }
    }
}

/// Gives the file the folder's group, which a server that is not root reads it by. A caller
/// of that group makes it so anyway; root can, and others need not.
fn join_group(file: &File, folder: &Path) {
    let group = |m: io::Result<std::fs::Metadata>| m.map(|m| m.gid()).ok();
    let (own, wanted) = (group(file.metadata()), group(std::fs::metadata(folder)));
    if own != wanted {
        let _ = std::os::unix::fs::fchown(file, None, wanted);
    }
}

impl Drop for DropWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(self.id.unfinished(&self.folder));
        }
    }
}

/// A dropped file, opened and understood, at the start of its text.
#[derive(Debug)]
pub struct Dropped {
    /// What is wanted.
    pub submission: Submission,
    /// The text follows from here.
    pub file: File,
    /// Octets of the text.
    pub octets: u64,
    /// The file's owner: who submitted it.
    pub uid: u32,
    /// When it was written.
    pub written: SystemTime,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DropFault {
    /// There is no file of this name any more.
    #[error("it is gone")]
    Gone,
    /// It can't be read, or its message not be stored, now; it stays.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no regular file, or has more than one name.
    #[error("not a regular file of one name")]
    Kind,
    /// Its parts do not add up.
    #[error("not a file of sendmail's, or cut off")]
    Shape,
    /// The envelope does not read.
    #[error("the envelope does not read: {0}")]
    Json(serde_json::Error),
    /// The envelope asks for what may not be.
    #[error(transparent)]
    Submission(#[from] SubmissionFault),
    /// The text holds what no message may hold.
    #[error("the text has a bare CR, LF or NUL")]
    Text,
    /// The message is larger than the site allows.
    #[error("the message is larger than MaxMessageSize")]
    TooLarge,
    /// The header is larger than the site allows.
    #[error("the header is larger than MaxHeadersLength")]
    Headers,
}

impl DropFault {
    /// Whether the same file may be taken later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, DropFault::Io(_))
    }
}

/// Opens a dropped file; links are not followed, and nothing that is opened can block.
///
/// # Errors
/// What is wrong with it; [`DropFault::Gone`] only where there is none.
pub fn open(path: &Path) -> Result<Dropped, DropFault> {
    let opened = opening::file_without_link(path);
    let file = opened.map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => DropFault::Gone,
        Some(libc::ELOOP | libc::ENXIO) => DropFault::Kind,
        _ => DropFault::Io(e),
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(DropFault::Kind);
    }
    let (mut file, size) = (file, metadata.len());
    let (submission, octets) = read_end(&mut file, size)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Dropped {
        submission,
        file,
        octets,
        uid: metadata.uid(),
        written: metadata.modified()?,
    })
}

/// Reads envelope and last line of a file of `size` octets; also how many of them are text.
///
/// # Errors
/// What is wrong.
pub fn read_end(file: &mut (impl Read + Seek), size: u64) -> Result<(Submission, u64), DropFault> {
    let Some(end) = size.checked_sub(TRAILER_OCTETS as u64) else {
        return Err(DropFault::Shape);
    };
    file.seek(SeekFrom::Start(end))?;
    let mut trailer = [0u8; TRAILER_OCTETS];
    file.read_exact(&mut trailer)?;
    let (text, json) = parse_trailer(&trailer).ok_or(DropFault::Shape)?;
    if json > MAX_JSON_OCTETS || text.checked_add(json) != Some(end) {
        return Err(DropFault::Shape);
    }
    file.seek(SeekFrom::Start(text))?;
    let mut octets = Vec::new();
    file.take(json).read_to_end(&mut octets)?;
    let submission: Submission = serde_json::from_slice(&octets).map_err(DropFault::Json)?;
    submission.check()?;
    Ok((submission, text))
}

fn parse_trailer(line: &[u8]) -> Option<(u64, u64)> {
    let line = std::str::from_utf8(line).ok()?;
    let numbers = line.strip_prefix(MAGIC)?.strip_suffix('\n')?;
    let (text, json) = numbers.split_once(' ')?;
    let hex = |digits: &str, length: usize| {
        let plain = digits.len() == length && digits.bytes().all(|c| c.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(digits, 16).ok())?
    };
    Some((hex(text, 16)?, hex(json, 8)?))
}

#[cfg(test)]
mod tests {
    use super::super::submission::Wanted;
    use super::*;

    fn submission() -> Submission {
        Submission::to(vec![Wanted {
            address: "ann".into(),
            notify: None,
            orcpt: None,
        }])
    }

    fn dropped(folder: &Path) -> DropId {
        let mut writer = DropWriter::create(folder).unwrap();
        writer.push(b"Subject: x\r\n\r\n").unwrap();
        writer.push(b"body\r\n").unwrap();
        writer.finish(&submission()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let id = dropped(folder.path());
        let mut read = open(&id.complete(folder.path())).unwrap();
        assert_eq!(read.submission, submission());
        let mut text = String::new();
        (&mut read.file)
            .take(read.octets)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "Subject: x\r\n\r\nbody\r\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_one_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = DropWriter::create(folder.path()).unwrap();
        writer.push(b"x").unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_cut_and_every_flipped_octet_of_the_end_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let id = dropped(folder.path());
        let whole = std::fs::read(id.complete(folder.path())).unwrap();
        for size in 0..whole.len() {
            let mut cut = io::Cursor::new(&whole[..size]);
            assert!(read_end(&mut cut, size as u64).is_err(), "cut at {size}");
        }
        for at in whole.len() - TRAILER_OCTETS..whole.len() {
            let mut other = whole.clone();
            other[at] = b'g';
            let size = other.len() as u64;
            assert!(read_end(&mut io::Cursor::new(other), size).is_err(), "{at}");
        }
        let mut longer = whole.clone();
        longer.insert(0, b'x');
        let size = longer.len() as u64;
        assert!(read_end(&mut io::Cursor::new(longer), size).is_err());
    }

    #[test]
    fn links_and_fifos_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let id = dropped(folder.path());
        let file = id.complete(folder.path());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(matches!(open(&link), Err(DropFault::Kind)));
        let second = folder.path().join("second");
        std::fs::hard_link(&file, &second).unwrap();
        assert!(matches!(open(&file), Err(DropFault::Kind)));
        assert!(matches!(open(folder.path()), Err(DropFault::Kind)));
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path().join("fifo"))
            .status();
        if made.is_ok_and(|s| s.success()) {
            let fifo = open(&folder.path().join("fifo"));
            assert!(matches!(fifo, Err(DropFault::Kind)), "{fifo:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_the_reader_panic(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let size = octets.len() as u64;
            let _ = read_end(&mut io::Cursor::new(octets), size);
        }

        #[test]
        fn no_envelope_makes_the_reader_panic(text in 0u64..400, json in "\\PC{0,200}") {
            let mut octets = vec![b'x'; usize::try_from(text).unwrap()];
            octets.extend_from_slice(json.as_bytes());
            octets.extend_from_slice(format!("{MAGIC}{text:016x} {:08x}\n", json.len()).as_bytes());
            let size = octets.len() as u64;
            let _ = read_end(&mut io::Cursor::new(octets), size);
        }
    }
}
