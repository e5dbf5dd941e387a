//! One copy: which mailer, as which user, with what in front of the message.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libmaps::site::Site;
use libmaps::site::model::{LocalDelivery, Mailer};
use libmaps::site::users::User;
use libmaps::sysexits::SysExit;

use crate::clock::now_unix;
use crate::macros;
use crate::own_program;
use crate::privilege::ids_of;
use crate::queue::{Envelope, Octets, QueuedTarget, Text};
use crate::world::World;

use super::arguments::{Values, arguments};
use super::file::{self, Locking};
use super::frame::{FrameReader, FrameWriter};
use super::lanes::{ComeAgain, Lanes};
use super::lmtp::{self, Letter};
use super::outcome::Outcome;
use super::program::{self, Program, RunAs};
use super::safe_folder;
use super::senders::{self, Senders};
use super::text::{self, Front};

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
    let sender = target.owner.as_ref().unwrap_or(&envelope.sender);
    let sender = senders.form(world, sender, patience).await?;
    let lanes = match kind {
        Kind::File => &FILES,
        Kind::Program => &PROGRAMS,
    };
    let lane = lane(world, target);
    let _place = lanes.enter(&lane, envelope.weight(), patience).await?;
    let job = match job(world, envelope, target, sender) {
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
    let mailer = world.site.mailers.get(&world.site.mailers.local);
    match (world.site.features.local, mailer) {
        (LocalDelivery::Procmail, Some(mailer)) if Path::new(&mailer.path).exists() => {
            Kind::Program
        }
        _ => Kind::File,
    }
}

/// What this copy takes; `local` is what one by the local mailer does.
pub(super) fn kind(world: &World, target: &QueuedTarget, local: Kind) -> Kind {
    match target.mailer.as_str() {
        "prog" => Kind::Program,
        "*file*" if target.controller.is_some() => Kind::Program,
        mailer if mailer == world.site.mailers.local => local,
        _ => Kind::File,
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
enum Job {
    Append {
        path: PathBuf,
        /// The folder that it must be in, by whatever links.
        below: Option<PathBuf>,
        locking: Locking,
        front: Front,
        run_as: RunAs,
    },
    Maildir {
        folder: PathBuf,
        below: Option<PathBuf>,
        front: Front,
        run_as: RunAs,
    },
    Run {
        program: Program,
        front: Front,
    },
    Lmtp {
        socket: PathBuf,
        sender: String,
        recipient: String,
    },
    Discard,
}

/// The job of a copy; `sender` is the envelope sender as a local mailer sees it.
fn job(
    world: &Arc<World>,
    envelope: &Envelope,
    target: &QueuedTarget,
    sender: String,
) -> Result<Job, Outcome> {
    let site = &world.site;
    let front = Front::mailbox(&sender, now_unix());
    if target.mailer == "*file*" {
        return file_job(world, target, front);
    }
    if target.mailer == "discard" {
        return Ok(Job::Discard);
    }
    if target.mailer == "prog" {
        let front = Front {
            return_path: None,
            ..front
        };
        let values = Values::of(site, envelope, target, &sender);
        return program_job(world, target, front, values);
    }
    if target.mailer != site.mailers.local {
        return Err(Outcome::deferred(format!(
            "mailer {} is not reached from here yet",
            target.mailer
        )));
    }
    let mailer = site.mailers.get(&site.mailers.local);
    if let (LocalDelivery::Lmtp, Some(mailer)) = (site.features.local, mailer)
        && !mailer.has('w')
    {
        // Its users are the server's, whom the system may not know.
        return lmtp_job(world, mailer, target, sender);
    }
    let user = match world.users.get(&target.user.shown()) {
        Ok(Some(user)) => user,
        Ok(None) => return Err(Outcome::failed("5.1.1", "User unknown")),
        Err(error) => {
            let text = format!("/etc/passwd: {error}");
            return Err(Outcome::deferred(text).with_status("4.3.0"));
        }
    };
    match (site.features.local, mailer) {
        (LocalDelivery::Lmtp, Some(mailer)) => lmtp_job(world, mailer, target, sender),
        // OSTYPE(linux) names procmail whether or not it is installed. Root's mail goes to the
        // mailbox: no program is run as root by the server's word.
        (LocalDelivery::Procmail, Some(mailer))
            if Path::new(&mailer.path).exists() && (user.uid != 0 || !serves_by_agent()) =>
        {
            Ok(procmail_job(mailer, target, &user, front))
        }
        _ => Ok(mailbox_job(world, &user, front)),
    }
}

/// `/var/mail/USER`, as the user, with the group of the folder for the dotlock.
fn mailbox_job(world: &World, user: &User, front: Front) -> Job {
    let folder = world.site.below(Path::new(MAIL_FOLDER));
    let group = group_of_mailboxes(&folder).unwrap_or(user.gid);
    Job::Append {
        path: folder.join(&user.name),
        below: None,
        locking: Locking::Dotlock,
        front,
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
fn file_job(world: &World, target: &QueuedTarget, front: Front) -> Result<Job, Outcome> {
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
    let run_as = run_as(world, target)?;
    let below = safe_folder::of_site(&world.site);
    if target.user.0.ends_with(b"/") {
        return Ok(Job::Maildir {
            folder: path,
            below,
            front: Front {
                separator: None,
                ..front
            },
            run_as,
        });
    }
    Ok(Job::Append {
        path,
        below,
        locking: Locking::Fcntl,
        front,
        run_as,
    })
}

/// A command: by what the site's mailer `prog` names, which is `sh` where nothing else is said.
fn program_job(
    world: &World,
    target: &QueuedTarget,
    front: Front,
    values: Values<'_>,
) -> Result<Job, Outcome> {
    let Some(mailer) = world.site.mailers.get("prog") else {
        return Err(Outcome::deferred("mailer prog is not defined").with_status("4.3.5"));
    };
    let command = target.user.0.as_slice();
    let command = command.strip_prefix(b"|").unwrap_or(command).trim_ascii();
    Ok(Job::Run {
        program: Program {
            path: PathBuf::from(&mailer.path),
            args: arguments(mailer, &values.with_user(command))?,
            folder: home_of(world, target),
            run_as: Some(run_as(world, target)?),
        },
        front,
    })
}

/// What runs commands (LOCAL_SHELL_PATH).
pub(crate) fn shell_of(site: &Site) -> Option<&Path> {
    let mailer = site.mailers.get("prog")?;
    Some(Path::new(&mailer.path))
}

fn procmail_job(mailer: &Mailer, target: &QueuedTarget, user: &User, front: Front) -> Job {
    // Octets as characters, so that a word has those of its values.
    let (detail, name) = (target.host.as_chars(), target.user.as_chars());
    let sender = match front.return_path.as_deref() {
        None | Some("") => "MAILER-DAEMON".to_owned(),
        Some(sender) => Octets::from(sender).as_chars(),
    };
    let value = |word: &str| match word {
        "h" => Some(detail.as_str()),
        "u" => Some(name.as_str()),
        "f" | "g" => Some(sender.as_str()),
        _ => None,
    };
    let words = mailer.arguments.split_whitespace().skip(1);
    let expand = |word: &str| {
        let word = macros::expand(&Octets::from(word).as_chars(), &value);
        let word = Octets::of_chars(&word).unwrap_or_default();
        OsString::from_vec(word.0)
    };
    Job::Run {
        program: Program {
            path: PathBuf::from(&mailer.path),
            args: words.map(expand).collect(),
            folder: None,
            run_as: Some(RunAs {
                uid: user.uid,
                gid: user.gid,
            }),
        },
        front,
    }
}

/// `[IPC]` with `FILE path`: a socket such as Dovecot's.
fn lmtp_job(
    world: &World,
    mailer: &Mailer,
    target: &QueuedTarget,
    sender: String,
) -> Result<Job, Outcome> {
    let mut words = mailer.arguments.split_whitespace();
    match (words.next(), words.next()) {
        (Some("FILE"), Some(path)) => {
            let detail = target.host.shown();
            let recipient = match detail.as_str() {
                "" => target.user.shown(),
                detail => format!("{}+{}", target.user.shown(), detail.trim_start_matches('+')),
            };
            Ok(Job::Lmtp {
                socket: world.site.below(Path::new(path)),
                sender,
                recipient,
            })
        }
        _ => Err(Outcome::deferred(format!(
            "mailer local: LMTP wants `FILE path`, not `{}`",
            mailer.arguments
        ))),
    }
}

/// With whose rights: the user's who forwards, else DefaultUser.
fn run_as(world: &World, target: &QueuedTarget) -> Result<RunAs, Outcome> {
    if let Some(name) = &target.controller {
        return match world.users.get(name) {
            Ok(Some(user)) => Ok(RunAs {
                uid: user.uid,
                gid: user.gid,
            }),
            _ => Err(Outcome::deferred(format!("{name}: no such user now"))),
        };
    }
    match ids_of(&world.site, world.site.options.files.default_user.trim()) {
        Ok((uid, gid)) => Ok(RunAs { uid, gid }),
        Err(why) => Err(Outcome::deferred(format!("DefaultUser: {why}"))),
    }
}

fn home_of(world: &World, target: &QueuedTarget) -> Option<PathBuf> {
    let name = target.controller.as_ref()?;
    let user = world.users.get(name).ok()??;
    Some(world.site.below(&user.home))
}

impl Job {
    fn run(self, world: &World, text: Text) -> Outcome {
        match self {
            Job::Append {
                path,
                below,
                locking,
                front,
                run_as,
            } => {
                let lock = match locking {
                    Locking::Dotlock => "dotlock",
                    Locking::Fcntl => "fcntl",
                };
                let words = words_below(below.as_deref(), ["append", lock]);
                words.map_or_else(
                    |outcome| outcome,
                    |words| by_helper(run_as, &words, &path, text, &front),
                )
            }
            Job::Maildir {
                folder,
                below,
                front,
                run_as,
            } => {
                let words = words_below(below.as_deref(), ["maildir", &world.site.host_name]);
                words.map_or_else(
                    |outcome| outcome,
                    |words| by_helper(run_as, &words, &folder, text, &front),
                )
            }
            Job::Run { program, front } => program::run(program.with_our_rights(), |out| {
                text::write(text.into_reader(), &front, out)
            }),
            Job::Lmtp {
                socket,
                sender,
                recipient,
            } => {
                let letter = Letter {
                    host: &world.site.host_name,
                    sender: &sender,
                    recipient: &recipient,
                };
                lmtp::by_socket(&socket, &letter, text.into_reader())
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
    front: &Front,
) -> Outcome {
    if !is_root() {
        return here(words, path, text, front);
    }
    let Ok(this) = own_program::path() else {
        return Outcome::deferred("cannot find my own program file").with_status("4.3.0");
    };
    let mut args: Vec<OsString> = vec!["deliver-file".into()];
    args.extend(words.iter().map(OsString::from));
    args.push(path.into());
    let program = Program {
        path: this,
        args,
        folder: None,
        run_as: Some(run_as),
    };
    program::run(program, |out| {
        let mut frames = FrameWriter::new(out);
        text::write(text.into_reader(), front, &mut frames)?;
        frames.finish()
    })
}

fn here(words: &[&str], path: &Path, text: Text, front: &Front) -> Outcome {
    let mut whole = Vec::new();
    let done = text::write(text.into_reader(), front, &mut whole)
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
