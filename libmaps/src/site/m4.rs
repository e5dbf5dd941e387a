//! A small m4: enough of the macro processor for `sendmail.mc` files.
//!
//! Text goes in, calls come out: [`M4::step`] expands until it meets a macro
//! that sendmail's configuration gives a meaning (a *native* one), a file to
//! include, or the end; the caller acts and steps on. The processor itself
//! does no I/O and runs no command. It does not recurse, and every form of
//! growth is bounded by [`limits`]; what exceeds one ends the run with an error
//! that names the line.
//!
//! Supported is what POSIX says of `define undefine defn pushdef popdef ifdef
//! ifelse shift include sinclude divert undivert divnum dnl changequote
//! changecom len index substr translit incr decr eval errprint m4wrap`, with
//! GNU's habit that `define` and the like are plain words without parentheses.

mod builtin;
mod eval;
mod expand;
mod input;
mod output;
mod run;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use self::builtin::Builtin;
pub use self::output::{ConfigLine, Output};
use super::diagnostic::{Diagnostic, Place, Severity};

/// Bounds of a run; a real configuration stays a thousand times below them.
pub mod limits {
    /// Octets read, from files and from expansions.
    pub const OCTETS: usize = 64 << 20;
    /// Macro calls.
    pub const CALLS: usize = 500_000;
    /// Expansions that wait to be read on, as endless recursion piles them up.
    pub const PENDING: usize = 4_096;
    /// Calls inside the arguments of calls.
    pub const NESTING: usize = 512;
    /// Arguments of one call.
    pub const ARGUMENTS: usize = 65_536;
    /// Files that include files.
    pub const INCLUDES: usize = 32;
    /// Octets kept of the output.
    pub const OUTPUT: usize = 16 << 20;
    /// Octets of each mark that quotes or starts and ends a comment; it is looked for at every octet.
    pub const MARK: usize = 256;
    /// Findings kept.
    pub const FINDINGS: usize = 1_000;
}

/// A call of a native macro, its arguments expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The macro.
    pub name: String,
    /// Its arguments; none at all where the name stood without parentheses.
    pub arguments: Vec<Vec<u8>>,
    /// Where its name stands.
    pub place: Place,
}

impl Call {
    /// The argument of this number, from 0; the empty text where it is not there.
    #[must_use]
    pub fn argument(&self, number: usize) -> &[u8] {
        self.arguments.get(number).map_or(&[], Vec::as_slice)
    }
}

/// Where a run stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// At a native macro.
    Native(Call),
    /// At a file to be read in; the caller hands it over with [`M4::push_file`], or steps on without it.
    Include {
        /// The file as written.
        path: Vec<u8>,
        /// `sinclude`: that it is missing is fine.
        optional: bool,
        /// Where it was asked for.
        place: Place,
    },
    /// At the end.
    End,
}

#[derive(Clone, Debug)]
enum Definition {
    Text(Arc<[u8]>),
    Builtin(Builtin),
    Native,
}

/// A text that is being read.
#[derive(Debug)]
struct Source {
    text: Arc<[u8]>,
    at: usize,
    /// A file: its number in `files` and the line.
    file: Option<(usize, u32)>,
    /// Which source is the file below a text that is none, so that finding it takes no search.
    file_below: Option<usize>,
    /// Nothing below this one may be read; see `evaluate`.
    barrier: bool,
}

/// A call whose arguments are being collected, or the text of an evaluation.
#[derive(Debug)]
struct Frame {
    name: Vec<u8>,
    definition: Option<Definition>,
    place: Place,
    arguments: Vec<Vec<u8>>,
    current: Vec<u8>,
    parentheses: u32,
    at_start: bool,
}

/// The macro processor.
pub struct M4 {
    macros: HashMap<Vec<u8>, Vec<Definition>>,
    /// Where the file that is read defines a macro.
    places: HashMap<Vec<u8>, Place>,
    input: Vec<Source>,
    files: Vec<Arc<Path>>,
    /// The file read to its end most recently, and its last line.
    last_line: Option<(usize, u32)>,
    frames: Vec<Frame>,
    quote: (Vec<u8>, Vec<u8>),
    comment: Option<(Vec<u8>, Vec<u8>)>,
    diversion: i64,
    output: Output,
    wrapped: Vec<Vec<u8>>,
    octets: usize,
    calls: usize,
    findings: Vec<Diagnostic>,
}

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct M4Error {
    /// Where.
    pub place: Place,
    /// Why.
    pub text: String,
}

impl M4 {
    /// A processor that hands calls of `natives` to its caller.
    #[must_use]
    pub fn new(natives: &[&str]) -> Self {
        let mut macros = HashMap::new();
        for (name, builtin) in Builtin::ALL {
            macros.insert(
                name.as_bytes().to_vec(),
                vec![Definition::Builtin(*builtin)],
            );
        }
        for name in natives {
            macros.insert(name.as_bytes().to_vec(), vec![Definition::Native]);
        }
        M4 {
            macros,
            places: HashMap::new(),
            input: Vec::new(),
            files: Vec::new(),
            last_line: None,
            frames: Vec::new(),
            quote: (b"`".to_vec(), b"'".to_vec()),
            comment: None,
            diversion: 0,
            output: Output::default(),
            wrapped: Vec::new(),
            octets: 0,
            calls: 0,
            findings: Vec::new(),
        }
    }

    /// Comments start with `#` and end with the line, or there are none (as after `cf.m4`).
    pub fn set_comments(&mut self, comment: Option<(&[u8], &[u8])>) {
        self.comment = comment.map(|(start, end)| (start.to_vec(), end.to_vec()));
    }

    /// Defines a macro.
    pub fn define(&mut self, name: &str, text: &[u8]) {
        self.define_text(name.as_bytes(), text);
    }

    /// Defines a macro as a file would, at a place of it.
    pub fn define_at(&mut self, name: &str, text: &[u8], place: &Place) {
        self.define(name, text);
        self.places.insert(name.as_bytes().to_vec(), place.clone());
    }

    /// Forgets a macro.
    pub fn undefine(&mut self, name: &str) {
        self.macros.remove(name.as_bytes());
    }

    /// Whether a macro is defined.
    #[must_use]
    pub fn is_defined(&self, name: &str) -> bool {
        self.macros.contains_key(name.as_bytes())
    }

    /// The text of a macro as it was defined, not expanded.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&[u8]> {
        match self.macros.get(name.as_bytes())?.last()? {
            Definition::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Where the files read so far last defined the macro; none for what the program defined itself.
    #[must_use]
    pub fn defined_at(&self, name: &str) -> Option<&Place> {
        self.places.get(name.as_bytes())
    }

    /// What a macro gives when it is called without arguments; none if it is not defined.
    pub fn value(&mut self, name: &str) -> Result<Option<Vec<u8>>, M4Error> {
        match self.text_of(name) {
            Some(text) => {
                let text = text.to_vec();
                let text = self.expanded(&text, name.as_bytes(), &[])?;
                self.evaluate(&text).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The names of the macros that are defined as text, sorted.
    #[must_use]
    pub fn defined_texts(&self) -> Vec<String> {
        let texts = self
            .macros
            .iter()
            .filter(|(_, d)| matches!(d.last(), Some(Definition::Text(_))));
        let mut names: Vec<String> = texts
            .map(|(n, _)| String::from_utf8_lossy(n).into_owned())
            .collect();
        names.sort_unstable();
        names
    }

    /// Reads this file next.
    pub fn push_file(&mut self, path: &Path, text: Vec<u8>) -> Result<(), M4Error> {
        let open: Vec<usize> = self
            .input
            .iter()
            .filter_map(|s| s.file.map(|(n, _)| n))
            .collect();
        if open.len() >= limits::INCLUDES {
            return Err(self.error("too many files include one another"));
        }
        if open
            .iter()
            .any(|n| self.files.get(*n).is_some_and(|open| &**open == path))
        {
            return Err(self.error(format!("{} includes itself", path.display())));
        }
        let number = self.files.len();
        self.files.push(path.into());
        self.input.push(Source {
            text: text.into(),
            at: 0,
            file: Some((number, 1)),
            file_below: None,
            barrier: false,
        });
        Ok(())
    }

    /// Reads this text next, as if the macro had expanded to it.
    pub fn push_text(&mut self, text: &[u8]) -> Result<(), M4Error> {
        self.push(text.into())
    }

    /// The current diversion.
    #[must_use]
    pub fn diversion(&self) -> i64 {
        self.diversion
    }

    /// Sends output elsewhere; a negative number drops it.
    pub fn divert(&mut self, diversion: i64) {
        self.diversion = diversion;
    }

    /// What was written so far.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    pub(super) fn output_mut(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Adds a finding at the place that is being read.
    pub fn report(&mut self, severity: Severity, text: impl Into<String>) {
        let place = self.place();
        self.report_at(&place, severity, text);
    }

    /// Adds a finding at a place.
    pub fn report_at(&mut self, place: &Place, severity: Severity, text: impl Into<String>) {
        if self.findings.len() < limits::FINDINGS {
            self.findings.push(Diagnostic::new(place, severity, text));
        }
    }

    /// The findings so far, given away.
    pub fn take_findings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.findings)
    }

    /// Expands `text` by itself. Native macros and files in it are passed over.
    pub fn evaluate(&mut self, text: &[u8]) -> Result<Vec<u8>, M4Error> {
        let frame = Frame {
            name: Vec::new(),
            definition: None,
            place: self.place(),
            arguments: Vec::new(),
            current: Vec::new(),
            parentheses: 0,
            at_start: false,
        };
        let (frames, sources) = (self.frames.len(), self.input.len());
        self.frames.push(frame);
        self.push(text.into())?;
        if let Some(source) = self.input.last_mut() {
            source.barrier = true;
        }
        let result = loop {
            match self.step() {
                Ok(Step::End) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.input.truncate(sources);
        let text = self
            .frames
            .drain(frames..)
            .next()
            .map(|frame| frame.current);
        result.map(|()| text.unwrap_or_default())
    }

    fn define_text(&mut self, name: &[u8], text: &[u8]) {
        let definition = Definition::Text(text.into());
        let definitions = self.macros.entry(name.to_vec()).or_default();
        match definitions.last_mut() {
            Some(last) => *last = definition,
            None => definitions.push(definition),
        }
    }

    /// The line of the file that is being read.
    fn place(&self) -> Place {
        let open = self.input.last().and_then(|source| match source.file {
            Some(file) => Some(file),
            None => self.input.get(source.file_below?)?.file,
        });
        let file = open.or(self.last_line);
        let (path, line) = match file.and_then(|(n, line)| Some((self.files.get(n)?, line))) {
            Some((path, line)) => (Arc::clone(path), line),
            None => return self.main_file(),
        };
        Place { path, line }
    }

    /// The first file read, as a whole.
    #[must_use]
    pub fn main_file(&self) -> Place {
        let path = self.files.first().cloned();
        Place {
            path: path.unwrap_or_else(|| Path::new("").into()),
            line: 0,
        }
    }

    fn error(&self, text: impl Into<String>) -> M4Error {
        M4Error {
            place: self.place(),
            text: text.into(),
        }
    }
}
