//! The agent's side: what it is asked, and what it does not do.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use libmaps::sysexits::SysExit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tools::report::complain;

use super::allowed::{Allowed, Rights};
use super::files;
use super::{Name, Reply, Request, next_passed, passing, read_frame, write_frame};
use crate::deliver::frame::FrameReader;
use crate::deliver::program::{self, Program, RunAs};
use crate::places::{Place, Places};
use crate::reach::Needs;

/// Most pieces of work at one time, those that wait for a place with them.
const MAX_JOBS: usize = 256;
/// Most programs at one time.
const MAX_PROGRAMS: usize = 64;
/// Most mailboxes that are written at one time: programs, and files in homes, may hang.
const MAX_MAILBOXES: usize = 32;
/// How long a program or a mailbox waits for a place. The server waits longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most files that are read at one time: homes that hang leave the programs their places.
const MAX_READS: usize = 48;
/// How long a read waits for a place.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the server's end is closed: what is being done is finished.
#[must_use]
pub fn serve(root: Option<&Path>, file: Option<&Path>) -> ExitCode {
    let allowed = match Allowed::read(root, file) {
        Ok(allowed) => allowed,
        Err(why) => {
            complain(&[b"smtpd: agent: ", why.as_bytes()]);
            return SysExit::Config.into();
        }
    };
    stay_through_signals();
    // It holds other users' mail for a moment.
    let _ = confine::hide_memory();
    let desk = Arc::new(Desk {
        root: root.map(Path::to_path_buf),
        file: file.map(Path::to_path_buf),
        server: allowed.server(),
        allowed: RwLock::new(Arc::new(allowed)),
        needs: RwLock::default(),
        programs: Places::new(MAX_PROGRAMS),
        mailboxes: Places::new(MAX_MAILBOXES),
        reads: Places::new(MAX_READS),
    });
    let jobs = Places::new(MAX_JOBS);
    let channel = io::stdin();
    loop {
        let stream = match next_passed(channel.as_fd()) {
            Ok(Some(passed)) => UnixStream::from(passed),
            Ok(None) => break,
            Err(error) => {
                complain(&[format!("smtpd: agent: {error}").as_bytes()]);
                break;
            }
        };
        let job = jobs.take();
        let desk = Arc::clone(&desk);
        let spare = stream.try_clone();
        let begun = std::thread::Builder::new().spawn(move || {
            let _job = job;
            // A server that has gone has nobody to tell.
            let _ = work(stream, &desk);
        });
        // Without a thread for it this piece of work waits; the agent goes on.
        if let (Err(error), Ok(mut spare)) = (begun, spare) {
            let _ = write_frame(&mut spare, &Reply::Later(error.to_string()));
        }
    }
    jobs.wait_until_free();
    SysExit::Ok.into()
}

/// Where the configuration is, what it allows and needs, and the places for work.
struct Desk {
    root: Option<PathBuf>,
    file: Option<PathBuf>,
    /// The server's user, which it stays whatever the configuration says later.
    server: Option<u32>,
    allowed: RwLock<Arc<Allowed>>,
    needs: RwLock<Arc<Needs>>,
    programs: Arc<Places>,
    mailboxes: Arc<Places>,
    reads: Arc<Places>,
}

impl Desk {
    fn allowed(&self) -> Arc<Allowed> {
        Arc::clone(&self.allowed.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<(), String> {
        let fresh = Allowed::read(self.root.as_deref(), self.file.as_deref())?;
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        // What it needs no more is not opened for it either.
        *self.needs.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        Ok(())
    }

    /// Whether the configuration needs something. One that has changed needs other things before
    /// the server has read it, so where it did not it is looked at anew.
    fn needs<T>(&self, find: impl Fn(&Needs) -> Option<T>) -> Result<T, Reply> {
        let known = Arc::clone(&self.needs.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(found) = find(&known) {
            return Ok(found);
        }
        let fresh = Needs::read(self.root.as_deref(), self.file.as_deref());
        let fresh = Arc::new(fresh.map_err(Reply::Later)?);
        *self.needs.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        find(&fresh).ok_or_else(|| Reply::Refused("the configuration does not name it".into()))
    }

    /// A place for a read.
    fn place(&self) -> Result<Place, Reply> {
        let place = self.reads.take_within(READ_PATIENCE);
        place.ok_or_else(|| Reply::Later("too many files are being read".into()))
    }
}

fn work(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let request: Request = read_frame(&mut stream)?;
    let allowed = desk.allowed();
    let place = match allowed.is_kept_here(&request) {
        true => &desk.mailboxes,
        false => &desk.programs,
    };
    let reply = match request {
        Request::Reload => match desk.reload() {
            Ok(()) => Reply::Done,
            Err(why) => Reply::Refused(why),
        },
        Request::Include { path, list_owner } => {
            let read = desk
                .place()
                .and_then(|_place| files::include(path.path(), list_owner, &allowed));
            return pass(stream, read);
        }
        Request::Open { path } => {
            let opened = desk
                .needs(|needs| needs.of_file(path.path()))
                .and_then(|need| Ok((need, desk.place()?)))
                .and_then(|(need, _place)| files::needed(path.path(), need));
            return pass(stream, opened);
        }
        Request::Connect { path } => {
            let connected = desk
                .needs(|needs| needs.sockets.get(path.path()).map(drop))
                .and_then(|()| desk.place())
                .and_then(|_place| files::connected(path.path()));
            return pass(stream, connected);
        }
        Request::Run { uid, .. } | Request::Forward { uid, .. }
            if uid == 0 && allowed.rights == Rights::Root && !allowed.roots_own(&request) =>
        {
            Reply::Refused("nothing is done as root; give root an alias".into())
        }
        Request::Run { .. } if allowed.runs_as_server(&request, desk.server) => {
            Reply::Refused("nothing is run as the server's own user".into())
        }
        Request::Run { uid, .. }
            if allowed.rights == Rights::Root
                && let Some(refused) = without_shell(uid, allowed.lacks_shell(&request)) =>
        {
            refused
        }
        Request::Run { uid, gid, .. } | Request::Forward { uid, gid, .. }
            if allowed.rights == Rights::Root && !allowed.group(&request, (uid, gid)) =>
        {
            Reply::Refused(format!("group {gid} is not one of user {uid}"))
        }
        Request::Run { ref path, .. } if !allowed.program(&request) => {
            let path = path.path().display();
            Reply::Refused(format!("{path}: no mailer of this site runs it so"))
        }
        Request::Run { .. } if allowed.leaves_safe_folder(&request) => {
            Reply::Refused("SafeFileEnvironment does not lie above it".into())
        }
        Request::Run {
            path,
            args,
            folder,
            uid,
            gid,
        } => {
            let Some(_place) = place.take_within(PATIENCE) else {
                return write_frame(&mut stream, &Reply::Later("too many programs run".into()));
            };
            // It has given up and will ask again: to run the program now would be once too often.
            if has_gone(&stream) {
                return Ok(());
            }
            stream.set_read_timeout(Some(program::PATIENCE.whole))?;
            let mut text = FrameReader::new(stream.try_clone()?);
            let program = Program {
                name: allowed.name_of(path.path(), &args, (uid, gid)),
                path: path.into_word().into(),
                args: args.into_iter().map(Name::into_word).collect(),
                folder: folder.map(|folder| folder.into_word().into()),
                run_as: (allowed.rights == Rights::Root).then_some(RunAs { uid, gid }),
            };
            Reply::Ended(program::run(program, |input| {
                io::copy(&mut text, input).map(drop)
            }))
        }
        Request::Forward { path, uid, gid } => match desk.place() {
            Ok(_place) => files::forward(path.path(), uid, gid, &allowed),
            Err(reply) => reply,
        },
    };
    write_frame(&mut stream, &reply)
}

/// The answer for a user who has no valid shell, or of whom nobody can tell.
fn without_shell(uid: u32, lacks: io::Result<bool>) -> Option<Reply> {
    match lacks {
        Ok(false) => None,
        Ok(true) => Some(Reply::Refused(format!("user {uid} has no valid shell"))),
        Err(error) => Some(Reply::Later(error.to_string())),
    }
}

/// Whether the server has closed its end.
fn has_gone(stream: &UnixStream) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = poll(&mut watched, Some(&at_once));
    polled.is_ok()
        && watched
            .iter()
            .any(|fd| fd.revents().contains(PollFlags::HUP))
}

/// Answers with a descriptor, or says why not.
fn pass(mut stream: UnixStream, had: Result<(Reply, impl AsFd), Reply>) -> io::Result<()> {
    match had {
        Ok((reply, passed)) => {
            write_frame(&mut stream, &reply)?;
            passing::send(stream.as_fd(), b"f", Some(passed.as_fd()))
        }
        Err(reply) => write_frame(&mut stream, &reply),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_names_no_more_is_not_needed() {
        let root = tempfile::tempdir().unwrap();
        let write = |mc: &str| {
            let mc = format!(
                "define(`confDOMAIN_NAME', `mx.test.example')dnl\n{mc}\
                 MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
            );
            std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
            std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
        };
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "").unwrap();
        write("FEATURE(`access_db', `hash /etc/mail/access')dnl\n");
        let desk = Desk {
            root: Some(root.path().to_path_buf()),
            file: None,
            server: None,
            allowed: RwLock::new(Arc::new(Allowed::read(Some(root.path()), None).unwrap())),
            needs: RwLock::default(),
            programs: Places::new(1),
            mailboxes: Places::new(1),
            reads: Places::new(1),
        };
        let map = root.path().join("etc/mail/access.db");
        let is_needed = || desk.needs(|needs| needs.of_file(&map)).is_ok();
        assert!(is_needed());
        write("");
        // The server goes on with what it has read until it reads anew.
        assert!(is_needed());
        desk.reload().unwrap();
        assert!(!is_needed());
    }
}
