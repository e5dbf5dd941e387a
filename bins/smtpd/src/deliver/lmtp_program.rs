//! LMTP with a program, on its standard input and output (`F=z` of a mailer without `$u`).
//!
//! It is this program that runs it, as the user as whom it runs: what a program says on its output
//! has to be answered at once, and the agent only hands on what it is given.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libmaps::sysexits::SysExit;
use tools::report::complain;

use super::frame::FrameReader;
use super::lmtp::{Letter, talk};
use super::outcome::{Fate, Outcome};

/// By what it is called.
pub(crate) const WORD: &str = "deliver-lmtp";
/// How long a program that has said the last word is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// `smtpd deliver-lmtp HOST SENDER RECIPIENT NAME PROGRAM [ARGUMENT ...]`, with a message in frames on the
/// standard input. A reply that refuses it is printed; the exit says the same (sysexits(3)).
#[must_use]
pub(crate) fn deliver_lmtp(args: &[OsString]) -> ExitCode {
    let [host, sender, recipient, name, program, args @ ..] = args else {
        return SysExit::Usage.into();
    };
    let words = [host, sender, recipient].map(|word| word.to_string_lossy());
    let [host, sender, recipient] = &words;
    let letter = Letter {
        host,
        sender,
        recipient,
    };
    let mut command = Command::new(program);
    command
        .arg0(name)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    match command.spawn() {
        Ok(child) => by_child(child, &letter, FrameReader::new(io::stdin().lock())),
        Err(error) => {
            complain(&[format!("{}: {error}", program.display()).as_bytes()]);
            SysExit::TempFail.into()
        }
    }
}

fn by_child(mut child: Child, letter: &Letter<'_>, mut text: impl Read) -> ExitCode {
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return SysExit::OsErr.into();
    };
    // How long it may take in all is for who started us to say.
    let write = |out: &mut dyn Write| io::copy(&mut text, out).map(drop);
    let outcome = talk((output, |_| Ok(())), input, letter, write);
    let until = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= until || outcome.fate != Fate::Sent {
            let _ = child.kill();
            let _ = child.wait();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let Outcome { fate, text, .. } = outcome;
    if fate != Fate::Sent {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }
    match fate {
        Fate::Sent => SysExit::Ok.into(),
        Fate::Deferred => SysExit::TempFail.into(),
        Fate::Failed => SysExit::Unavailable.into(),
    }
}
