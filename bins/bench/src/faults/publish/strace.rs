//! strace(1): which system calls a program makes on some files, and what comes of one that
//! fails or kills.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::job::Site;

/// A system call on one of the files: the nth of its name in its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    number: usize,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.number)
    }
}

/// What is done to a call.
pub(super) enum Injection {
    Kill,
    Error(&'static str),
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Injection::Kill => f.write_str("SIGKILL"),
            Injection::Error(error) => f.write_str(error),
        }
    }
}

/// How a program ended.
pub(super) struct Ended {
    /// `None` after a signal.
    pub(super) code: Option<i32>,
    /// What it said: standard error, and standard output for programs that complain there.
    pub(super) errors: String,
    pub(super) trace: String,
}

impl Ended {
    pub(super) fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Whether strace is here and may trace.
pub(super) fn works(folder: &Path) -> Result<(), String> {
    let mut command = Command::new("strace");
    command.args(["-qq", "-e", "inject=fsync:error=EIO:when=1", "-o"]);
    let output = command.arg(folder.join("trace")).arg("true").output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// Runs a command of a site, with one call injected.
pub(super) fn run(
    command: &mut Command,
    site: &Site,
    injected: Option<(&Call, &Injection)>,
) -> io::Result<Ended> {
    let trace = site.beside("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace);
    for path in site.watched() {
        strace.arg("-P").arg(path);
    }
    if let Some((Call { name, number }, injection)) = injected {
        let what = match injection {
            Injection::Kill => "signal=SIGKILL".to_owned(),
            Injection::Error(error) => format!("error={error}"),
        };
        strace.arg("-e").arg(format!("trace={name}"));
        strace
            .arg("-e")
            .arg(format!("inject={name}:{what}:when={number}"));
    }
    strace.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace
        .stdin(File::open(site.input())?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = strace.output()?;
    let told = [output.stderr, output.stdout].concat();
    Ok(Ended {
        code: output.status.code(),
        errors: String::from_utf8_lossy(&told).into_owned(),
        trace: String::from_utf8_lossy(&std::fs::read(&trace)?).into_owned(),
    })
}

/// The calls of a trace, each name as often as the busiest thread has it.
pub(super) fn calls(trace: &str) -> Vec<Call> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.is_empty() && name.chars().all(plain) {
            *counts.entry((name, thread)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, _), count) in counts {
        let most = most.entry(name).or_default();
        *most = count.max(*most);
    }
    let all = most.into_iter().flat_map(|(name, count)| {
        (1..=count).map(move |number| Call {
            name: name.into(),
            number,
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread() {
        let trace = "7 openat(AT_FDCWD, \"m\", O_RDONLY) = 3\n7 fsync(3) = 0\n8 fsync(4) = 0\n\
                     8 fsync(4 <unfinished ...>\n7 <... fsync resumed>) = 0\n8 +++ exited with 0 +++\n";
        let all: Vec<String> = calls(trace).iter().map(Call::to_string).collect();
        assert_eq!(all, ["fsync 1", "fsync 2", "openat 1"]);
    }
}
