//! `-bd` and `-bD`: the server, in the background or in place of this process.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libmaps::site::Site;
use libmaps::sysexits::SysExit;

use super::args::{CommandLine, Refusal};
use super::scene::{own_uid, read_site};

/// The server beside this program, or else here.
const SERVER: &str = "/usr/sbin/smtpd";
/// The name of a socket has 108 octets at the most.
const MAX_FOLDER_OCTETS: usize = 60;
/// Most octets of what the server says of its state at once.
const MAX_STATE_OCTETS: usize = 4096;
/// How long the server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// `-bD`: becomes the server, which logs to syslog as sendmail does.
///
/// # Errors
/// When there is no server to become.
pub(super) fn foreground(line: &CommandLine) -> Result<SysExit, Refusal> {
    check_caller(line)?;
    let program = program();
    let error = Command::new(&program).args(arguments(line)).exec();
    Err(not_started(&program, &error))
}

/// `-bd`: starts the server in a session of its own and returns when it is ready.
///
/// # Errors
/// When it does not start; its exit code is handed on.
pub(super) fn background(line: &CommandLine) -> Result<SysExit, Refusal> {
    check_caller(line)?;
    let site = read_site(line)?;
    let program = program();
    let folder = private_folder().map_err(|e| not_started(&program, &e))?;
    let path = folder.join("ready");
    let ready = UnixDatagram::bind(&path);
    let started = ready.and_then(|ready| {
        let mut child = spawn(&program, line, &path)?;
        let ended = wait_until_ready(&ready, &mut child)?;
        Ok((ended, child.id()))
    });
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_dir(&folder);
    match started {
        Ok((Start::Ready, pid)) => {
            write_pid(&site, pid, &program, line);
            Ok(SysExit::Ok)
        }
        Ok((Start::Ended { status, said }, _)) => Err(ended(status, &said)),
        Err(error) => Err(not_started(&program, &error)),
    }
}

/// Only root starts the site's own server, as with sendmail.
fn check_caller(line: &CommandLine) -> Result<(), Refusal> {
    if own_uid() != 0 && line.root.is_none() {
        return Err(Refusal::usage("Permission denied (real uid not trusted)"));
    }
    Ok(())
}

/// The server: the file of that name beside this program, unless that is this program again, as
/// the link in Debian's /usr/libexec/sendmail is.
pub(super) fn program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(server_beside);
    beside.unwrap_or_else(|| SERVER.into())
}

fn server_beside(own: &Path) -> Option<PathBuf> {
    let beside = own.parent()?.join("smtpd");
    let file = |path: &Path| std::fs::metadata(path).map(|facts| (facts.dev(), facts.ino()));
    let (own, other) = (file(own).ok()?, file(&beside).ok()?);
    (own != other).then_some(beside)
}

fn arguments(line: &CommandLine) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--log".into(), "syslog".into()];
    args.extend(site_arguments(line));
    if let Some(interval) = &line.queue.interval {
        args.push("-q".into());
        args.push((**interval).into());
    }
    args
}

/// Which site.
pub(super) fn site_arguments(line: &CommandLine) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    if let Some(root) = &line.root {
        args.push("--root".into());
        args.push(absolute(root).into());
    }
    if let Some(file) = &line.config {
        args.push("-C".into());
        args.push(absolute(file).into());
    }
    args
}

/// The server works in another folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// A fresh folder that only we can enter.
fn private_folder() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let id = crate::drop::DropId::random()?;
    let mut parent = std::env::temp_dir();
    if parent.as_os_str().len() > MAX_FOLDER_OCTETS {
        parent = "/tmp".into();
    }
    let folder = parent.join(format!("sendmail-{id}"));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

#[allow(unsafe_code)] // setsid(2) between fork and exec has no safe form in std.
fn spawn(program: &Path, line: &CommandLine, ready: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments(line))
        .env("NOTIFY_SOCKET", ready)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    command.spawn()
}

/// What came of a start.
enum Start {
    /// The server serves.
    Ready,
    /// It has ended, and said why.
    Ended {
        status: ExitStatus,
        said: Vec<String>,
    },
}

/// Waits until the server says that it is ready, or ends.
fn wait_until_ready(ready: &UnixDatagram, child: &mut Child) -> io::Result<Start> {
    ready.set_read_timeout(Some(Duration::from_millis(100)))?;
    let end = Instant::now() + PATIENCE;
    let (mut state, mut said) = ([0u8; MAX_STATE_OCTETS], Vec::new());
    while Instant::now() < end {
        // What it said before it ended can still be read when it has.
        let ended = child.try_wait()?;
        let heard = ready.recv(&mut state);
        let heard = heard.ok().and_then(|octets| state.get(..octets));
        match (heard, ended) {
            (Some(text), _) if text.starts_with(b"READY=1") => return Ok(Start::Ready),
            (Some(text), _) => {
                let why = text.strip_prefix(b"STATUS=");
                said.extend(why.map(|why| String::from_utf8_lossy(why).into_owned()));
            }
            (None, Some(status)) => return Ok(Start::Ended { status, said }),
            (None, None) => {}
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(io::ErrorKind::TimedOut.into())
}

/// PidFile: the number and the command line.
fn write_pid(site: &Site, pid: u32, program: &Path, line: &CommandLine) {
    let Some(path) = &site.options.files.pid else {
        return;
    };
    let args = arguments(line);
    let args: Vec<_> = args.iter().map(|a| a.to_string_lossy()).collect();
    let text = format!("{pid}\n{} {}\n", program.display(), args.join(" "));
    // The server runs; a file that can't be written does not end it.
    let _ = std::fs::write(site.below(path), text);
}

fn ended(status: ExitStatus, said: &[String]) -> Refusal {
    let mut text = said.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!(
        "the server ended with {status}; its log (syslog, facility mail) tells more"
    ));
    Refusal::new(exit_of(status), text)
}

/// The exit code of smtpd, as ours.
pub(super) fn exit_of(status: ExitStatus) -> SysExit {
    let exit = status.code().and_then(SysExit::of_code);
    exit.unwrap_or(SysExit::Config)
}

pub(super) fn not_started(program: &Path, error: &io::Error) -> Refusal {
    let cause = tools::alias_config::reason(error);
    Refusal::new(SysExit::OsErr, format!("{}: {cause}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_this_program_is_not_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("sendmail"), "").unwrap();
        assert_eq!(server_beside(&path("sendmail")), None);
        std::os::unix::fs::symlink("sendmail", path("smtpd")).unwrap();
        assert_eq!(server_beside(&path("sendmail")), None);
        std::fs::remove_file(path("smtpd")).unwrap();
        std::fs::write(path("smtpd"), "").unwrap();
        assert_eq!(server_beside(&path("sendmail")), Some(path("smtpd")));
    }
}
