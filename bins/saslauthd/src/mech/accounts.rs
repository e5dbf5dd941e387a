//! Accounts: passwd(5) and shadow(5), from the system or below `--root`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::ffi;

/// What shadow(5) says of a login. Days count from 1970-01-01; `None` is an empty field.
#[derive(Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The hash, or what stands in its place.
    pub hash: Zeroizing<Vec<u8>>,
    /// The day of the last change.
    pub last_change: Option<i64>,
    /// Days for which a password serves.
    pub max_days: Option<i64>,
    /// The day after which the account doesn't serve.
    pub expires: Option<i64>,
}

impl std::fmt::Debug for Shadow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shadow")
            .field("hash", &"<secret>")
            .field("last_change", &self.last_change)
            .field("max_days", &self.max_days)
            .field("expires", &self.expires)
            .finish()
    }
}

/// Where accounts are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// The system's name service.
    System,
    /// The files `etc/passwd` and `etc/shadow` below a folder.
    Root(PathBuf),
}

/// Longest passwd or shadow file that is read, in octets.
const FILE_LIMIT_OCTETS: u64 = 64 << 20;

impl Accounts {
    /// The hash in the passwd entry of a login.
    ///
    /// # Errors
    /// The name service or the file can't be read: nobody can tell.
    pub fn passwd(&self, login: &[u8]) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        match self {
            Accounts::System => ffi::accounts::passwd(login),
            Accounts::Root(root) => {
                let text = read_file(&root.join("etc/passwd"))?;
                Ok(find(&text, login, passwd_entry))
            }
        }
    }

    /// The shadow entry of a login.
    ///
    /// # Errors
    /// The name service or the file can't be read: nobody can tell.
    pub fn shadow(&self, login: &[u8]) -> io::Result<Option<Shadow>> {
        match self {
            Accounts::System => ffi::accounts::shadow(login),
            Accounts::Root(root) => {
                let text = read_file(&root.join("etc/shadow"))?;
                Ok(find(&text, login, shadow_entry))
            }
        }
    }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = fs::File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut text = Zeroizing::new(Vec::with_capacity(size.min(FILE_LIMIT_OCTETS as usize)));
    file.take(FILE_LIMIT_OCTETS).read_to_end(&mut text)?;
    Ok(text)
}

/// The first entry of this login that is well formed, as the C library reads these files.
fn find<T>(text: &[u8], login: &[u8], entry: fn(&[&[u8]]) -> Option<T>) -> Option<T> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.splitn(10, |b| *b == b':').collect();
        if fields.first() != Some(&login) || login.starts_with(b"+") || login.starts_with(b"-") {
            return None;
        }
        entry(&fields)
    })
}

fn passwd_entry(fields: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
    let [_, hash, uid, gid, ..] = fields else {
        return None;
    };
    number(uid)?.and(number(gid)?)?;
    Some(Zeroizing::new(hash.to_vec()))
}

fn shadow_entry(fields: &[&[u8]]) -> Option<Shadow> {
    let [_, hash, last_change, _, max_days, _, _, expires, ..] = fields else {
        return None;
    };
    Some(Shadow {
        hash: Zeroizing::new(hash.to_vec()),
        last_change: number(last_change)?,
        max_days: number(max_days)?,
        expires: number(expires)?,
    })
}

/// `None`: not a number; `Some(None)`: empty.
fn number(field: &[u8]) -> Option<Option<i64>> {
    if field.is_empty() {
        return Some(None);
    }
    if !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\ndave:$6$h:7:7::/:/bin/false\nbad:x:y:7::/:\n+nis::::::\n",
        )
        .unwrap();
        fs::write(
            root.path().join("etc/shadow"),
            "dave:$6$s:19000:0:99999:7:::\nneg:h:19000:0:-1:7:::\nold:h:1::2:::3:\nshort:h\n",
        )
        .unwrap();
        let accounts = Accounts::Root(root.path().to_owned());
        let hash = |l: &str| accounts.passwd(l.as_bytes()).unwrap();
        assert_eq!(hash("dave").unwrap().as_slice(), b"$6$h");
        for absent in ["bad", "+nis", "", "dave ", "mallory"] {
            assert_eq!(hash(absent), None, "{absent:?}");
        }
        let days = |l: &str| {
            let found = accounts.shadow(l.as_bytes()).unwrap();
            found.map(|s| (s.last_change, s.max_days, s.expires))
        };
        assert_eq!(days("dave"), Some((Some(19_000), Some(99_999), None)));
        assert_eq!(days("old"), Some((Some(1), Some(2), Some(3))));
        for absent in ["neg", "short", "nobody"] {
            assert_eq!(days(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn a_missing_file_is_broken_not_absent() {
        let accounts = Accounts::Root("/nonexistent".into());
        assert!(accounts.passwd(b"dave").is_err());
        assert!(accounts.shadow(b"dave").is_err());
    }
}
