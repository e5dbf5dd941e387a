//! The built smtpd on a root that is laid out.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// What a server said, line by line.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A server that is ready; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// Of its listener on 127.0.0.1, the last one if there are several.
    pub(crate) port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it with these arguments; all that it says goes to `log`.
    pub(crate) fn start(root: &Path, args: &[&str], log: &Log) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smtpd"))
            .arg("--root")
            .arg(root)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut port, mut ready) = (0, false);
        while !ready {
            let line = lines.next();
            let line = line.unwrap_or_else(|| panic!("the server ended: {:?}", log.lock()));
            let line = line.unwrap();
            if let Some((_, addr)) = line.split_once(" addr=127.0.0.1:") {
                port = addr.parse().unwrap();
            }
            ready = line.ends_with(": ready");
            log.lock().unwrap().push(line);
        }
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        Running { child, port }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}
