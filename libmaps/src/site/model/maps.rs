//! How a site names its maps.

use std::path::PathBuf;
use std::time::Duration;

use crate::map::{KeyCase, MapClass, MapName};
use crate::store::socketmap::{Address, AddressFault};

/// A map as a FEATURE or a `K` line defines it: `hash -T<TMPF> -o /etc/mail/access`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// The name of its `K` line, by which the server of a `socket` map knows it: `virtuser` for
    /// FEATURE(virtusertable). Empty where there is none.
    pub name: String,
    /// sendmail's map class: `hash`, `btree`, `dbm`, `cdb`, `text`, `regex`, `dns`, ...
    pub class: String,
    /// `-o`: the map may be missing; it is then taken as empty.
    pub optional: bool,
    /// `-T`: appended to the LHS as the answer when the map can't be read; `<TMPF>` and the like. Such a lookup is
    /// a temporary failure in either case.
    pub temporary_mark: Option<String>,
    /// `-a`: appended to each RHS found.
    pub append: Option<String>,
    /// In which letters it is asked.
    pub case: MapCase,
    /// `-m`: only whether there is an entry matters; the LHS stays.
    pub match_only: bool,
    /// `-N` always, `-O` never: whether LHS end in NUL; neither: as found.
    pub nul: NulSuffix,
    /// Every flag as written; [`MapSpec::idle_flags`] tells those that change nothing.
    pub flags: Vec<String>,
    /// The path as written, so with `.db` where the site wrote that; empty for classes without a file.
    pub path: PathBuf,
    /// What the file of that path is called.
    pub file_name: FileName,
}

/// What the file of a map is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileName {
    /// As the path, with the suffix of the class.
    #[default]
    WithSuffix,
    /// As the path, for one that is named by its path alone.
    AsWritten,
}

/// In which letters a map is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapCase {
    /// Folded, whatever the map says: so sendmail asks without `-f`.
    #[default]
    Folded,
    /// `-f`: those that the LHS has.
    AsGiven,
    /// As the map says that it was built, for one that is named by class and path alone.
    AsBuilt,
}

/// Whether the LHS of a map end in NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NulSuffix {
    /// Try both.
    #[default]
    AsFound,
    /// `-N`.
    Always,
    /// `-O`.
    Never,
}

impl MapSpec {
    /// A map of this class and path, without flags.
    #[must_use]
    pub fn new(class: &str, path: impl Into<PathBuf>) -> Self {
        MapSpec {
            name: String::new(),
            class: class.to_owned(),
            optional: false,
            temporary_mark: None,
            append: None,
            case: MapCase::Folded,
            match_only: false,
            nul: NulSuffix::AsFound,
            flags: Vec::new(),
            path: path.into(),
            file_name: FileName::WithSuffix,
        }
    }

    /// Reads `class flags path`, the argument of a FEATURE or what follows the name on a `K` line.
    ///
    /// Nothing but a class is an error; the text says what was expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut words = text.split_ascii_whitespace();
        let class = words.next().ok_or("expected a map class and a path")?;
        if class.starts_with('-') || class.contains('/') {
            return Err("expected a map class such as hash before the flags and the path");
        }
        let mut spec = MapSpec::new(class, "");
        let mut rest = Vec::new();
        for word in words {
            match word.strip_prefix('-') {
                Some(flag) if rest.is_empty() => spec.flag(flag),
                _ => rest.push(word),
            }
        }
        spec.path = rest.join(" ").into();
        Ok(spec)
    }

    fn flag(&mut self, flag: &str) {
        let mut letters = flag.chars();
        let letter = letters.next();
        let value = letters.as_str();
        match letter {
            Some('o') => self.optional = true,
            Some('T') => self.temporary_mark = Some(value.to_owned()),
            Some('a') => self.append = Some(value.to_owned()),
            Some('f') => self.case = MapCase::AsGiven,
            Some('m') => self.match_only = true,
            Some('N') => self.nul = NulSuffix::Always,
            Some('O') => self.nul = NulSuffix::Never,
            _ => {}
        }
        self.flags.push(format!("-{flag}"));
    }

    /// The class of our stores that stands for the map's class; none for classes that are no files of entries.
    ///
    /// `dbm` and `implicit` (which takes whatever it finds) are kept as `hash`.
    #[must_use]
    pub fn stored(&self) -> Option<MapClass> {
        match self.class.as_str() {
            "hash" | "dbm" | "implicit" => Some(MapClass::Hash),
            "btree" => Some(MapClass::Btree),
            "cdb" => Some(MapClass::Cdb),
            "sled" => Some(MapClass::Sled),
            "pgsql" => Some(MapClass::Pgsql),
            "redis" => Some(MapClass::Redis),
            // sendmail's own way to name an LDAP map has `-k` and no file.
            "ldap" if !self.path.as_os_str().is_empty() && !self.asks_ldap() => {
                Some(MapClass::Ldap)
            }
            _ => None,
        }
    }

    fn asks_ldap(&self) -> bool {
        self.flags.iter().any(|flag| flag.starts_with("-k"))
    }

    /// Whether hosts share it, and it is read from a replica.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(
            self.stored(),
            Some(MapClass::Pgsql | MapClass::Redis | MapClass::Ldap)
        )
    }

    /// The same under the name of its `K` line.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// The same, asked in the letters that the map was built with.
    #[must_use]
    pub fn as_built(mut self) -> Self {
        self.case = MapCase::AsBuilt;
        self
    }

    /// The same, in a file that has no suffix of a class.
    #[must_use]
    pub fn without_suffix(mut self) -> Self {
        self.file_name = FileName::AsWritten;
        self
    }

    /// In which letters the map is asked, as far as that is known without it.
    #[must_use]
    pub fn key_case(&self) -> KeyCase {
        match self.case {
            MapCase::AsGiven => KeyCase::AsGiven,
            MapCase::Folded | MapCase::AsBuilt => KeyCase::Folded,
        }
    }

    /// Whether a socketmap server answers for the map.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.class.as_str(), "socket" | "socketmap")
    }

    /// Where that server listens; `None` of other maps.
    #[must_use]
    pub fn address(&self) -> Option<Result<Address, AddressFault>> {
        let text = self.path.to_string_lossy();
        let name = Some(self.name.as_str()).filter(|name| !name.is_empty());
        self.is_remote().then(|| Address::parse(&text, name))
    }

    /// `-d`: longest wait for an answer, in seconds or with a unit (`5`, `5s`, `1m`).
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        let text = self.flags.iter().find_map(|flag| flag.strip_prefix("-d"))?;
        let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => text.split_at(at),
            None => (text, "s"),
        };
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
        Some(Duration::from_secs(u64::from(number) * seconds))
    }

    /// The flags that change nothing here, and what is lost by that.
    pub fn idle_flags(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.flags.iter().filter_map(|flag| {
            let loss = match flag.as_bytes().get(1) {
                Some(b'o' | b'T' | b'a' | b'f' | b'm' | b'N' | b'O') => return None,
                Some(b'd') if self.is_remote() => return None,
                // The class itself is refused, and that is said already.
                _ if self.stored().is_none() && !self.is_remote() => return None,
                Some(b'q') => "keys are asked for without their quotes",
                Some(b't') => "a map that can't be read is a temporary failure, not \"no entry\"",
                Some(b'D') => "the map is asked in deferred delivery too",
                Some(b'S' | b's') => "blanks in keys stay",
                Some(b'A') => "the first value of a key answers",
                _ => "it means nothing to a map of this class",
            };
            Some((flag.as_str(), loss))
        })
    }

    /// Class and path as traces show them.
    #[must_use]
    pub fn name(&self) -> Option<MapName> {
        Some(MapName::new(self.stored()?, &self.path))
    }

    /// The text that `parse` reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.class.clone();
        for flag in &self.flags {
            text.push(' ');
            text.push_str(flag);
        }
        if !self.path.as_os_str().is_empty() {
            text.push(' ');
            text.push_str(&self.path.display().to_string());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_read_and_come_back() {
        let text = "hash -T<TMPF> -o -f -k0 /etc/mail/access.db";
        let spec = MapSpec::parse(text).unwrap();
        assert!(spec.optional && !spec.match_only);
        assert_eq!(spec.case, MapCase::AsGiven);
        assert_eq!(spec.temporary_mark.as_deref(), Some("<TMPF>"));
        assert_eq!(spec.path.to_str(), Some("/etc/mail/access.db"));
        assert_eq!(spec.stored(), Some(MapClass::Hash));
        assert_eq!(spec.text(), text);
        assert_eq!(
            MapSpec::parse("regex -a@ ^a -b$").unwrap().path.to_str(),
            Some("^a -b$")
        );
        let socket = MapSpec::parse("socket -T<TMPF> -d2m unix:/run/maps").unwrap();
        assert!(socket.is_remote() && socket.stored().is_none());
        assert_eq!(socket.patience(), Some(Duration::from_secs(120)));
        for none in ["socket -d0 x", "socket -d x", "socket -dx x", "socket x"] {
            assert_eq!(MapSpec::parse(none).unwrap().patience(), None, "{none}");
        }
        let idle = MapSpec::parse("hash -o -q -kx -a. -d5 /m").unwrap();
        let idle: Vec<&str> = idle.idle_flags().map(|(flag, _)| flag).collect();
        assert_eq!(idle, ["-q", "-kx", "-d5"]);
        assert_eq!(socket.idle_flags().count(), 0);
        let stored = |text: &str| MapSpec::parse(text).unwrap().stored();
        assert_eq!(stored("pgsql /etc/mail/access"), Some(MapClass::Pgsql));
        assert_eq!(stored("ldap /etc/mail/access"), Some(MapClass::Ldap));
        assert_eq!(stored("ldap -k (uid=%0) -v mail"), None);
        for bad in ["", "-o hash", "/etc/mail/access"] {
            assert!(MapSpec::parse(bad).is_err(), "{bad}");
        }
    }
}
