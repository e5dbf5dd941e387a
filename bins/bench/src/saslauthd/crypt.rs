//! crypt(3) by itself, on all processors: what no saslauthd can beat.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use super::{PASSWORD, RATE};
use crate::report::Sample;
use crate::setting::Bench;

/// The program, compiled.
pub(super) struct Crypt(PathBuf);

impl Crypt {
    /// Compiles the program in the bench's folder.
    ///
    /// # Errors
    /// A text that says why it is left out.
    pub(super) fn compile(bench: &Bench) -> Result<Self, String> {
        bench.peers.wanted()?;
        let (source, program) = (bench.at("crypt.c"), bench.at("crypt"));
        let written = fs::write(&source, include_str!("crypt.c"));
        let compiled = written.and_then(|()| {
            let mut command = Command::new("cc");
            command.args(["-O2", "-o"]).arg(&program).arg(&source);
            command.args(["-lcrypt", "-lpthread"]);
            command.stderr(Stdio::null()).status()
        });
        match compiled {
            Ok(status) if status.success() => Ok(Crypt(program)),
            Ok(_) => Err("its program can't be compiled; is libcrypt-dev installed?".into()),
            Err(e) => Err(format!("cc: {e}")),
        }
    }

    /// A hash of the password, as passwd(1) of this system would make it.
    ///
    /// # Errors
    /// The program fails.
    pub(super) fn hash(&self) -> io::Result<String> {
        self.run(&["hash", PASSWORD])
    }

    /// Verifies the password so often, on a thread for each processor.
    ///
    /// # Errors
    /// The program fails.
    pub(super) fn rate(&self, hash: &str, times: u32) -> io::Result<Sample> {
        let processors = thread::available_parallelism()?.to_string();
        let nanos = self.run(&["run", &processors, &times.to_string(), hash, PASSWORD])?;
        let nanos: f64 = nanos.parse().map_err(io::Error::other)?;
        Ok(Sample(vec![(RATE, f64::from(times) * 1e9 / nanos)]))
    }

    fn run(&self, args: &[&str]) -> io::Result<String> {
        let output = Command::new(&self.0).args(args).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().into()),
            false => Err(io::Error::other(format!(
                "crypt {}: failed",
                args.join(" ")
            ))),
        }
    }
}
