//! Classes: `LOCAL_DOMAIN` and its kin, `C` and `F` lines, and the files they name.

use std::path::Path;

use super::cftext::LocalNames;
use super::ldap::{Presence, ldap_arguments};
use super::{Call, Place, Reader, Severity, lossy};
use crate::site::class_file::Format;
use crate::site::load::read_file;

/// A line that adds to a class.
pub(super) struct Statement {
    /// The class: `w`, `VirtHost`.
    pub(super) class: String,
    pub(super) what: What,
    pub(super) place: Place,
    /// `$w` and `$m` at the line.
    local: LocalNames,
}

pub(super) enum What {
    /// Words separated by blanks.
    Words(String),
    /// A file, as an `F` line has it: `-o /etc/mail/relay-domains %[^\#]`.
    File(String),
}

impl Reader {
    /// `EXPOSED_USER(...)` and its like.
    pub(super) fn class_macro(&mut self, name: &str, call: &Call) {
        let (stem, is_file) = match name.strip_suffix("_FILE") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let class = match stem {
            "MASQUERADE_DOMAIN" => "M",
            "MASQUERADE_EXCEPTION" => "N",
            "EXPOSED_USER" => "E",
            "GENERICS_DOMAIN" => "G",
            "VIRTUSER_DOMAIN" => "VirtHost",
            "RELAY_DOMAIN" => "R",
            "LOCAL_DOMAIN" => "w",
            "LOCAL_USER" => "L",
            "CANONIFY_DOMAIN" => "Canonify",
            "TRUST_AUTH_MECH" => "TrustAuthMech",
            _ => return,
        };
        self.note_place(name, &call.place);
        let text = lossy(call.argument(0));
        let what = if is_file {
            What::File(text)
        } else {
            What::Words(text)
        };
        self.add_class(class, what, &call.place);
    }

    pub(super) fn add_class(&mut self, class: &str, what: What, place: &Place) {
        self.classes.push(Statement {
            class: class.to_owned(),
            what,
            place: place.clone(),
            local: self.local.clone(),
        });
    }

    /// Fills the classes, once the names that their words may refer to are known.
    pub(super) fn fill_classes(&mut self) {
        let last = self.local.clone();
        for statement in std::mem::take(&mut self.classes) {
            self.local = statement.local;
            // Where the machine has no name they are those of confDOMAIN_NAME.
            for (name, last) in [
                (&mut self.local.host, &last.host),
                (&mut self.local.domain, &last.domain),
            ] {
                if name.is_empty() {
                    name.clone_from(last);
                }
            }
            match &statement.what {
                What::Words(text) => self.class_words(&statement.class, text, &statement.place),
                What::File(text) => self.class_file(&statement.class, text, &statement.place),
            }
        }
        self.local = last;
    }

    fn class_words(&mut self, class: &str, text: &str, place: &Place) {
        for word in text.split_ascii_whitespace() {
            if let Some(other) = word.strip_prefix("$=") {
                let other = other.trim_matches(['{', '}']);
                self.site.shared_classes.copy(other, class);
                let words: Vec<Vec<u8>> = self
                    .site
                    .classes
                    .named_mut(other)
                    .map(|class| class.iter().map(<[u8]>::to_vec).collect())
                    .unwrap_or_default();
                words
                    .iter()
                    .for_each(|word| self.insert(class, word, place));
                continue;
            }
            let word = self.cf_text(word);
            if !word.is_empty() {
                self.insert(class, word.as_bytes(), place);
            }
        }
    }

    fn insert(&mut self, class: &str, word: &[u8], place: &Place) {
        match self.site.classes.named_mut(class) {
            Some(class) => class.insert(word),
            None => self.unknown_class(class, place),
        }
    }

    /// Tells of a class that nobody asks, once.
    pub(super) fn unknown_class(&mut self, class: &str, place: &Place) {
        let text = format!("class {class} is ignored: no rule asks it");
        let said = format!("class {class}");
        if !self.site.places.contains_key(&said) {
            self.m4.report_at(place, Severity::Warning, text);
        }
        self.note_place(&said, place);
    }

    /// Reads the file of an `F` line: each line gives the words that its format (by default the first word) matches;
    /// lines that start with `#` give none.
    fn class_file(&mut self, class: &str, text: &str, place: &Place) {
        let mut words = text.split_ascii_whitespace().peekable();
        let optional = words.next_if(|word| *word == "-o").is_some();
        let unread = text.trim_start();
        let unread = unread.strip_prefix("-o").unwrap_or(unread).trim_start();
        if let Some((key, map)) = unread
            .split_once('@')
            .filter(|_| !unread.starts_with(['/', '|']))
            && let Some(arguments) = ldap_arguments(map)
        {
            let presence = match optional {
                true => Presence::Optional,
                false => Presence::Needed,
            };
            self.ldap_class(class, key, arguments, presence, place);
            return;
        }
        let Some(path) = words.next() else {
            self.m4.report_at(
                place,
                Severity::Error,
                format!("class {class}: expected a file"),
            );
            return;
        };
        let format = Format::parse(words.next());
        if !path.starts_with('/') {
            let text = format!(
                "class {class}: {path} is not read: only files and LDAP are, no programs and no other maps; its words are missing"
            );
            self.m4.report_at(place, Severity::Error, text);
            return;
        }
        let full = self.site.below(Path::new(path));
        match read_file(&full) {
            Ok(text) => {
                for word in format.words(&text) {
                    self.insert(class, word, place);
                }
            }
            Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!("class {class}: {}: {error}", full.display());
                self.m4.report_at(place, Severity::Error, text);
            }
        }
    }
}
