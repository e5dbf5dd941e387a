//! A configuration that may be acted on.
//!
//! Whoever delivers, decides or listens takes a [`SoundSite`], and only the check that finds no
//! error in a configuration gives one out: a `sendmail.mc` with a fault has lost what stands
//! behind it, the site's own names perhaps, and mail would go astray by the rest.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libmaps::lint::undone;
use libmaps::site::Site;
use libmaps::site::diagnostic::{Diagnostic, Severity};
use libmaps::site::load::{self, Loaded, SiteError};

/// A site without errors. Warnings there may be.
#[derive(Clone, Debug)]
pub struct SoundSite(Site);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// The configuration can't be read.
    #[error(transparent)]
    Unread(#[from] SiteError),
    /// It has errors.
    #[error("{0}")]
    Faulty(Findings),
}

/// What was found in a configuration, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Diagnostic>);

impl Findings {
    /// Those that forbid to act on the configuration.
    #[must_use]
    pub fn errors(&self) -> Findings {
        let errors = self.0.iter().filter(|f| f.severity == Severity::Error);
        Findings(errors.cloned().collect())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.0.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{finding}")?;
        }
        Ok(())
    }
}

/// Reads a configuration as [`load::load`] does, with all that is to be said about it: what
/// reading found, and what the site asks for that this server does not do.
///
/// # Errors
/// When it can't be read.
pub fn look(root: Option<&Path>, file: Option<&Path>) -> Result<(Site, Findings), SiteError> {
    Ok(judge(load::load(root, file)?))
}

fn judge(loaded: Loaded) -> (Site, Findings) {
    let mut findings = loaded.diagnostics;
    findings.extend(undone::findings(&loaded.site));
    (loaded.site, Findings(findings))
}

impl SoundSite {
    /// Reads a configuration and checks it; warnings come with it.
    ///
    /// # Errors
    /// When it can't be read or has errors; all findings come with that.
    pub fn read(root: Option<&Path>, file: Option<&Path>) -> Result<(Self, Findings), Unsound> {
        SoundSite::of(load::load(root, file)?).map_err(Unsound::Faulty)
    }

    /// Checks a configuration that was read; warnings come with it.
    ///
    /// # Errors
    /// When it has errors; all findings come with that.
    pub fn of(loaded: Loaded) -> Result<(Self, Findings), Findings> {
        let (site, findings) = judge(loaded);
        match findings.errors().0.is_empty() {
            true => Ok((SoundSite(site), findings)),
            false => Err(findings),
        }
    }

    /// With the time between two queue runs that the command line names.
    #[must_use]
    pub fn with_queue_interval(mut self, interval: Option<Duration>) -> Self {
        self.0.queue_interval = interval;
        self
    }

    /// With the queue's folder that the command line names.
    #[must_use]
    pub fn with_queue_folder(mut self, folder: Option<PathBuf>) -> Self {
        if folder.is_some() {
            self.0.options.queue.directory = folder;
        }
        self
    }

    /// The site, for those who only look.
    #[must_use]
    pub fn into_site(self) -> Site {
        self.0
    }
}

impl Deref for SoundSite {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_configuration_without_errors_is_sound() {
        let root = tempfile::tempdir().unwrap();
        let mail = root.path().join("etc/mail");
        std::fs::create_dir_all(&mail).unwrap();
        let read = |text: &str| {
            std::fs::write(mail.join("sendmail.mc"), text).unwrap();
            SoundSite::read(Some(root.path()), None)
        };
        let (site, findings) = read("define(`confDOMAIN_NAME', `mx.test.example')dnl\n").unwrap();
        assert_eq!(site.host_name, "mx.test.example");
        assert!(findings.errors().0.is_empty(), "{findings}");
        for (faulty, said) in [
            (
                "MAILER(`smtp')dnl\ndefine(`X', `unfinished",
                "sendmail.mc:2: error: ",
            ),
            ("FEATURE(nonsense)dnl\n", "sendmail.mc:1: error: "),
            (
                "INPUT_MAIL_FILTER(`f', `S=local:/f, F=T')dnl\n",
                "sendmail.mc:1: error: mail filter f",
            ),
        ] {
            match read(faulty) {
                Err(Unsound::Faulty(findings)) => {
                    let text = findings.errors().to_string();
                    assert!(text.contains(said), "{text}");
                }
                other => panic!("{faulty}: {other:?}"),
            }
        }
        std::fs::remove_file(mail.join("sendmail.mc")).unwrap();
        let gone = SoundSite::read(Some(root.path()), None);
        assert!(matches!(gone, Err(Unsound::Unread(_))), "{gone:?}");
    }
}
