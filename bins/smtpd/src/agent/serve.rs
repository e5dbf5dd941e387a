//! The agent's side: what it is asked, and what it does not do.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use libmaps::site::Site;
use libmaps::site::load;
use libmaps::site::users::Users;
use libmaps::sysexits::SysExit;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::{Reply, Request, read_frame, write_frame};
use crate::deliver::copy::{MAIL_FOLDER, group_of_mailboxes};
use crate::deliver::program::{self, Program, RunAs};
use crate::own_program;
use crate::privilege::ids_of;

/// Most pieces of work at one time.
const MAX_JOBS: usize = 64;

/// Serves until the server's end is closed: what is being done is finished.
#[must_use]
pub fn serve(root: Option<&Path>, file: Option<&Path>) -> ExitCode {
    let site = match load::load(root, file) {
        Ok(loaded) if !loaded.has_errors() => loaded.site,
        Ok(_) => return SysExit::Config.into(),
        Err(error) => {
            eprintln!("smtpd: agent: {error}");
            return SysExit::Config.into();
        }
    };
    stay_through_signals();
    let allowed = match Allowed::of(&site) {
        Ok(allowed) => Arc::new(allowed),
        Err(error) => {
            eprintln!("smtpd: agent: /etc/passwd: {error}");
            return SysExit::OsErr.into();
        }
    };
    let jobs = Arc::new(Jobs::default());
    let channel = io::stdin();
    loop {
        let stream = match next(channel.as_fd()) {
            Ok(Some(stream)) => stream,
            Ok(None) => break,
            Err(error) => {
                eprintln!("smtpd: agent: {error}");
                break;
            }
        };
        let job = jobs.begin();
        let allowed = Arc::clone(&allowed);
        std::thread::spawn(move || {
            let _job = job;
            // A server that has gone has nobody to tell.
            let _ = work(stream, &allowed);
        });
    }
    jobs.wait();
    SysExit::Ok.into()
}

/// The next piece of work; `None` when the server has gone.
fn next(channel: BorrowedFd<'_>) -> io::Result<Option<UnixStream>> {
    loop {
        let mut word = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            channel,
            &mut [IoSliceMut::new(&mut word)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let got = match got {
            Err(rustix::io::Errno::INTR) => continue,
            got => got?,
        };
        let passed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match passed {
            Some(fd) => return Ok(Some(UnixStream::from(fd))),
            None if got.bytes == 0 => return Ok(None),
            None => {}
        }
    }
}

fn work(mut stream: UnixStream, allowed: &Allowed) -> io::Result<()> {
    let request: Request = read_frame(&mut stream)?;
    let reply = match request {
        Request::Run { uid: 0, .. } | Request::Forward { uid: 0, .. } => {
            Reply::Refused("nothing is done as root; give root an alias".into())
        }
        Request::Run { uid, gid, .. } | Request::Forward { uid, gid, .. }
            if !allowed.group(uid, gid) =>
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
            let mut text = stream.try_clone()?;
            let program = Program {
                path,
                args,
                folder,
                run_as: Some(RunAs { uid, gid }),
            };
            Reply::Ended(program::run(program, |input| {
                io::copy(&mut text, input).map(drop)
            }))
        }
        Request::Forward { path, uid, gid } => forward(&path, uid, gid),
    };
    write_frame(&mut stream, &reply)
}

/// Reads the file in a process that is its owner's.
fn forward(path: &Path, uid: u32, gid: u32) -> Reply {
    let output = own_program::path().and_then(|program| {
        Command::new(program)
            .args(["read-forward", &uid.to_string()])
            .arg(path)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .uid(uid)
            .gid(gid)
            .output()
    });
    match output {
        Ok(output) => match output.status.code() {
            Some(0) => Reply::File(Some(output.stdout)),
            Some(code) if code == i32::from(SysExit::NoInput.code()) => Reply::File(None),
            Some(code) if code == i32::from(SysExit::NoPerm.code()) => {
                Reply::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())
            }
            _ => Reply::Later(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        },
        Err(error) => Reply::Later(error.to_string()),
    }
}

/// What may be done: the site's mailers and our own file delivery may be run, and a user has
/// his own group. A server that was taken over must not get at more through the agent.
struct Allowed {
    mailers: Vec<PathBuf>,
    users: Users,
    /// DefaultUser.
    default: Option<(u32, u32)>,
    mail_folder: PathBuf,
}

impl Allowed {
    fn of(site: &Site) -> io::Result<Self> {
        let mailers = site.mailers.defined.iter();
        Ok(Allowed {
            mailers: mailers.map(|m| PathBuf::from(&m.path)).collect(),
            users: Users::of(site)?,
            default: ids_of(site, site.options.files.default_user.trim()).ok(),
            mail_folder: site.below(Path::new(MAIL_FOLDER)),
        })
    }

    /// The group of the user, that of the mailboxes, or DefaultUser's.
    fn group(&self, uid: u32, gid: u32) -> bool {
        let own = self.users.by_uid(uid).ok().flatten().map(|user| user.gid);
        own == Some(gid)
            || self.default == Some((uid, gid))
            || group_of_mailboxes(&self.mail_folder) == Some(gid)
    }

    fn program(&self, path: &Path, args: &[String]) -> bool {
        if own_program::is(path) {
            return args.first().is_some_and(|word| word == "deliver-file");
        }
        self.mailers.iter().any(|mailer| mailer == path)
    }
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
