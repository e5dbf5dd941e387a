//! The built smtpd, killed and started anew.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use super::site::command;

/// A server that is ready; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it behind these words (`nsenter` and its like), and waits until it is ready.
    pub(crate) fn start(programs: &Path, root: &Path, before: &[String]) -> io::Result<Self> {
        let smtpd = programs.join("smtpd");
        let mut command = command(before, &smtpd);
        command.arg("--root").arg(root);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = command.stderr(Stdio::piped()).spawn();
        let child =
            started.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", smtpd.display())))?;
        let mut server = Server { child, port: 0 };
        let Some(errors) = server.child.stderr.take() else {
            return Err(io::Error::other("no standard error"));
        };
        let mut lines = BufReader::new(errors);
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("smtpd did not start: {said}")));
            }
            if let Some((_, port)) = line.trim_end().rsplit_once(" addr=127.0.0.1:") {
                server.port = port.parse().map_err(io::Error::other)?;
            }
            if line.trim_end().ends_with(": ready") {
                break;
            }
            said.push_str(&line);
        }
        // What it says from now on is of no interest, but must be taken.
        std::thread::spawn(move || {
            let mut some = [0; 65_536];
            while lines
                .get_mut()
                .read(&mut some)
                .is_ok_and(|octets| octets > 0)
            {}
        });
        Ok(server)
    }

    /// The port of its listener.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
