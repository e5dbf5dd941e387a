//! Diversions: what was written, by number, with the place of each line.

use std::collections::BTreeMap;

use crate::site::diagnostic::Place;

/// What a run wrote.
#[derive(Debug, Default)]
pub struct Output {
    diversions: BTreeMap<i64, Diversion>,
    octets: usize,
}

#[derive(Debug, Default)]
struct Diversion {
    text: Vec<u8>,
    /// Where in `text` a line starts, and where it was written.
    lines: Vec<(usize, Place)>,
}

/// A line of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigLine {
    /// The text, with its continuation lines joined by blanks.
    pub text: Vec<u8>,
    /// Where it was written.
    pub place: Place,
}

impl Output {
    /// Adds text to a diversion; the place of a line counts as octets, too.
    pub(super) fn write(&mut self, diversion: i64, text: &[u8], place: &Place) {
        self.octets += text.len();
        let diversion = self.diversions.entry(diversion).or_default();
        for part in text.split_inclusive(|b| *b == b'\n') {
            if diversion.text.is_empty() || diversion.text.ends_with(b"\n") {
                self.octets += size_of::<(usize, Place)>();
                diversion.lines.push((diversion.text.len(), place.clone()));
            }
            diversion.text.extend_from_slice(part);
        }
    }

    /// What all diversions hold, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// The text of a diversion.
    #[must_use]
    pub fn text(&self, diversion: i64) -> &[u8] {
        self.diversions.get(&diversion).map_or(&[], |d| &d.text)
    }

    /// The text of a diversion, which is empty then. It counts on: what was moved was written twice.
    pub(super) fn take(&mut self, diversion: i64) -> Vec<u8> {
        let taken = self.diversions.remove(&diversion);
        taken.map(|diversion| diversion.text).unwrap_or_default()
    }

    /// The lines of a diversion that hold something, as `sendmail.cf` has them: comments and empty lines left
    /// out, lines that start with a blank joined to the one before.
    #[must_use]
    pub fn config_lines(&self, diversion: i64) -> Vec<ConfigLine> {
        let Some(diversion) = self.diversions.get(&diversion) else {
            return Vec::new();
        };
        let mut lines: Vec<ConfigLine> = Vec::new();
        let mut joins = false;
        for (number, (start, place)) in diversion.lines.iter().enumerate() {
            let end = diversion
                .lines
                .get(number + 1)
                .map_or(diversion.text.len(), |(end, _)| *end);
            let text = diversion.text.get(*start..end).unwrap_or_default();
            let text = text.trim_ascii_end();
            match text.first() {
                None | Some(b'#') => joins = false,
                Some(b' ' | b'\t') => {
                    if let Some(last) = lines.last_mut().filter(|_| joins) {
                        last.text.push(b' ');
                        last.text.extend_from_slice(text.trim_ascii_start());
                    }
                }
                Some(_) => {
                    joins = true;
                    lines.push(ConfigLine {
                        text: text.to_vec(),
                        place: place.clone(),
                    });
                }
            }
        }
        lines
    }
}
