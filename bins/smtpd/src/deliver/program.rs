//! Programs that take a message on their standard input.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libmaps::sysexits::SysExit;

use super::outcome::Outcome;
use super::process::{Ended, Output, Patience, Process};
use super::{lmtp, lmtp_program};
use crate::agent::{self, Agent, Name, Reply, Request};
use crate::log::clean;
use crate::own_program;

/// How long a program runs at the most.
pub(crate) const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(3600),
    left_behind: Duration::from_secs(60),
};

/// Most octets of what a program says that are told, of each output.
const MAX_SAID: usize = 400;

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
    /// What it is called, where that is not its path.
    pub(crate) name: Option<OsString>,
    pub(crate) args: Vec<OsString>,
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
    run_within(PATIENCE, program, feed)
}

fn run_within(
    patience: Patience,
    program: Program,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Outcome {
    let started = command(&program).and_then(|command| {
        let outputs = [Output::Kept(MAX_SAID), Output::Kept(MAX_SAID)];
        Process::start(command, program.about(), patience, outputs)
    });
    let mut process = match started {
        Ok(process) => process,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{}: {error}", program.path.display());
            return Outcome::deferred(text).with_status("4.3.5");
        }
        Err(error) => {
            let text = match program.about() {
                Some(about) if error.kind() == io::ErrorKind::TimedOut => {
                    format!("{}: {error}", about.display())
                }
                _ => error.to_string(),
            };
            return Outcome::deferred(text).with_status("4.3.0");
        }
    };
    let fed = feed(&mut process);
    match broken_off(&fed) {
        None => {}
        // It knows half a message by its frames, and takes back what it has written of it.
        Some(_) if own_program::is(&program.path) => process.break_off(),
        // Before it sees the end of its input: half a message is none.
        Some(_) => process.kill(),
    }
    let ended = process.finish();
    if let Some(error) = broken_off(&fed) {
        return Outcome::deferred(error.to_string()).with_status("4.3.0");
    }
    let Ended {
        status, out, err, ..
    } = match ended {
        Ok(ended) => ended,
        Err(error) => {
            let text = format!("{}: {error}", program.path.display());
            return Outcome::deferred(text).with_status("4.3.0");
        }
    };
    let said = |out: &[u8]| lmtp::outcome_of(&String::from_utf8_lossy(out));
    match status.code() {
        // A program that succeeds without reading all of it has what it wanted.
        Some(0) => Outcome::sent(),
        // The reply of an LMTP server.
        Some(_)
            if program.speaks_lmtp()
                && let Some(outcome) = said(&out) =>
        {
            outcome
        }
        Some(code) => by_exit(code, complaint(&out, &err)),
        None => {
            let text = format!("{}: killed", program.path.display());
            Outcome::deferred(text).with_status("4.3.0")
        }
    }
}

impl Program {
    /// Where it may hang: in the folder in which it runs, or at the file that it writes.
    fn about(&self) -> Option<&Path> {
        let is_file = self.is_own("deliver-file");
        let file = || self.args.last().filter(|_| is_file);
        self.folder.as_deref().or_else(|| file().map(Path::new))
    }

    /// Whether it is this program that speaks LMTP with another one.
    fn speaks_lmtp(&self) -> bool {
        self.is_own(lmtp_program::WORD)
    }

    fn is_own(&self, word: &str) -> bool {
        own_program::is(&self.path) && self.args.first().is_some_and(|first| first == word)
    }
}

/// The program, with the rights that it has.
fn command(program: &Program) -> io::Result<Command> {
    let mut command = match &program.folder {
        None => {
            let mut command = Command::new(&program.path);
            if let Some(name) = &program.name {
                command.arg0(name);
            }
            command
        }
        Some(folder) => {
            let name = program.name.as_deref().unwrap_or(program.path.as_os_str());
            let mut command = Command::new(own_program::path()?);
            command.arg("run-in").arg(folder).arg(name);
            command.arg(&program.path);
            command
        }
    };
    command
        .args(&program.args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AGENT", "smtpd")
        .current_dir("/");
    if let Some(RunAs { uid, gid }) = program.run_as {
        // std drops the supplementary groups when root becomes somebody else.
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

/// Why the input of a program ends before its end; that it read no more is no such thing.
fn broken_off(fed: &io::Result<()>) -> Option<&io::Error> {
    let error = fed.as_ref().err()?;
    (error.kind() != io::ErrorKind::BrokenPipe).then_some(error)
}

/// Has the agent run it (RunAsUser).
fn by_agent(
    agent: &Agent,
    program: Program,
    RunAs { uid, gid }: RunAs,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Outcome {
    let request = Request::Run {
        path: Name::of(program.path),
        args: program.args.into_iter().map(Name::of).collect(),
        folder: program.folder.map(Name::of),
        uid,
        gid,
    };
    match agent.run(&request, feed) {
        Ok(Reply::Ended(outcome)) => outcome,
        Ok(Reply::Refused(why) | Reply::Later(why)) => Outcome::deferred(why).with_status("4.3.0"),
        Ok(_) => Outcome::deferred("the agent did not understand").with_status("4.3.0"),
        Err(error) => Outcome::deferred(format!("agent: {error}")).with_status("4.3.0"),
    }
}

/// What an exit says of the mail (sysexits(3)), and what the program said.
pub(super) fn by_exit(code: i32, complaint: String) -> Outcome {
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
    let text = String::from_utf8_lossy(text);
    // It is shown on terminals, in notices too.
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::outcome::Fate;
    use super::*;

    fn sh(script: &str) -> Outcome {
        let program = Program {
            path: "/bin/sh".into(),
            name: None,
            args: vec!["-c".into(), script.into()],
            folder: None,
            run_as: None,
        };
        run(program, |out| out.write_all(b"hello\n"))
    }

    fn sh_with(script: &str, text: &[u8]) -> Outcome {
        let program = Program {
            path: "/bin/sh".into(),
            name: None,
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
            name: None,
            args: vec!["-c".into(), script.into(), mailbox.clone().into()],
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

    /// The octets of more than a pipe holds, to a program that leaves a process behind. Its
    /// number stands in a file, so that it ends with the test.
    fn leaves_behind(script: &str, patience: Patience) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let number = dir.path().join("number");
        let program = Program {
            path: "/bin/sh".into(),
            name: None,
            args: vec!["-c".into(), script.into(), number.clone().into()],
            folder: None,
            run_as: None,
        };
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let text = vec![b'x'; 300_000];
            done.send(run_within(patience, program, |out| out.write_all(&text)))
        });
        let outcome = ended.recv_timeout(Duration::from_secs(60));
        let number = std::fs::read_to_string(number).unwrap_or_default();
        let _ = Command::new("kill").args(["-KILL", number.trim()]).status();
        outcome.unwrap()
    }

    #[test]
    fn an_input_that_is_held_open_and_not_read_is_given_up() {
        let held = "exec 3<&0; setsid sleep 600 <&3 >/dev/null 2>&1 & echo $! > \"$0\"";
        let brief = Patience {
            left_behind: Duration::from_millis(50),
            ..PATIENCE
        };
        let outcome = leaves_behind(&format!("{held}; exit 0"), brief);
        assert_eq!(outcome, Outcome::sent());
        let outcome = leaves_behind(&format!("{held}; exit 75"), brief);
        assert_eq!(outcome.status, "4.2.0");
        // Neither does one that still runs hold it for good.
        let brief = Patience {
            whole: Duration::from_millis(300),
            ..PATIENCE
        };
        let outcome = leaves_behind(&format!("{held}; exec sleep 600"), brief);
        assert_eq!(outcome.fate, Fate::Deferred);
        assert_eq!(outcome.status, "4.3.0");
    }

    #[test]
    fn what_was_left_behind_may_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("copy");
        let program = Program {
            path: "/bin/sh".into(),
            name: None,
            args: vec![
                "-c".into(),
                "exec 3<&0; (sleep 0.2; cat <&3 > \"$0.new\"; mv \"$0.new\" \"$0\") & exit 0"
                    .into(),
                file.clone().into(),
            ],
            folder: None,
            run_as: None,
        };
        let text = vec![b'x'; 300_000];
        assert_eq!(run(program, |out| out.write_all(&text)), Outcome::sent());
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(std::fs::read(file).unwrap(), text);
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
        // What a terminal would obey.
        assert_eq!(
            sh("printf 'a\\n\\033]0;b\\007' >&2; exit 69").text,
            "Service unavailable: a \\033]0;b\\007"
        );
    }
}
