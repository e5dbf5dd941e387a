//! `-bd` and `-bD`: the server, in the background or in place of this process.

use std::ffi::OsString;
use std::io;
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
        Ok((None, pid)) => {
            write_pid(&site, pid, &program, line);
            Ok(SysExit::Ok)
        }
        Ok((Some(status), _)) => Err(ended(status)),
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

pub(super) fn program() -> PathBuf {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|exe| Some(exe.parent()?.join("smtpd")));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| SERVER.into())
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

/// `None` once the server says that it is ready, its status if it ends before.
fn wait_until_ready(ready: &UnixDatagram, child: &mut Child) -> io::Result<Option<ExitStatus>> {
    ready.set_read_timeout(Some(Duration::from_millis(100)))?;
    let end = Instant::now() + PATIENCE;
    let mut state = [0u8; 256];
    while Instant::now() < end {
        if let Ok(octets) = ready.recv(&mut state)
            && state
                .get(..octets)
                .is_some_and(|s| s.starts_with(b"READY=1"))
        {
            return Ok(None);
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
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

pub(super) fn ended(status: ExitStatus) -> Refusal {
    let code = status.code();
    let exit = match code {
        Some(69) => SysExit::Unavailable,
        Some(71) => SysExit::OsErr,
        Some(74) => SysExit::IoErr,
        Some(75) => SysExit::TempFail,
        _ => SysExit::Config,
    };
    let text = format!("the server ended with {status}; its log tells why");
    Refusal::new(exit, text)
}

pub(super) fn not_started(program: &Path, error: &io::Error) -> Refusal {
    let cause = tools::alias_config::reason(error);
    Refusal::new(SysExit::OsErr, format!("{}: {cause}", program.display()))
}
