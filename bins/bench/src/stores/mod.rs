//! Stores of peers, asked by their own libraries: small C programs, compiled when a compiler
//! and the library's header are there, that measure inside themselves.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::setting::Bench;

/// A library that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// As it stands in tables.
    pub(crate) title: &'static str,
    name: &'static str,
    source: &'static str,
    link: &'static str,
    package: &'static str,
}

/// Berkeley DB, class hash, with the cache that sendmail gives it.
pub(crate) const BERKELEY: Library = Library {
    title: "Berkeley hash",
    name: "berkeley",
    source: include_str!("berkeley.c"),
    link: "-ldb",
    package: "libdb-dev",
};

/// LMDB.
pub(crate) const LMDB: Library = Library {
    title: "LMDB",
    name: "lmdb",
    source: include_str!("lmdb.c"),
    link: "-llmdb",
    package: "liblmdb-dev",
};

/// tinycdb.
pub(crate) const TINYCDB: Library = Library {
    title: "tinycdb",
    name: "tinycdb",
    source: include_str!("tinycdb.c"),
    link: "-lcdb",
    package: "libcdb-dev",
};

/// A library's program, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// As it stands in tables.
    pub(crate) title: &'static str,
    name: &'static str,
    program: PathBuf,
}

/// What a program measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Asked {
    /// Nanoseconds a lookup.
    pub(crate) nanos: f64,
    /// Which part of the lookups found something.
    pub(crate) found: f64,
}

impl Library {
    /// Compiles the program in the bench's folder.
    ///
    /// # Errors
    /// A text that says why the library is left out.
    pub(crate) fn compile(&self, bench: &Bench) -> Result<Store, String> {
        bench.peers.wanted()?;
        let source = bench.at(&format!("{}.c", self.name));
        let program = bench.at(self.name);
        let ask = bench.at("ask.c");
        let written = fs::write(&source, self.source)
            .and_then(|()| fs::write(&ask, include_str!("ask.c")))
            .and_then(|()| fs::write(bench.at("ask.h"), include_str!("ask.h")));
        let compiled = written.and_then(|()| {
            let mut command = Command::new("cc");
            command.args(["-O2", "-o"]).arg(&program);
            command.arg(&source).arg(&ask).arg(self.link);
            command.stderr(Stdio::null()).status()
        });
        match compiled {
            Ok(status) if status.success() => Ok(Store {
                title: self.title,
                name: self.name,
                program,
            }),
            Ok(_) => Err(format!(
                "{}: its program can't be compiled; is {} installed?",
                self.title, self.package
            )),
            Err(e) => Err(format!("{}: cc: {e}", self.title)),
        }
    }
}

impl Store {
    /// Where a store of this library stands in `folder`.
    pub(crate) fn at(&self, folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.{}", self.name))
    }

    /// Fills the new store `file` from what [`entries`] wrote.
    ///
    /// # Errors
    /// The program fails.
    pub(crate) fn build(&self, file: &Path, entries: &Path) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("build").arg(file).arg(entries);
        self.run(&mut command).map(drop)
    }

    /// Asks what [`questions`] wrote, so many rounds.
    ///
    /// # Errors
    /// The program fails.
    pub(crate) fn ask(
        &self,
        questions: &Path,
        rounds: u32,
        files: &[PathBuf],
    ) -> io::Result<Asked> {
        let mut command = Command::new(&self.program);
        command.arg("ask").arg(questions).arg(rounds.to_string());
        self.run(command.args(files)).and_then(|text| asked(&text))
    }

    /// Opens the store and asks one question, so many times.
    ///
    /// # Errors
    /// The program fails.
    pub(crate) fn open(&self, questions: &Path, times: u32, file: &Path) -> io::Result<Asked> {
        let mut command = Command::new(&self.program);
        command.arg("open").arg(questions).arg(times.to_string());
        self.run(command.arg(file)).and_then(|text| asked(&text))
    }

    fn run(&self, command: &mut Command) -> io::Result<String> {
        let output = command.output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(io::Error::other(format!(
                "{}: {}",
                self.title,
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
        }
    }
}

fn asked(text: &str) -> io::Result<Asked> {
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    match numbers.as_slice() {
        [nanos, lookups, found] if *lookups > 0.0 => Ok(Asked {
            nanos: nanos / lookups,
            found: found / lookups,
        }),
        _ => Err(io::Error::other(format!("not what was measured: {text:?}"))),
    }
}

/// Writes entries for [`Store::build`].
///
/// # Errors
/// Those of the file.
pub(crate) fn entries(
    path: &Path,
    count: u32,
    entry: impl Fn(u32) -> (String, String),
) -> io::Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    out.write_all(&count.to_ne_bytes())?;
    for n in 0..count {
        let (lhs, rhs) = entry(n);
        for part in [&lhs, &rhs] {
            out.write_all(&len(part.as_bytes())?.to_ne_bytes())?;
        }
        out.write_all(lhs.as_bytes())?;
        out.write_all(rhs.as_bytes())?;
    }
    out.flush()
}

/// Writes questions for [`Store::ask`]: which of the files, and what.
///
/// # Errors
/// Those of the file.
pub(crate) fn questions(path: &Path, all: &[(u32, Vec<u8>)]) -> io::Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    let count = u32::try_from(all.len()).map_err(io::Error::other)?;
    out.write_all(&count.to_ne_bytes())?;
    for (file, lhs) in all {
        out.write_all(&file.to_ne_bytes())?;
        out.write_all(&len(lhs)?.to_ne_bytes())?;
        out.write_all(lhs)?;
    }
    out.flush()
}

fn len(octets: &[u8]) -> io::Result<u32> {
    u32::try_from(octets.len()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        setting: crate::setting::Setting,
    }

    #[test]
    fn every_library_that_is_here_finds_what_was_put() {
        let bench = Cli::parse_from(["bench"]).setting.open().unwrap();
        let (all, asked) = (bench.at("entries"), bench.at("questions"));
        entries(&all, 1000, |n| (format!("lhs{n}"), format!("rhs{n}"))).unwrap();
        let lhs = |n: u32| (n % 2, format!("lhs{}", n * 500).into_bytes());
        questions(&asked, &(0..4).map(lhs).collect::<Vec<_>>()).unwrap();
        for library in [BERKELEY, LMDB, TINYCDB] {
            let Ok(store) = library.compile(&bench) else {
                continue;
            };
            let file = store.at(bench.folder(), "m");
            store.build(&file, &all).unwrap();
            let files = [file.clone(), file.clone()];
            assert_eq!(store.ask(&asked, 3, &files).unwrap().found, 0.5);
            assert_eq!(store.open(&asked, 4, &file).unwrap().found, 0.5);
            assert!(store.build(&bench.at("no/folder"), &all).is_err());
        }
    }

    #[test]
    fn figures_are_read() {
        let want = Asked {
            nanos: 50.0,
            found: 0.25,
        };
        assert_eq!(asked("200 4 1\n").unwrap(), want);
        assert!(asked("200 0 0\n").is_err());
        assert!(asked("").is_err());
    }
}
