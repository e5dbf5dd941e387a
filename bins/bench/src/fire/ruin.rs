//! The disk full in the middle, and no more files to be opened.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::Clients;
use super::server::Server;
use super::{Field, Fire, Totals};

/// Octets of the small disk.
const DISK_OCTETS: u64 = 24 * 1024 * 1024;

/// Why something can't be tried here.
#[derive(Debug)]
pub struct Skipped(pub String);

/// What came of it, or why it was not tried.
pub type Tried = Result<Totals, Skipped>;

/// Fills the disk of the queue while mail comes in, kills the server on the full disk, and
/// makes room again. Needs root, for the disk is a small tmpfs of its own.
///
/// # Errors
/// The server can't be started, or the queue stands still.
pub fn full_disk(fire: &Fire) -> io::Result<Tried> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(Err(Skipped("only root can mount a small disk".into())));
    }
    let mut field = Field::lay_out(fire)?;
    let disk = match Disk::mount(&field.site.queue()) {
        Ok(disk) => disk,
        Err(error) => return Ok(Err(Skipped(format!("no small disk: {error}")))),
    };
    field.site.enter(disk.inside());
    let start = || Server::start(&fire.programs, field.site.root(), field.site.inside());
    let mut server = start()?;
    let clients = Clients::start(fire, server.port(), &field.ledger);
    let mut kills = 0;
    for turn in 0..3 {
        if clients.done_within(Duration::from_millis(300)) {
            break;
        }
        disk.fill()?;
        // Some of the mail that comes now is refused.
        if clients.done_within(Duration::from_millis(1500)) {
            disk.make_room()?;
            break;
        }
        if turn == 1 {
            server.kill();
            field.ledger.next_life();
            kills += 1;
            // Where it can't open its queue for want of room it must say so, and can later.
            server = match start() {
                Ok(server) => server,
                Err(_) => {
                    disk.make_room()?;
                    start()?
                }
            };
            clients.move_to(server.port());
        }
        disk.make_room()?;
    }
    clients.join();
    let waiting = field.drain(&fire.programs)?;
    let mut totals = field.close(kills)?;
    totals.waiting = waiting;
    Ok(Ok(totals))
}

/// A small disk in a mount namespace that a sleeping process holds.
struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    fn mount(folder: &Path) -> io::Result<Self> {
        let script = format!(
            "mount -t tmpfs -o size={DISK_OCTETS},mode=700 tmpfs \"$0\" && echo mounted && exec sleep 3600"
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).arg(folder);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let holder = command.stdout(Stdio::piped()).spawn()?;
        let mut disk = Disk {
            holder,
            folder: folder.into(),
        };
        let mut said = String::new();
        if let Some(out) = disk.holder.stdout.take() {
            BufReader::new(out).read_line(&mut said)?;
        }
        match said.trim() {
            "mounted" => Ok(disk),
            _ => Err(io::Error::other("mount(8) failed")),
        }
    }

    /// The words that start a program there.
    fn inside(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        ["nsenter".to_owned(), namespace, "--".to_owned()].into()
    }

    /// Our ballast, as the holder sees it.
    fn ballast(&self) -> PathBuf {
        let folder = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(folder)
            .join("ballast")
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = fs::File::create(self.ballast())?;
        let block = vec![b'x'; 4096];
        while file.write_all(&block).is_ok() {}
        Ok(())
    }

    fn make_room(&self) -> io::Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Lets the server open so few files that it runs out of them while mail comes in over more
/// connections than there may be sessions.
///
/// # Errors
/// The server can't be started, or the queue stands still.
pub fn few_files(fire: &Fire, files: u32) -> io::Result<Totals> {
    let field = Field::lay_out(fire)?;
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    let before: Vec<String> = ["/bin/sh", "-c", &script].map(String::from).into();
    let server = Server::start(&fire.programs, field.site.root(), &before)?;
    let clients = Clients::start(fire, server.port(), &field.ledger);
    clients.join();
    let waiting = field.drain(&fire.programs)?;
    let mut totals = field.close(0)?;
    totals.waiting = waiting;
    Ok(totals)
}
