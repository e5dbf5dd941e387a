//! The agent's side: what it is asked, and what it does not do.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use libmaps::policy::expand::include::{is_readable_by_all, open_regular};
use libmaps::policy::maps::file_of;
use libmaps::site::Site;
use libmaps::site::load;
use libmaps::site::users::Users;
use libmaps::sysexits::SysExit;

use super::brief;
use super::{Reply, Request, Text, next_passed, passing, read_frame, write_frame};
use crate::deliver::copy::{MAIL_FOLDER, group_of_mailboxes, shell_of};
use crate::deliver::forward_file::{Unread, read_trusted};
use crate::deliver::frame::FrameReader;
use crate::deliver::program::{self, Program, RunAs};
use crate::own_program;
use crate::privilege::ids_of;

/// Most pieces of work at one time.
const MAX_JOBS: usize = 64;
/// Longest that reading a `.forward` file takes.
const FORWARD_PATIENCE: Duration = Duration::from_secs(20);

/// Serves until the server's end is closed: what is being done is finished.
#[must_use]
pub fn serve(root: Option<&Path>, file: Option<&Path>) -> ExitCode {
    let allowed = match Allowed::read(root, file) {
        Ok(allowed) => RwLock::new(Arc::new(allowed)),
        Err(why) => {
            eprintln!("smtpd: agent: {why}");
            return SysExit::Config.into();
        }
    };
    stay_through_signals();
    // It holds other users' mail for a moment.
    let _ = confine::hide_memory();
    let place = Arc::new(Place {
        root: root.map(Path::to_path_buf),
        file: file.map(Path::to_path_buf),
        allowed,
    });
    let jobs = Arc::new(Jobs::default());
    let channel = io::stdin();
    loop {
        let stream = match next_passed(channel.as_fd()) {
            Ok(Some(passed)) => UnixStream::from(passed),
            Ok(None) => break,
            Err(error) => {
                eprintln!("smtpd: agent: {error}");
                break;
            }
        };
        let job = jobs.begin();
        let place = Arc::clone(&place);
        let spare = stream.try_clone();
        let begun = std::thread::Builder::new().spawn(move || {
            let _job = job;
            // A server that has gone has nobody to tell.
            let _ = work(stream, &place);
        });
        // Without a thread for it this piece of work waits; the agent goes on.
        if let (Err(error), Ok(mut spare)) = (begun, spare) {
            let _ = write_frame(&mut spare, &Reply::Later(error.to_string()));
        }
    }
    jobs.wait();
    SysExit::Ok.into()
}

/// Where the configuration is, and what it allows.
struct Place {
    root: Option<PathBuf>,
    file: Option<PathBuf>,
    allowed: RwLock<Arc<Allowed>>,
}

impl Place {
    fn allowed(&self) -> Arc<Allowed> {
        Arc::clone(&self.allowed.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<(), String> {
        let fresh = Allowed::read(self.root.as_deref(), self.file.as_deref())?;
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }
}

fn work(mut stream: UnixStream, place: &Place) -> io::Result<()> {
    let request: Request = read_frame(&mut stream)?;
    let allowed = place.allowed();
    let reply = match request {
        Request::Reload => match place.reload() {
            Ok(()) => Reply::Done,
            Err(why) => Reply::Refused(why),
        },
        Request::Include { path } => match open_include(&path, &allowed) {
            Ok(file) => {
                write_frame(&mut stream, &Reply::Opened)?;
                return passing::send(stream.as_fd(), b"f", Some(file.as_fd()));
            }
            Err(reply) => reply,
        },
        Request::Run { uid, .. } | Request::Forward { uid, .. }
            if uid == 0 && allowed.rights == Rights::Root && !allowed.roots_own(&request) =>
        {
            Reply::Refused("nothing is done as root; give root an alias".into())
        }
        Request::Run { uid, gid, .. } | Request::Forward { uid, gid, .. }
            if allowed.rights == Rights::Root && !allowed.group(uid, gid) =>
        {
            Reply::Refused(format!("group {gid} is not one of user {uid}"))
        }
        Request::Run {
            ref path, ref args, ..
        } if !allowed.program(path, args) => {
            Reply::Refused(format!("{}: no mailer of this site", path.display()))
        }
        Request::Run {
            path,
            args,
            folder,
            uid,
            gid,
        } => {
            stream.set_read_timeout(Some(program::PATIENCE.whole))?;
            let mut text = FrameReader::new(stream.try_clone()?);
            let program = Program {
                path,
                args,
                folder,
                run_as: (allowed.rights == Rights::Root).then_some(RunAs { uid, gid }),
            };
            Reply::Ended(program::run(program, |input| {
                io::copy(&mut text, input).map(drop)
            }))
        }
        Request::Forward { path, uid, .. } if allowed.rights == Rights::Own => {
            match read_trusted(&path, uid) {
                Ok(text) => Reply::File(text.map(Text)),
                Err(Unread::Untrusted(why)) => Reply::Refused(why),
                Err(Unread::Later(why)) => Reply::Later(why),
            }
        }
        Request::Forward { path, uid, gid } => forward(&path, uid, gid),
    };
    write_frame(&mut stream, &reply)
}

/// Opens a list for the server: one that anybody may read, one that is not root's (as its
/// owner the server may do what it likes through us anyway), and of root's others only what
/// an alias names as a list.
fn open_include(path: &Path, allowed: &Allowed) -> Result<File, Reply> {
    let errno = |error: io::Error| match error.raw_os_error() {
        Some(number) => Reply::Errno(number),
        None if error.kind() == io::ErrorKind::Other => Reply::Refused(error.to_string()),
        None => Reply::Later(error.to_string()),
    };
    let file = open_regular(path).map_err(errno)?;
    let metadata = file.metadata().map_err(errno)?;
    let free = allowed.rights == Rights::Own || metadata.uid() != 0 || is_readable_by_all(&file);
    if free || allowed.is_listed(path).map_err(Reply::Later)? {
        return Ok(file);
    }
    Err(Reply::Refused("no alias of this site names it".into()))
}

/// Reads the file in a process that is its owner's. This process does not so much as look
/// for it: whatever hangs there, it is that one which hangs, and it is ended.
fn forward(path: &Path, uid: u32, gid: u32) -> Reply {
    let ended = own_program::path().and_then(|program| {
        let mut command = Command::new(program);
        command
            .args(["read-forward", &uid.to_string()])
            .arg(path)
            .env_clear()
            .current_dir("/")
            .uid(uid)
            .gid(gid);
        brief::run(command, FORWARD_PATIENCE)
    });
    match ended {
        Ok(ended) => match ended.code {
            Some(0) => Reply::File(Some(Text(ended.out))),
            Some(code) if code == i32::from(SysExit::NoInput.code()) => Reply::File(None),
            Some(code) if code == i32::from(SysExit::NoPerm.code()) => {
                Reply::Refused(String::from_utf8_lossy(&ended.err).trim().to_owned())
            }
            _ => Reply::Later(String::from_utf8_lossy(&ended.err).trim().to_owned()),
        },
        Err(error) => Reply::Later(format!("forward {}: {error}", path.display())),
    }
}

/// The rights that the agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    /// Root's: it becomes whoever is concerned.
    Root,
    /// An ordinary user's: all is done as that user.
    Own,
}

/// What may be done: the site's mailers and our own file delivery may be run, and a user has
/// his own group. A server that was taken over must not get at more through the agent.
struct Allowed {
    rights: Rights,
    site: Site,
    mailers: Vec<PathBuf>,
    users: Users,
    /// DefaultUser and RunAsUser.
    named: [Option<(u32, u32)>; 2],
    mail_folder: PathBuf,
}

impl Allowed {
    fn read(root: Option<&Path>, file: Option<&Path>) -> Result<Self, String> {
        let loaded = load::load(root, file).map_err(|error| error.to_string())?;
        match loaded.has_errors() {
            true => Err("the configuration has errors".into()),
            false => Allowed::of(loaded.site).map_err(|error| format!("/etc/passwd: {error}")),
        }
    }

    fn of(site: Site) -> io::Result<Self> {
        let mailers = site.mailers.defined.iter().map(|m| PathBuf::from(&m.path));
        Ok(Allowed {
            rights: match rustix::process::geteuid().is_root() {
                true => Rights::Root,
                false => Rights::Own,
            },
            mailers: mailers.chain([shell_of(&site)]).collect(),
            users: Users::of(&site)?,
            named: [
                &site.options.files.default_user,
                &site.options.files.run_as_user,
            ]
            .map(|name| ids_of(&site, name.trim()).ok()),
            mail_folder: site.below(Path::new(MAIL_FOLDER)),
            site,
        })
    }

    /// What is done as root after all: root's mailbox and DeadLetterDrop are written, and
    /// root's `.forward` is read.
    fn roots_own(&self, request: &Request) -> bool {
        let is_root = |name: &str| {
            let user = self.users.get(name).ok().flatten();
            user.is_some_and(|user| user.uid == 0)
        };
        match request {
            Request::Run { path, args, .. } if own_program::is(path) => {
                let [verb, how, lock, file] = args.as_slice() else {
                    return false;
                };
                let file = Path::new(file);
                let name = file.file_name().and_then(|name| name.to_str());
                let dead_letters = self.site.options.delivery.dead_letter_drop.as_ref();
                match (verb.as_str(), how.as_str(), lock.as_str()) {
                    ("deliver-file", "append", "dotlock") => {
                        file.parent() == Some(&self.mail_folder) && name.is_some_and(is_root)
                    }
                    ("deliver-file", "append", "fcntl") => {
                        dead_letters.is_some_and(|path| self.site.below(path) == file)
                    }
                    _ => false,
                }
            }
            Request::Forward { path, .. } => {
                let user = self.users.by_uid(0).ok().flatten();
                user.is_some_and(|user| *path == self.site.below(&user.home).join(".forward"))
            }
            _ => false,
        }
    }

    /// Whether an alias names this file as a list.
    fn is_listed(&self, path: &Path) -> Result<bool, String> {
        for file in self.site.alias_files() {
            let Some((_, map)) = file_of(&self.site, &file.map) else {
                continue;
            };
            let map = match libmaps::store::open(&map) {
                Ok(map) => map,
                Err(libmaps::map::StoreError::Missing { .. }) => continue,
                Err(error) => return Err(error.to_string()),
            };
            for entry in map.iter() {
                let entry = entry.map_err(|error| error.to_string())?;
                if lists(&self.site, entry.rhs.as_bytes()).any(|list| list == path) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The group of the user, that of the mailboxes, DefaultUser's or RunAsUser's.
    fn group(&self, uid: u32, gid: u32) -> bool {
        let own = self.users.by_uid(uid).ok().flatten().map(|user| user.gid);
        own == Some(gid)
            || (uid, gid) == (0, 0)
            || self.named.contains(&Some((uid, gid)))
            || group_of_mailboxes(&self.mail_folder) == Some(gid)
    }

    fn program(&self, path: &Path, args: &[String]) -> bool {
        if own_program::is(path) {
            return args.first().is_some_and(|word| word == "deliver-file");
        }
        self.mailers.iter().any(|mailer| mailer == path)
    }
}

/// The files that an alias names as lists.
fn lists<'a>(site: &'a Site, rhs: &'a [u8]) -> impl Iterator<Item = PathBuf> + 'a {
    const MARK: &[u8] = b":include:";
    let marks = rhs.windows(MARK.len()).enumerate();
    let starts = marks.filter(|(_, word)| word.eq_ignore_ascii_case(MARK));
    starts.map(|(at, _)| {
        let rest = rhs
            .get(at + MARK.len()..)
            .unwrap_or_default()
            .trim_ascii_start();
        let ends = |c: &u8| matches!(c, b',' | b'"' | b'>' | 0) || c.is_ascii_whitespace();
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        site.below(Path::new(std::ffi::OsStr::from_bytes(name)))
    })
}

/// Counts what is being done.
#[derive(Default)]
struct Jobs {
    running: Mutex<usize>,
    ended: Condvar,
}

/// One piece of work; dropped, it counts no more.
struct Job(Arc<Jobs>);

impl Jobs {
    fn begin(self: &Arc<Self>) -> Job {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = self
            .ended
            .wait_while(running, |running| *running >= MAX_JOBS)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Job(Arc::clone(self))
    }

    fn wait(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let _ended = self
            .ended
            .wait_while(running, |running| *running > 0)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *running = running.saturating_sub(1);
        self.0.ended.notify_all();
    }
}

/// The agent ends with the server, not by the signals that a service manager or a terminal
/// sends to both. Handlers, unlike `SIG_IGN`, are not inherited by the programs it runs.
#[allow(unsafe_code)]
fn stay_through_signals() {
    extern "C" fn nothing(_: libc::c_int) {}
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: the handler does nothing, which is safe at any moment.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
