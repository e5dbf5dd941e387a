//! Programs that take a message on their standard input.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use libmaps::sysexits::SysExit;

use super::outcome::Outcome;
use crate::agent::{self, Agent, Reply, Request};

/// Longest run of a program.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long the output of a program that has ended is waited for: what it left behind may
/// hold it open.
const GRACE: Duration = Duration::from_millis(500);
/// Most octets of its complaints that are kept.
const MAX_COMPLAINT: usize = 400;

/// As whom a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl RunAs {
    /// As whom this process runs.
    pub(crate) fn ourselves() -> Self {
        RunAs {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

/// A program to run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) run_as: Option<RunAs>,
}

/// Runs it with what `feed` writes on its input; its exit says what became of the mail
/// (sysexits(3)). This blocks.
pub(crate) fn run(
    program: Program,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Outcome {
    if let (Some(agent), Some(run_as)) = (agent::running(), program.run_as) {
        return by_agent(agent, program, run_as, feed);
    }
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AGENT", "smtpd")
        .current_dir(
            program
                .folder
                .as_deref()
                .unwrap_or(std::path::Path::new("/")),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(RunAs { uid, gid }) = program.run_as {
        // std drops the supplementary groups when root becomes somebody else.
        command.uid(uid).gid(gid);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{}: {error}", program.path.display());
            return Outcome::deferred(text).with_status("4.3.5");
        }
        Err(error) => return Outcome::deferred(error.to_string()).with_status("4.3.0"),
    };
    let group = i32::try_from(child.id()).unwrap_or(0);
    let begun = Watchdog::start(group).and_then(|watchdog| {
        // From the start: a program that writes must not wait for us while we write to it.
        let out = child.stdout.take().map(Drain::start).transpose()?;
        let err = child.stderr.take().map(Drain::start).transpose()?;
        Ok((watchdog, out, err))
    });
    let (watchdog, out, err) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // It has read nothing yet.
            let _ = child.kill();
            let _ = child.wait();
            return Outcome::deferred(error.to_string()).with_status("4.3.0");
        }
    };
    let fed = match child.stdin.take() {
        Some(mut input) => {
            let fed = feed(&mut input);
            // Before it sees the end of its input: half a message is none.
            if broken_off(&fed).is_some() {
                end_group(group);
            }
            fed
        }
        None => Ok(()),
    };
    let ended = child.wait();
    watchdog.stop();
    let status = match ended {
        Ok(status) => status,
        Err(error) => return Outcome::deferred(error.to_string()).with_status("4.3.0"),
    };
    let until = Instant::now() + GRACE;
    let said = |drain: Option<Drain>| drain.map_or_else(Vec::new, |drain| drain.said(until));
    let complaint = complaint(&said(out), &said(err));
    if let Some(error) = broken_off(&fed) {
        return Outcome::deferred(error.to_string()).with_status("4.3.0");
    }
    match status.code() {
        // A program that succeeds without reading all of it has what it wanted.
        Some(0) => Outcome::sent(),
        Some(code) => by_exit(code, complaint),
        None => {
            let text = format!("{}: killed", program.path.display());
            Outcome::deferred(text).with_status("4.3.0")
        }
    }
}

/// Why the input of a program ends before its end; that it read no more is no such thing.
fn broken_off(fed: &io::Result<()>) -> Option<&io::Error> {
    let error = fed.as_ref().err()?;
    (error.kind() != io::ErrorKind::BrokenPipe).then_some(error)
}

#[allow(unsafe_code)] // kill(2) of a process group has no safe form in std.
fn end_group(group: i32) {
    if group > 1 {
        // SAFETY: numbers only; the group is our child's, which nobody has waited for yet.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// Has the agent run it (RunAsUser).
fn by_agent(
    agent: &Agent,
    program: Program,
    RunAs { uid, gid }: RunAs,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Outcome {
    let request = Request::Run {
        path: program.path,
        args: program.args,
        folder: program.folder,
        uid,
        gid,
    };
    match agent.run(&request, feed) {
        Ok(Reply::Ended(outcome)) => outcome,
        Ok(Reply::Refused(why) | Reply::Later(why)) => Outcome::deferred(why),
        Ok(_) => Outcome::deferred("the agent did not understand"),
        Err(error) => Outcome::deferred(format!("agent: {error}")),
    }
}

fn by_exit(code: i32, complaint: String) -> Outcome {
    let text = |what: &str| match complaint.as_str() {
        "" => what.to_owned(),
        said => format!("{what}: {said}"),
    };
    let exit = SysExit::ALL
        .into_iter()
        .find(|exit| code == i32::from(exit.code()));
    match exit {
        Some(SysExit::TempFail) => {
            Outcome::deferred(text("temporary failure")).with_status("4.2.0")
        }
        Some(SysExit::OsErr) => {
            Outcome::deferred(text("operating system error")).with_status("4.3.0")
        }
        Some(SysExit::IoErr) => Outcome::deferred(text("I/O error")).with_status("4.3.0"),
        Some(SysExit::Usage) => Outcome::failed("5.3.5", text("Command line usage error")),
        Some(SysExit::DataErr) => Outcome::failed("5.6.0", text("Data format error")),
        Some(SysExit::NoInput) => Outcome::failed("5.3.0", text("Cannot open input")),
        Some(SysExit::NoUser) => Outcome::failed("5.1.1", text("User unknown")),
        Some(SysExit::NoHost) => Outcome::failed("5.1.2", text("Host unknown")),
        Some(SysExit::Unavailable) => Outcome::failed("5.0.0", text("Service unavailable")),
        Some(SysExit::Software) => Outcome::failed("5.3.0", text("Internal error")),
        Some(SysExit::OsFile) => Outcome::failed("5.3.5", text("System file missing")),
        Some(SysExit::CantCreate) => Outcome::failed("5.3.0", text("Can't create output")),
        Some(SysExit::Protocol) => Outcome::failed("5.5.0", text("Remote protocol error")),
        Some(SysExit::NoPerm) => Outcome::failed("5.7.1", text("Insufficient permission")),
        Some(SysExit::Config) => Outcome::failed("5.3.5", text("Local configuration error")),
        _ => Outcome::failed("5.3.0", text(&format!("unknown mailer error {code}"))),
    }
}

fn complaint(out: &[u8], err: &[u8]) -> String {
    let text = if err.is_empty() { out } else { err };
    let text = String::from_utf8_lossy(
        text.get(..MAX_COMPLAINT.min(text.len()))
            .unwrap_or_default(),
    );
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads what a program prints to its end, on a thread of its own, and keeps the beginning.
struct Drain {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Drain {
    fn start(mut from: impl Read + Send + 'static) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let keeps = Arc::clone(&kept);
        std::thread::Builder::new().spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let read = match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => buffer.get(..read).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let mut kept = keeps.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MAX_COMPLAINT.saturating_sub(kept.len()).min(read.len());
                kept.extend_from_slice(read.get(..room).unwrap_or_default());
                // Nobody waits any more: whoever still prints gets SIGPIPE.
                if Arc::strong_count(&keeps) == 1 {
                    break;
                }
            }
            let _ = end.send(());
        })?;
        Ok(Drain { kept, ended })
    }

    /// What came until the end, or until then.
    fn said(self, until: Instant) -> Vec<u8> {
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends a program, and what it started, after too long a run.
struct Watchdog(mpsc::Sender<()>);

impl Watchdog {
    fn start(group: i32) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        std::thread::Builder::new().spawn(move || {
            if stopped.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                end_group(group);
            }
        })?;
        Ok(Watchdog(stop))
    }

    fn stop(self) {
        let _ = self.0.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Outcome {
        let program = Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: None,
            run_as: None,
        };
        run(program, |out| out.write_all(b"hello\n"))
    }

    fn sh_with(script: &str, text: &[u8]) -> Outcome {
        let program = Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: None,
            run_as: None,
        };
        run(program, |out| out.write_all(text))
    }

    #[test]
    fn a_program_may_print_all_that_it_reads() {
        let text = vec![b'x'; 300_000];
        assert_eq!(sh_with("cat", &text), Outcome::sent());
        assert_eq!(sh_with("cat >&2", &text), Outcome::sent());
    }

    #[test]
    fn half_a_message_is_not_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = dir.path().join("mailbox");
        let script = "text=$(cat); echo \"$text\" > \"$0\"";
        let program = Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into(), mailbox.display().to_string()],
            folder: None,
            run_as: None,
        };
        let outcome = run(program, |out| {
            out.write_all(b"half of it")?;
            Err(io::ErrorKind::UnexpectedEof.into())
        });
        assert_eq!(outcome.status, "4.3.0");
        assert!(!mailbox.exists());
    }

    #[test]
    fn of_a_program_that_prints_much_the_beginning_is_kept() {
        let outcome = sh_with("yes | head -c 20000000; exit 69", b"");
        assert_eq!(outcome.status, "5.0.0");
        assert!(outcome.text.len() < 500, "{}", outcome.text.len());
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || done.send(sh("sleep 60 & echo no; exit 69")));
        let outcome = ended.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(outcome, Outcome::failed("5.0.0", "Service unavailable: no"));
    }

    #[test]
    fn exits_say_what_became_of_the_mail() {
        assert_eq!(sh("cat > /dev/null"), Outcome::sent());
        assert_eq!(sh("exit 0"), Outcome::sent());
        assert_eq!(
            sh("exit 75"),
            Outcome::deferred("temporary failure").with_status("4.2.0")
        );
        assert_eq!(
            sh("exit 3"),
            Outcome::failed("5.3.0", "unknown mailer error 3")
        );
        assert_eq!(sh("exit 67"), Outcome::failed("5.1.1", "User unknown"));
        assert_eq!(
            sh("read x; echo \"no $x\" >&2; exit 69"),
            Outcome::failed("5.0.0", "Service unavailable: no hello")
        );
    }
}
