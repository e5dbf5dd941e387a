//! Names of files and words of commands, which are octets and not text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::queue::Octets;

/// A name of a file, or a word of a command. In JSON each octet is a character, as in the
/// records of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(OsString);

impl Name {
    pub(crate) fn of(name: impl Into<OsString>) -> Self {
        Name(name.into())
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    pub(super) fn word(&self) -> &OsStr {
        &self.0
    }

    pub(super) fn into_word(self) -> OsString {
        self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Octets::from(self.0.as_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Octets(name) = Octets::deserialize(deserializer)?;
        Ok(Name(OsString::from_vec(name)))
    }
}
