//! Programs that take a message on their standard input.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use libmaps::sysexits::SysExit;

use super::outcome::Outcome;
use crate::agent::{self, Agent, Reply, Request};

/// Longest run of a program.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Most octets of its complaints that are kept.
const MAX_COMPLAINT: usize = 400;

/// As whom a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
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
    let watchdog = Watchdog::start(group);
    let fed = match child.stdin.take() {
        Some(mut input) => feed(&mut input),
        None => Ok(()),
    };
    let output = child.wait_with_output();
    watchdog.stop();
    let output = match output {
        Ok(output) => output,
        Err(error) => return Outcome::deferred(error.to_string()).with_status("4.3.0"),
    };
    let complaint = complaint(&output.stdout, &output.stderr);
    match output.status.code() {
        // A program that succeeds without reading all of it has what it wanted.
        Some(0) => match fed {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Outcome::deferred(e.to_string()).with_status("4.3.0")
            }
            _ => Outcome::sent(),
        },
        Some(code) => by_exit(code, complaint),
        None => {
            let text = format!("{}: killed", program.path.display());
            Outcome::deferred(text).with_status("4.3.0")
        }
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
        Ok(Reply::Refused(why)) => Outcome::deferred(why),
        Ok(Reply::File(_) | Reply::Later(_)) => Outcome::deferred("the agent did not understand"),
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

/// Ends a program, and what it started, after too long a run.
struct Watchdog(mpsc::Sender<()>);

impl Watchdog {
    #[allow(unsafe_code)] // kill(2) of a process group has no safe form in std.
    fn start(group: i32) -> Self {
        let (stop, stopped) = mpsc::channel();
        std::thread::spawn(move || {
            if stopped.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) && group > 1 {
                // SAFETY: numbers only; the group is our child's, which nobody has waited for yet.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
        });
        Watchdog(stop)
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
