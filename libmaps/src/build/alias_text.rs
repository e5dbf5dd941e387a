//! An alias file as it stands, to a map in memory.
//!
//! What newaliases would publish is answered: of several entries of one name the last, and none of
//! a line that is wrong. So that a text costs bounded time and memory wherever it is read, it may
//! have 16 MiB and 100,000 aliases; a larger one is for newaliases.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::map::{Entry, StoreError};
use crate::source::aliases::{Aliases, Grammar};
use crate::store::memory::MemoryMap;

const MAX_OCTETS: u64 = 16 << 20;
const MAX_ALIASES: usize = 100_000;

/// Reads the text; `path` names the map, and stands in errors.
///
/// # Errors
/// [`StoreError::TooLarge`], and those of read(2).
pub fn read(text: File, path: &Path, grammar: &Grammar) -> Result<MemoryMap, StoreError> {
    let too_large = |limit: String| StoreError::TooLarge {
        path: path.into(),
        why: format!("{limit}, too much to be read as a text: run newaliases"),
    };
    let mut input = text.take(MAX_OCTETS + 1);
    let mut parser = Aliases::new(&mut input, grammar);
    let mut entries = BTreeMap::new();
    while let Some(parsed) = parser
        .next()
        .map_err(|error| StoreError::io(path, "read", error))?
    {
        let Some(alias) = parsed.alias else { continue };
        if entries.len() >= MAX_ALIASES {
            return Err(too_large(format!("more than {MAX_ALIASES} aliases")));
        }
        entries.insert(alias.lhs.to_vec(), alias.rhs.to_vec());
    }
    drop(parser);
    if input.limit() == 0 {
        return Err(too_large(format!("more than {} MiB", MAX_OCTETS >> 20)));
    }
    let entries = entries.into_iter().map(|(lhs, rhs)| Entry::new(lhs, rhs));
    Ok(MemoryMap::new(&path.to_string_lossy(), entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Map;
    use std::io::{Seek, Write};

    fn read_text(text: &[u8]) -> Result<MemoryMap, StoreError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        read(file, Path::new("/etc/mail/aliases"), &Grammar::default())
    }

    #[test]
    fn what_newaliases_would_publish_is_answered() {
        let map = read_text(b"# c\nList: joe,\n ann\nbad line\nx: 1\nX: 2\n").unwrap();
        let get = |lhs: &str| map.get(lhs.as_bytes()).unwrap().map(|rhs| rhs.to_string());
        assert_eq!(get("list").as_deref(), Some("joe, ann"));
        assert_eq!(get("x").as_deref(), Some("2"));
        assert_eq!(map.iter().count(), 2);
    }

    #[test]
    fn a_text_without_end_is_an_error() {
        let many: String = (0..=MAX_ALIASES).map(|n| format!("a{n}: b\n")).collect();
        let long = [b"a: b\n#", " ".repeat(17 << 20).as_bytes(), b"\nc: d\n"].concat();
        for (text, limit) in [(many.as_bytes(), "100000 aliases"), (&long, "16 MiB")] {
            let error = read_text(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "/etc/mail/aliases: more than {limit}, too much to be read as a text: run newaliases"
                )
            );
        }
        let whole = many.lines().skip(1).collect::<Vec<_>>().join("\n");
        assert_eq!(
            read_text(whole.as_bytes()).unwrap().iter().count(),
            MAX_ALIASES
        );
    }
}
