//! A program that runs in a user's home, which may hang.
//!
//! Whoever starts a process waits until it has gone to its folder and become its program, and
//! nobody can end that wait. So what is started is this program, which needs no folder; it goes
//! there and becomes the other one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

use libmaps::sysexits::SysExit;
use tools::report::complain;

/// How long a folder may take to let a program in.
const PATIENCE: Duration = Duration::from_secs(15);

/// `smtpd run-in FOLDER[:FOLDER...] NAME PROGRAM [ARGUMENT ...]`, in the first of the folders that lets
/// it in: one that is not there, or closed, is no reason not to run the program; one that does not
/// answer makes the mail wait.
#[must_use]
pub(crate) fn run_in(args: &[OsString]) -> ExitCode {
    let [folder, name, program, args @ ..] = args else {
        return SysExit::Usage.into();
    };
    for folder in folder.as_bytes().split(|octet| *octet == b':') {
        let folder = OsStr::from_bytes(folder);
        match enter(Path::new(folder)) {
            Ok(()) => break,
            Err(error) if is_no_folder(&error) => {}
            Err(error) => {
                tell(folder, &error);
                return SysExit::TempFail.into();
            }
        }
    }
    let error = Command::new(program).arg0(name).args(args).exec();
    tell(program, &error);
    SysExit::OsErr.into()
}

fn tell(path: &OsStr, error: &io::Error) {
    complain(&[path.as_bytes(), b": ", error.to_string().as_bytes()]);
}

/// The folder is that of all threads; the one that hangs there ends with the process.
fn enter(folder: &Path) -> io::Result<()> {
    let (done, entered) = mpsc::channel();
    let there = folder.to_path_buf();
    std::thread::Builder::new().spawn(move || done.send(std::env::set_current_dir(there)))?;
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    entered.recv_timeout(PATIENCE).map_err(silent)?
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}
