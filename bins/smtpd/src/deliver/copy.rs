//! One copy: which mailer, as which user, with what in front of the message.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libmaps::site::model::{LocalDelivery, Means};
use libmaps::site::users::User;
use libmaps::sysexits::SysExit;

use crate::clock::now_unix;
use crate::own_program;
use crate::privilege::default_user_of;
use crate::queue::{Envelope, QueuedTarget, Text};
use crate::world::World;

use super::by_mailer::{Written, program_job, socket_job, user_of};
use super::file::{self, Locking};
use super::frame::{FrameReader, FrameWriter};
use super::lanes::{ComeAgain, Lanes};
use super::lmtp::{self, Letter};
use super::outcome::Outcome;
use super::program::{self, Program, RunAs};
use super::safe_folder;
use super::senders::{self, Senders};
use super::shape::{self, Shape};

/// Folder of mailboxes.
pub(crate) const MAIL_FOLDER: &str = "/var/mail";

/// Files that are written at one time, by a process each, and handed to LMTP servers.
static FILES: Lanes = Lanes::new(16, PER_USER, ROOM);
/// Programs that run at one time, and files of users that are written: they may take an hour, and
/// keep nobody from his mailbox.
static PROGRAMS: Lanes = Lanes::new(32, PER_USER, ROOM);
/// Copies of one user, or of one file or program that an alias names, at one time.
const PER_USER: usize = 4;
/// Room for those that wait, of each kind.
const ROOM: usize = 1000;

/// Sends away what waits for a place: the server ends.
pub(super) fn send_away() {
    senders::send_away();
    FILES.send_away();
    PROGRAMS.send_away();
}

/// What a copy on this machine takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A moment.
    File,
    /// As long as somebody else likes: a program, or a file in a home.
    Program,
}

/// Delivers one copy when it is its turn.
///
/// # Errors
/// When its user has so much mail that it is not its turn in this time.
pub(super) async fn deliver(
    world: &Arc<World>,
    envelope: &Envelope,
    target: &QueuedTarget,
    kind: Kind,
    senders: &Senders,
    patience: Duration,
) -> Result<Outcome, ComeAgain> {
    let mailer = world.site.mailers.get(&target.mailer);
    if let Some(outcome) = mailer.and_then(|mailer| Outcome::too_large(mailer, envelope)) {
        return Ok(outcome);
    }
    let written = match Written::of(world, envelope, target, senders, patience).await? {
        Ok(written) => written,
        Err(outcome) => return Ok(outcome),
    };
    let lanes = match kind {
        Kind::File => &FILES,
        Kind::Program => &PROGRAMS,
    };
    let lane = lane(world, target);
    let _place = lanes.enter(&lane, envelope.weight(), patience).await?;
    let job = match job(world, envelope, target, written) {
        Ok(job) => job,
        Err(outcome) => return Ok(outcome),
    };
    let text = match world.queue.text(envelope) {
        Ok(text) => text,
        Err(error) => return Ok(Outcome::deferred(error.to_string()).with_status("4.3.0")),
    };
    let world = Arc::clone(world);
    let done = tokio::task::spawn_blocking(move || job.run(&world, text)).await;
    let interrupted = |_| Outcome::deferred("delivery was interrupted").with_status("4.3.0");
    Ok(done.unwrap_or_else(interrupted))
}

/// What a copy by the local mailer takes.
pub(super) fn local_kind(world: &World) -> Kind {
    kind_of(world, &world.site.mailers.local)
}

fn kind_of(world: &World, mailer: &str) -> Kind {
    let mailer = world.site.mailers.get(mailer);
    match mailer.is_some_and(|mailer| Means::of(&world.site, mailer).runs()) {
        true => Kind::Program,
        false => Kind::File,
    }
}

/// What this copy takes; `local` is what one by the local mailer does.
pub(super) fn kind(world: &World, target: &QueuedTarget, local: Kind) -> Kind {
    match target.mailer.as_str() {
        "*file*" if target.controller.is_some() => Kind::Program,
        mailer if mailer == world.site.mailers.local => local,
        mailer => kind_of(world, mailer),
    }
}

/// Whose turn it takes: the user's who gets it or whose `.forward` names it, else the file's or
/// the program's own.
fn lane(world: &World, target: &QueuedTarget) -> String {
    match &target.controller {
        Some(user) => format!("user {user}"),
        None if target.mailer == world.site.mailers.local => {
            format!("user {}", target.user.shown())
        }
        None => format!("{} {}", target.mailer, target.user.shown()),
    }
}

/// What is to be done, all known.
pub(super) enum Job {
    Append {
        path: PathBuf,
        /// The folder that it must be in, by whatever links.
        below: Option<PathBuf>,
        locking: Locking,
        shape: Shape,
        run_as: RunAs,
    },
    Maildir {
        folder: PathBuf,
        below: Option<PathBuf>,
        shape: Shape,
        run_as: RunAs,
    },
    Run {
        program: Program,
        shape: Shape,
    },
    /// A program of our own that has the message in frames.
    Framed {
        program: Program,
        shape: Shape,
    },
    Lmtp {
        socket: PathBuf,
        shape: Shape,
        sender: String,
        recipient: String,
    },
    Discard,
}

/// The job of a copy.
fn job(
    world: &Arc<World>,
    envelope: &Envelope,
    target: &QueuedTarget,
    written: Written,
) -> Result<Job, Outcome> {
    let site = &world.site;
    match target.mailer.as_str() {
        "*file*" => return file_job(world, target, written),
        "discard" => return Ok(Job::Discard),
        _ => {}
    }
    let Some(mailer) = site.mailers.get(&target.mailer) else {
        let text = format!("mailer {} is not known", target.mailer);
        return Err(Outcome::deferred(text).with_status("4.3.5"));
    };
    let is_procmail = site.features.local == LocalDelivery::Procmail
        && target.mailer == site.mailers.local
        && Path::new(&mailer.path).ends_with("procmail");
    match Means::of(site, mailer) {
        Means::Mailbox => {
            let user = user_of(world, target)?;
            Ok(mailbox_job(world, &user, written))
        }
        // Root's mail goes to the mailbox: no program is run as root by the server's word, and
        // procmail would put it there.
        Means::Program if is_procmail && mailer.has('w') && serves_by_agent() => {
            match user_of(world, target)? {
                user if user.uid == 0 => Ok(mailbox_job(world, &user, written)),
                _ => program_job(world, envelope, target, mailer, written),
            }
        }
        Means::Program | Means::LmtpProgram => {
            program_job(world, envelope, target, mailer, written)
        }
        Means::LmtpSocket(path) => socket_job(world, target, mailer, &path, written),
        Means::Relay | Means::BuiltIn => {
            let text = format!("mailer {} delivers nothing here", mailer.name);
            Err(Outcome::deferred(text).with_status("4.3.5"))
        }
        Means::Unserved(why) => {
            let text = format!("mailer {}: {why}", mailer.name);
            Err(Outcome::deferred(text).with_status("4.3.5"))
        }
    }
}

/// `/var/mail/USER`, as the user, with the group of the folder for the dotlock.
fn mailbox_job(world: &World, user: &User, written: Written) -> Job {
    let folder = world.site.below(Path::new(MAIL_FOLDER));
    let group = group_of_mailboxes(&folder).unwrap_or(user.gid);
    Job::Append {
        path: folder.join(&user.name),
        below: None,
        locking: Locking::Dotlock,
        shape: Shape::mailbox(&written.sender, now_unix()).with_header(written.header),
        run_as: RunAs {
            uid: user.uid,
            gid: group,
        },
    }
}

/// The group of the folder of mailboxes, which a dotlock there may need; never root's.
pub(crate) fn group_of_mailboxes(folder: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(folder).ok()?;
    Some(std::os::unix::fs::MetadataExt::gid(&metadata)).filter(|gid| *gid != 0)
}

/// A file that an alias or a `.forward` names; a final slash means Maildir.
fn file_job(world: &World, target: &QueuedTarget, written: Written) -> Result<Job, Outcome> {
    // Taken by its name, whatever stands there: sendmail looks at no file either.
    if target.user.0 == b"/dev/null" {
        return Ok(Job::Discard);
    }
    let name = Path::new(OsStr::from_bytes(&target.user.0));
    let allowed = world.site.options.files.safe_file_environment.as_deref();
    let path = match allowed.filter(|p| *p != Path::new("/")) {
        // SafeFileEnvironment: the file must lie below, and is named from there or from the root.
        Some(base) => {
            let inner = name
                .strip_prefix(base)
                .unwrap_or(name.strip_prefix("/").unwrap_or(name));
            world.site.below(&base.join(inner))
        }
        None => world.site.below(name),
    };
    if name
        .components()
        .any(|c| c == std::path::Component::ParentDir)
    {
        return Err(Outcome::failed("5.2.0", "no .. in names of files"));
    }
    let run_as = run_as(world, target.controller.as_deref())?;
    let below = safe_folder::of_site(&world.site);
    if target.user.0.ends_with(b"/") {
        return Ok(Job::Maildir {
            folder: path,
            below,
            shape: Shape::maildir(&written.sender).with_header(written.header),
            run_as,
        });
    }
    Ok(Job::Append {
        path,
        below,
        locking: Locking::Fcntl,
        shape: Shape::mailbox(&written.sender, now_unix()).with_header(written.header),
        run_as,
    })
}

/// With whose rights: those of the user whose list names it, else DefaultUser's.
pub(super) fn run_as(world: &World, lister: Option<&str>) -> Result<RunAs, Outcome> {
    if let Some(name) = lister {
        return match world.users.get(name) {
            Ok(Some(user)) => Ok(RunAs {
                uid: user.uid,
                gid: user.gid,
            }),
            _ => Err(Outcome::deferred(format!("{name}: no such user now"))),
        };
    }
    match default_user_of(&world.site) {
        Ok((uid, gid)) => Ok(RunAs { uid, gid }),
        Err(why) => Err(Outcome::deferred(format!("DefaultUser: {why}"))),
    }
}

impl Job {
    fn run(self, world: &World, text: Text) -> Outcome {
        match self {
            Job::Append {
                path,
                below,
                locking,
                shape,
                run_as,
            } => {
                let lock = match locking {
                    Locking::Dotlock => "dotlock",
                    Locking::Fcntl => "fcntl",
                };
                let words = words_below(below.as_deref(), ["append", lock]);
                words.map_or_else(
                    |outcome| outcome,
                    |words| by_helper(run_as, &words, &path, text, &shape),
                )
            }
            Job::Maildir {
                folder,
                below,
                shape,
                run_as,
            } => {
                let words = words_below(below.as_deref(), ["maildir", &world.site.host_name]);
                words.map_or_else(
                    |outcome| outcome,
                    |words| by_helper(run_as, &words, &folder, text, &shape),
                )
            }
            Job::Run { program, shape } => program::run(program.with_our_rights(), |out| {
                shape::write(text.into_reader(), &shape, out)
            }),
            Job::Framed { program, shape } => program::run(program.with_our_rights(), |out| {
                let mut frames = FrameWriter::new(out);
                shape::write(text.into_reader(), &shape, &mut frames)?;
                frames.finish()
            }),
            Job::Lmtp {
                socket,
                shape,
                sender,
                recipient,
            } => {
                let letter = Letter {
                    host: &world.site.host_name,
                    sender: &sender,
                    recipient: &recipient,
                };
                let timeouts = &world.site.options.timeouts;
                let write = |out: &mut dyn io::Write| shape::write(text.into_reader(), &shape, out);
                lmtp::by_socket(&socket, timeouts, &letter, write)
            }
            Job::Discard => Outcome::sent(),
        }
    }
}

/// What a file is written with, and the folder that it must be in before that.
fn words_below<'a>(below: Option<&'a Path>, words: [&'a str; 2]) -> Result<Vec<&'a str>, Outcome> {
    let Some(below) = below else {
        return Ok(words.to_vec());
    };
    let below = below.to_str().ok_or_else(|| {
        Outcome::deferred("SafeFileEnvironment: its name is no text").with_status("4.3.5")
    })?;
    let [how, word] = words;
    Ok(vec!["below", below, how, word])
}

/// Writes to a file as its user: by a process of our own where we are root, else here.
pub(super) fn by_helper(
    run_as: RunAs,
    words: &[&str],
    path: &Path,
    text: Text,
    shape: &Shape,
) -> Outcome {
    if !is_root() {
        return here(words, path, text, shape);
    }
    let Ok(this) = own_program::path() else {
        return Outcome::deferred("cannot find my own program file").with_status("4.3.0");
    };
    let mut args: Vec<OsString> = vec!["deliver-file".into()];
    args.extend(words.iter().map(OsString::from));
    args.push(path.into());
    let program = Program {
        path: this,
        name: None,
        args,
        folder: None,
        run_as: Some(run_as),
    };
    program::run(program, |out| {
        let mut frames = FrameWriter::new(out);
        shape::write(text.into_reader(), shape, &mut frames)?;
        frames.finish()
    })
}

fn here(words: &[&str], path: &Path, text: Text, shape: &Shape) -> Outcome {
    let mut whole = Vec::new();
    let done = shape::write(text.into_reader(), shape, &mut whole)
        .and_then(|()| write_file(words, path, &mut whole.as_slice()));
    match done {
        Ok(()) => Outcome::sent(),
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            match error.kind() {
                io::ErrorKind::QuotaExceeded => Outcome::deferred(text).with_status("4.2.2"),
                io::ErrorKind::StorageFull => Outcome::deferred(text).with_status("4.3.1"),
                _ => program::by_exit(exit_of_file(words, &error).code().into(), text),
            }
        }
    }
}

/// How a file that could not be written is told of. Mailboxes and Maildirs are never given
/// up: what keeps us out may be a file system that is not mounted. A file that an alias or
/// a `.forward` names fails for good where sendmail's `*file*` mailer does.
#[must_use]
pub fn exit_of_file(words: &[&str], error: &io::Error) -> SysExit {
    let closed = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
    );
    match words {
        ["append", "fcntl"] | ["below", _, "append", "fcntl"] if closed => SysExit::CantCreate,
        _ => SysExit::TempFail,
    }
}

/// What `smtpd deliver-file [below FOLDER] append|maildir WORD PATH` does with its standard input, a
/// message in frames.
///
/// # Errors
/// What the system says, or that the words are not understood, or that the message
/// broke off.
pub fn write_framed_file(words: &[&str], path: &Path, text: impl io::Read) -> io::Result<()> {
    write_file(words, path, &mut FrameReader::new(text))
}

fn write_file(words: &[&str], path: &Path, text: &mut dyn io::Read) -> io::Result<()> {
    match words {
        ["append", "dotlock"] => file::append(path, Locking::Dotlock, text),
        ["append", "fcntl"] => file::append(path, Locking::Fcntl, text),
        ["maildir", host] => file::maildir(path, host, text),
        ["below", base, "append", "fcntl"] => {
            file::append_below(Some(Path::new(base)), path, Locking::Fcntl, text)
        }
        ["below", base, "maildir", host] => {
            file::maildir_below(Some(Path::new(base)), path, host, text)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "append dotlock|fcntl, or maildir HOST",
        )),
    }
}

fn serves_by_agent() -> bool {
    crate::agent::running().is_some()
}

/// Whether programs can run as other users: by our own rights or the agent's.
#[allow(unsafe_code)] // geteuid(2) has no safe form in std.
fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    serves_by_agent() || unsafe { libc::geteuid() == 0 }
}

impl Program {
    /// Without root's rights nobody can become another user: the program runs as we do.
    fn with_our_rights(self) -> Self {
        if is_root() {
            self
        } else {
            Program {
                run_as: None,
                ..self
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_aliases_name_are_given_up() {
        let exit = |words: &[&str], kind: io::ErrorKind| exit_of_file(words, &kind.into());
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
            assert_eq!(exit(&["append", "dotlock"], kind), SysExit::TempFail);
            assert_eq!(exit(&["maildir", "mx.example"], kind), SysExit::TempFail);
            assert_eq!(exit(&["append", "fcntl"], kind), SysExit::CantCreate);
        }
        let full = io::ErrorKind::StorageFull;
        assert_eq!(exit(&["append", "fcntl"], full), SysExit::TempFail);
    }
}
