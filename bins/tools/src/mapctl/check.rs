//! `mapctl check`: what is wrong with a site, or with single sources.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use libmaps::lint::{self, Kind};
use libmaps::site::{Diagnostic, Loaded, Severity, Users, load};
use libmaps::sysexits::SysExit;
use serde_json::json;

use super::name::SiteArgs;
use super::{Failure, Outcome, Style};

/// Find what is wrong with a site: its configuration, the sources of its maps, and whether strangers may relay.
#[derive(Debug, Args)]
#[command(
    after_help = "EXIT STATUS:\n  0 no errors (there may be warnings), 65 errors were found, 66 a file can't be read"
)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// What the files are; without it their names tell.
    #[arg(long = "as", value_name = "TABLE", requires = "file")]
    kind: Option<KindWord>,
    /// Check these sources alone, by the rules of the site.
    #[arg(value_name = "FILE")]
    file: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindWord {
    Access,
    Mailertable,
    Virtusertable,
    Genericstable,
    Domaintable,
    Aliases,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Access => Kind::Access,
            KindWord::Mailertable => Kind::Mailertable,
            KindWord::Virtusertable => Kind::Virtusertable,
            KindWord::Genericstable => Kind::Genericstable,
            KindWord::Domaintable => Kind::Domaintable,
            KindWord::Aliases => Kind::Aliases,
        }
    }
}

/// Prints a finding a line and then their count.
pub(crate) fn check(args: &CheckArgs, style: Style) -> Outcome {
    let failed = |path: &Path, error: io::Error| {
        Failure::Other(SysExit::NoInput, format!("{}: {error}", path.display()))
    };
    let loaded = load(args.site.root.as_deref(), args.site.config.as_deref())
        .map_err(|error| Failure::Other(error.exit(), error.to_string()))?;
    let users = Users::of(&loaded.site).map_err(|error| failed(Path::new("/etc/passwd"), error))?;
    let mut found = Vec::new();
    if args.file.is_empty() {
        found = lint::site(&loaded, &users);
    }
    for path in &args.file {
        let kind = match args.kind {
            Some(word) => word.into(),
            None => Kind::of(path).ok_or_else(|| unknown_kind(path))?,
        };
        found.extend(one(kind, path, &loaded, &users).map_err(|error| failed(path, error))?);
    }
    let root = loaded.site.root.as_deref();
    for finding in &mut found {
        // The administrator's names for the files, not those they have from outside the root.
        if let Some(inside) = root.and_then(|root| finding.path.strip_prefix(root).ok())
            && args.file.is_empty()
        {
            finding.path = Path::new("/").join(inside);
        }
    }
    print(&found, style)
}

fn one(kind: Kind, path: &Path, loaded: &Loaded, users: &Users) -> io::Result<Vec<Diagnostic>> {
    lint::source(kind, path, File::open(path)?, &loaded.site, users)
}

fn unknown_kind(path: &Path) -> Failure {
    let text = format!(
        "{}: the name does not tell which table this is; say it with --as",
        path.display()
    );
    Failure::Other(SysExit::Usage, text)
}

fn print(found: &[Diagnostic], style: Style) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    for finding in found {
        match style {
            Style::Text => writeln!(out, "{finding}")?,
            Style::Json => {
                let object = json!({
                    "file": finding.path.to_string_lossy(),
                    "line": finding.line,
                    "severity": finding.severity.as_str(),
                    "text": finding.text,
                });
                writeln!(out, "{object}")?;
            }
        }
    }
    let count = |severity| found.iter().filter(|f| f.severity == severity).count();
    let errors = count(Severity::Error);
    if style == Style::Text {
        let counted = [
            plural(errors, "error"),
            plural(count(Severity::Warning), "warning"),
            plural(count(Severity::Note), "note"),
        ];
        writeln!(out, "{}", counted.join(", "))?;
    }
    out.flush()?;
    Ok(match errors {
        0 => SysExit::Ok,
        _ => SysExit::DataErr,
    })
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
