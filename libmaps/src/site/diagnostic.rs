//! What a configuration says that is wrong, ignored or risky, and where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named; many places share it.
    pub path: Arc<Path>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
}

impl Place {
    /// A line of a file.
    #[must_use]
    pub fn new(path: impl Into<Arc<Path>>, line: u32) -> Self {
        Place {
            path: path.into(),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Known and left out on purpose; nothing is lost by it.
    Note,
    /// A nicety is lost, or something is risky or likely a mistake.
    Warning,
    /// Going on would change who may relay or log in, or where mail goes.
    Error,
}

impl Severity {
    /// The word printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, and what it would have changed.
    pub text: String,
}

impl Diagnostic {
    /// A finding at a place.
    #[must_use]
    pub fn new(place: &Place, severity: Severity, text: impl Into<String>) -> Self {
        Diagnostic {
            path: place.path.to_path_buf(),
            line: place.line,
            severity,
            text: text.into(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}: {}", self.severity.as_str(), self.text)
    }
}
