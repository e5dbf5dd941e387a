//! A saslauthd, ours or Cyrus SASL's, that is asked.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{CPU, NAME, PASSWORD, RATE};
use crate::accounts::REALM;
use crate::report::Sample;
use crate::tree;

/// How long a daemon may take to begin to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon with its socket, stopped when dropped.
pub(super) struct Daemon {
    child: Child,
    socket: PathBuf,
}

/// Whether a daemon goes on as the process that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    /// It does.
    Stays,
    /// It ends that process once its children run.
    Detaches,
}

impl Daemon {
    /// Starts `program`, whose run directory `folder` is made, and waits until it answers.
    ///
    /// # Errors
    /// It can't be started, or does not answer.
    pub(super) fn start(command: &mut Command, folder: &Path) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut daemon = Daemon {
            child,
            socket: folder.join("mux"),
        };
        let begun = Instant::now();
        while let Err(e) = daemon.ask() {
            let ended = daemon.child.try_wait()?.is_some();
            if ended || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{command:?}: no answer: {e}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// As [`Daemon::start`], where files of the system are covered by others, in a mount
    /// namespace of its own.
    ///
    /// # Errors
    /// As [`Daemon::start`]; only root may.
    pub(super) fn start_over(
        covered: &[(&Path, &Path)],
        program: &Path,
        args: &[&OsStr],
        ways: Ways,
        folder: &Path,
    ) -> io::Result<Self> {
        // A process namespace too: when its first process ends, so do all that it forked.
        let script = r#"n=$1; shift
            while [ "$n" -gt 0 ]; do mount --bind "$1" "$2" || exit; shift 2; n=$((n - 1)); done"#;
        let script = match ways {
            Ways::Stays => format!("{script}\nexec \"$@\""),
            Ways::Detaches => format!("{script}\n\"$@\" && exec sleep infinity"),
        };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]);
        command.args([&script, "sh", &covered.len().to_string()]);
        for (with, what) in covered {
            command.args([with, what]);
        }
        command.arg(program).args(args);
        Daemon::start(&mut command, folder)
    }

    /// One request, which must be answered with OK.
    fn ask(&self) -> io::Result<()> {
        let mut request = Vec::new();
        for field in [NAME, PASSWORD, "smtp", REALM] {
            request.push(0);
            request.push(u8::try_from(field.len()).map_err(io::Error::other)?);
            request.extend_from_slice(field.as_bytes());
        }
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(&request)?;
        stream.shutdown(Shutdown::Write)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        match reply.as_slice() {
            b"\0\x02OK" => Ok(()),
            other => Err(io::Error::other(format!(
                "answered {}",
                other.escape_ascii()
            ))),
        }
    }

    /// So many requests of so many clients at a time.
    ///
    /// # Errors
    /// One was not answered with OK.
    pub(super) fn rate(&self, requests: u32, clients: u32) -> io::Result<Sample> {
        let each = requests.div_ceil(clients.max(1));
        let before = tree::cpu(self.child.id())?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| scope.spawn(|| (0..each).try_for_each(|_| self.ask())))
                .collect();
            clients.into_iter().try_for_each(|client| {
                let ended = client.join();
                ended.unwrap_or_else(|_| Err(io::Error::other("a client stopped")))
            })
        })?;
        let wall = begun.elapsed();
        let cpu = tree::cpu(self.child.id())?.saturating_sub(before);
        let answered = f64::from(each * clients);
        Ok(Sample(vec![
            (RATE, answered / wall.as_secs_f64()),
            (CPU, cpu.as_secs_f64() * 1_000_000.0 / answered),
        ]))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its children end when they see that it is gone, or when the namespace is.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
