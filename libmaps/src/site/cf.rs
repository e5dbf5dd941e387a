//! `sendmail.cf`: the lines of it that matter to the map tools.
//!
//! Read are `O` (options), `C` and `F` (classes, also `F` files), `D` (macros)
//! and `K` (maps); rulesets, headers and mailers are passed over. Lines that
//! begin with white space continue the one before; a line that begins with `#`
//! is a comment. The format is that of the *Sendmail Installation and
//! Operation Guide*, section 5.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::class_file::Format;
use super::options;

/// How much of a file is read; real ones have some 70,000 octets.
const CF_MAX_OCTETS: u64 = 16 << 20;
/// How much of class files is read for one configuration, and how much a class may hold with its macros replaced.
const CLASS_MAX_OCTETS: usize = 16 << 20;
/// The longest text that macros are replaced in, and that comes of it; sendmail's own buffer is as long.
const EXPANDED_MAX_OCTETS: usize = 2048;

/// A `sendmail.cf`, as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cf {
    /// The file, as the administrator named it.
    pub path: PathBuf,
    /// The `O` lines, in order.
    pub options: Vec<CfOption>,
    /// The `K` lines, in order.
    pub maps: Vec<CfMap>,
    /// The values of `C` and `F` lines by class (`w`, `{Persistent}`), as written.
    pub classes: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// The values of `D` lines by macro, as written; of several the last.
    pub macros: BTreeMap<String, Vec<u8>>,
    /// `F` lines whose file could not be read and that were not marked `-o`.
    pub warnings: Vec<CfWarning>,
}

/// An `O` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfOption {
    /// The line, from 1.
    pub line: u64,
    /// The line as it stands, continuation lines included.
    pub text: Vec<u8>,
    /// The name as written; of a one-letter option the long one.
    pub name: Vec<u8>,
    /// What stands behind the `=`, without white space before it.
    pub value: Vec<u8>,
}

/// A `K` line: `Kname class flags... file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfMap {
    /// The line, from 1.
    pub line: u64,
    /// The map's name.
    pub name: Vec<u8>,
    /// Its class, as written.
    pub class: Vec<u8>,
    /// The words that begin with a hyphen.
    pub flags: Vec<Vec<u8>>,
    /// The file, or whatever else the class takes; the first other word.
    pub file: Option<Vec<u8>>,
}

/// A class file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfWarning {
    /// The line of the `F`, from 1.
    pub line: u64,
    /// The file and what the system says about it.
    pub text: String,
}

impl Cf {
    /// Reads the file at `path`; files that `F` lines name are read too, absolute ones below `root`.
    ///
    /// Whatever the file holds, something is read: a line of another kind means nothing.
    ///
    /// # Errors
    /// The file can't be read, or is no regular file.
    pub fn read(path: &Path, root: Option<&Path>) -> io::Result<Cf> {
        let mut cf = Cf::parse(&read_whole(path)?, &mut |file| {
            read_whole(&below(root, file))
        });
        cf.path = path.into();
        Ok(cf)
    }

    /// Reads a configuration that stands in memory; `open` gives the content of class files.
    pub fn parse(text: &[u8], open: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>) -> Cf {
        let mut cf = Cf::default();
        let mut left = CLASS_MAX_OCTETS;
        let mut open = |file: &Path| {
            let text = if left > 0 { open(file)? } else { Vec::new() };
            left = left.saturating_sub(text.len());
            match left {
                0 => Err(io::Error::other("class files are too large")),
                _ => Ok(text),
            }
        };
        for (line, text) in logical_lines(text) {
            let Some((kind, rest)) = text.split_first() else {
                continue;
            };
            match kind {
                b'O' => cf.option(line, &text, rest),
                b'C' => cf.class(rest),
                b'F' => cf.class_file(line, rest, &mut open),
                b'D' => cf.define(rest),
                b'K' => cf.map(line, rest),
                _ => {}
            }
        }
        cf
    }

    /// The last value of an option, whose name is compared without regard to case.
    #[must_use]
    pub fn option_value(&self, name: &str) -> Option<&CfOption> {
        let same = |o: &&CfOption| o.name.eq_ignore_ascii_case(name.as_bytes());
        self.options.iter().rev().find(same)
    }

    /// The value of the last line that begins with exactly `O NAME=`: all that makemap and
    /// editmap know of the format.
    #[must_use]
    pub fn option_verbatim(&self, name: &str) -> Option<&[u8]> {
        let head = format!("O {name}=");
        self.options
            .iter()
            .rev()
            .find_map(|o| o.text.strip_prefix(head.as_bytes()))
    }

    /// The values of a class with macros in them replaced, folded.
    ///
    /// Of values that grow beyond 16 MiB together, the last are left out.
    #[must_use]
    pub fn class_folded(&self, name: &str) -> BTreeSet<Vec<u8>> {
        let Some(values) = self.classes.get(name) else {
            return BTreeSet::new();
        };
        let mut folded = BTreeSet::new();
        let mut left = CLASS_MAX_OCTETS;
        for value in values {
            let value = self.expanded(value);
            match left.checked_sub(value.len()) {
                Some(less) => left = less,
                None => break,
            }
            for word in value.split(u8::is_ascii_whitespace) {
                if !word.is_empty() {
                    folded.insert(word.to_ascii_lowercase());
                }
            }
        }
        folded
    }

    /// A text with its `$x` and `${name}` replaced; unknown macros are empty.
    ///
    /// A text that is or grows longer than 2,048 octets is given as it stands.
    #[must_use]
    pub fn expanded(&self, text: &[u8]) -> Vec<u8> {
        /// Macros in macros go this deep.
        const DEPTH_MAX: usize = 10;
        let mut text = text.to_vec();
        for _ in 0..DEPTH_MAX {
            if !text.contains(&b'$') || text.len() > EXPANDED_MAX_OCTETS {
                break;
            }
            match self.expanded_once(&text) {
                Some(longer) => text = longer,
                None => break,
            }
        }
        text
    }

    /// None if what comes of it is too long.
    fn expanded_once(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'$', rest) {
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            let (name, after) = macro_name(rest.get(at + 1..).unwrap_or_default());
            let value = self.macros.get(&name).map_or(&[][..], Vec::as_slice);
            if out.len() + value.len() > EXPANDED_MAX_OCTETS {
                return None;
            }
            out.extend_from_slice(value);
            rest = after;
        }
        out.extend_from_slice(rest);
        (out.len() <= EXPANDED_MAX_OCTETS).then_some(out)
    }

    fn option(&mut self, line: u64, text: &[u8], rest: &[u8]) {
        let (name, value) = match rest.first() {
            Some(b' ' | b'\t') => {
                let rest = trim_start(rest);
                let at = memchr::memchr(b'=', rest).unwrap_or(rest.len());
                let name = rest.get(..at).unwrap_or_default().trim_ascii();
                let value = trim_start(rest.get(at + 1..).unwrap_or_default());
                (options::long_name(name), value)
            }
            Some(letter) => {
                let value = rest.get(1..).unwrap_or_default();
                (options::of_letter(*letter).as_bytes().to_vec(), value)
            }
            None => return,
        };
        self.options.push(CfOption {
            line,
            text: text.to_vec(),
            name,
            value: value.to_vec(),
        });
    }

    fn class(&mut self, rest: &[u8]) {
        let (name, values) = macro_name(rest);
        let words = values
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty())
            .map(<[u8]>::to_vec);
        self.classes.entry(name).or_default().extend(words);
    }

    fn class_file(
        &mut self,
        line: u64,
        rest: &[u8],
        open: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) {
        let (name, spec) = macro_name(rest);
        let spec = trim_start(spec);
        let (optional, spec) = match spec.strip_prefix(b"-o") {
            Some(rest) => (true, trim_start(rest)),
            None => (false, spec),
        };
        // A `|program` or `@ldap` class is nothing that a map tool should run or ask.
        let mut words = spec
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty());
        let file = words.next().unwrap_or(b"");
        let format = words.next().map(String::from_utf8_lossy);
        let format = Format::parse(format.as_deref());
        if file.is_empty() || file.starts_with(b"|") || spec.contains(&b'@') {
            return;
        }
        let file = crate::site::alias_files::path_of(file);
        match open(&file) {
            Ok(text) => {
                let class = self.classes.entry(name).or_default();
                class.extend(format.words(&text).map(<[u8]>::to_vec));
            }
            Err(_) if optional => {}
            Err(e) => self.warnings.push(CfWarning {
                line,
                text: format!("{}: {e}", file.display()),
            }),
        }
    }

    fn define(&mut self, rest: &[u8]) {
        let (name, value) = macro_name(rest);
        self.macros.insert(name, value.to_vec());
    }

    fn map(&mut self, line: u64, rest: &[u8]) {
        let mut words = rest
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty())
            .map(<[u8]>::to_vec);
        let (Some(name), Some(class)) = (words.next(), words.next()) else {
            return;
        };
        let (mut flags, mut file) = (Vec::new(), None);
        for word in words {
            match word.first() {
                Some(b'-') if file.is_none() => flags.push(word),
                _ => {
                    file.get_or_insert(word);
                }
            }
        }
        self.maps.push(CfMap {
            line,
            name,
            class,
            flags,
            file,
        });
    }
}

/// A one-letter name, or a longer one in braces, and what follows it.
fn macro_name(text: &[u8]) -> (String, &[u8]) {
    if let Some(inner) = text.strip_prefix(b"{")
        && let Some(end) = memchr::memchr(b'}', inner)
        && let (name, rest) = inner.split_at(end)
    {
        let name = String::from_utf8_lossy(name);
        let rest = rest.get(1..).unwrap_or_default();
        return match name.chars().count() {
            1 => (name.into_owned(), rest),
            _ => (format!("{{{name}}}"), rest),
        };
    }
    match text.split_first() {
        Some((letter, rest)) => (char::from(*letter).to_string(), rest),
        None => (String::new(), text),
    }
}

/// Lines with the ones that continue them, joined by the line end; comments are left out.
fn logical_lines(text: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.split(|c| *c == b'\n')) {
        match line.first() {
            Some(b' ' | b'\t') if open => {
                if let Some((_, last)) = lines.last_mut() {
                    last.push(b'\n');
                    last.extend_from_slice(line);
                }
            }
            None | Some(b'#' | b' ' | b'\t') => open = false,
            Some(_) => {
                lines.push((number, line.to_vec()));
                open = true;
            }
        }
    }
    lines
}

fn trim_start(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Where an absolute path of the site stands when all of it is below `root`.
#[must_use]
pub fn below(root: Option<&Path>, path: &Path) -> PathBuf {
    match root {
        Some(root) if path.is_absolute() && !path.starts_with(root) => {
            root.join(path.strip_prefix("/").unwrap_or(path))
        }
        _ => path.into(),
    }
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(CF_MAX_OCTETS).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
#[path = "cf_tests.rs"]
mod tests;
