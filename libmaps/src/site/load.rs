//! Finding and reading the configuration.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::opening;
use crate::sysexits::SysExit;

use super::class_map;
use super::diagnostic::{Diagnostic, Severity};
use super::machine::Machine;
use super::mc;
use super::model::{Site, below};

/// Where the configuration is unless one says otherwise.
pub const DEFAULT_FILE: &str = "/etc/mail/sendmail.mc";

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub site: Site,
    /// What is ignored, risky or wrong, in the order in which it was found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether a finding forbids acting on the model.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The findings that forbid acting on the model.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
    }
}

/// Why there is no model at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What m4 makes of a `sendmail.mc` was named in its place.
    #[error(
        "{}: this is a sendmail.cf; what is read is the sendmail.mc that it was made of ({})",
        path.display(),
        made_of.display()
    )]
    SendmailCf {
        /// The file.
        path: PathBuf,
        /// Where its `.mc` file is or should be.
        made_of: PathBuf,
    },
}

impl SiteError {
    /// The exit code of a program that ends because of this error.
    #[must_use]
    pub fn exit(&self) -> SysExit {
        match self {
            SiteError::Io { .. } => SysExit::NoInput,
            SiteError::SendmailCf { .. } => SysExit::Config,
        }
    }
}

/// Reads the configuration below `root` (none: the system's): `file`, or [`DEFAULT_FILE`] below the root.
///
/// A `file` that is given is taken as it stands, not below the root. All files that the configuration names are taken
/// below the root. Faults of the configuration are diagnostics, with which [`Loaded::has_errors`] is to be asked before
/// acting on the model; an error is only that a file can't be read.
pub fn load(root: Option<&Path>, file: Option<&Path>) -> Result<Loaded, SiteError> {
    let mut loaded = load_unfilled(root, file)?;
    class_map::fill(&mut loaded);
    Ok(loaded)
}

/// As [`load`], without the words that classes have from shared maps: for whoever is about to
/// fetch them.
///
/// # Errors
/// As [`load`].
pub fn load_unfilled(root: Option<&Path>, file: Option<&Path>) -> Result<Loaded, SiteError> {
    let path = file.map_or_else(|| below(root, Path::new(DEFAULT_FILE)), Path::to_path_buf);
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SiteError::Io { path, source }
    };
    let text = read_file(&path).map_err(failed(&path))?;
    if is_sendmail_cf(&path, &text) {
        let made_of = path.with_extension("mc");
        return Err(SiteError::SendmailCf { path, made_of });
    }
    let machine = Machine::of(root).map_err(failed(Path::new("/etc/hosts")))?;
    let mut read = mc::read(root, &path, text, &machine);
    let programs = read.site.mailers.defined.iter().map(|m| m.path.clone());
    let missing = programs.filter(|path| path.starts_with('/') && !Path::new(path).exists());
    read.site.mailers.missing = missing.collect();
    Ok(Loaded {
        site: read.site,
        diagnostics: read.diagnostics,
    })
}

/// Whether a file is what m4 made of a `.mc` file: by its name, or because the first line that is no comment is one of
/// a `.cf` file. What cf/m4/proto.m4 makes begins with `V10/Berkeley`.
fn is_sendmail_cf(path: &Path, text: &[u8]) -> bool {
    let lines = text.split(|c| *c == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines
        .into_iter()
        .find(|line| !line.is_empty() && !line.starts_with(b"#"));
    let is_cf_line = first.is_some_and(|line| {
        matches!(line, [b'V', b'0'..=b'9', ..])
            || matches!(line, [b'C' | b'D' | b'F', b'a'..=b'z' | b'{', ..]) && !line.contains(&b'(')
            || line.starts_with(b"O ")
    });
    is_cf_line || path.extension().is_some_and(|suffix| suffix == "cf")
}

/// Reads a regular file of a size that a configuration can have.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // The kind is asked before opening, as opening a FIFO would wait for a writer.
    if !opening::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut text = Vec::new();
    let limit = mc::FILE_OCTETS;
    opening::file(path)?
        .take(limit + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is too large",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sendmail_cf_is_known_by_its_name_or_its_first_line() {
        let is = |name: &str, text: &str| is_sendmail_cf(Path::new(name), text.as_bytes());
        assert!(is("x", "# made by m4\n\nV10/Berkeley\n"));
        assert!(is("x", "Cwlocalhost\n") && is("x", "O Timeout.queue=5d\n"));
        assert!(is("/etc/mail/sendmail.cf", ""));
        for mc in [
            "divert(-1)dnl\nV10\n",
            "VERSIONID(`x')",
            "DOMAIN(`generic')",
            "Define(x)",
            "FEATURE(x)",
            "",
        ] {
            assert!(!is("sendmail.mc", mc), "{mc}");
        }
    }

    #[test]
    fn a_sendmail_cf_is_one_error_that_names_the_mc() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("other");
        std::fs::write(&path, "V10/Berkeley\nR$* $1\n").unwrap();
        let error = load(Some(root.path()), Some(&path)).unwrap_err();
        assert_eq!(error.exit(), SysExit::Config);
        assert!(error.to_string().contains("/other.mc"), "{error}");
    }
}
