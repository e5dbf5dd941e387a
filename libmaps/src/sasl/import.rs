//! Accounts as CSV: `user,realm,password`, to read and to write.
//!
//! The third field is a password, or hashes: `{ARGON2ID}...`, `{SCRAM-SHA-256}...`,
//! `{SCRAM-SHA-1}...`, `{CRAM-MD5}...`, `{DIGEST-MD5}...`, several with a blank
//! between. An empty realm is the default one, unless the user is `user@realm`.
//! A first row `user,realm,password` is a heading.

use std::collections::HashMap;
use std::fmt;

use super::db::{SaslDb, SaslDbError};
use super::key::UserId;
use super::password::{Password, SecretBytes};
use super::secret::Secrets;
use crate::map::Map;
use crate::source::csv::{Row, Rows, write_row};

/// The heading that is written and may be read.
const HEADING: [&[u8]; 3] = [b"user", b"realm", b"password"];

/// What a row gives an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A password, from which secrets are derived.
    Password(Password),
    /// Secrets that somebody else has derived.
    Secrets(Box<Secrets>),
}

/// One account to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Whose.
    pub user: UserId,
    /// Its password or hashes.
    pub given: Given,
}

/// A row that can't be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The line it begins on, from 1.
    pub line: u64,
    /// The account, where the row names one.
    pub user: Option<UserId>,
    /// What is wrong; it never shows the third field.
    pub why: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(user) = &self.user {
            write!(f, "{user}: ")?;
        }
        f.write_str(&self.why)
    }
}

/// Reads every row: the good accounts, and the errors with their lines. Of an
/// account that is named twice the first row is good and the second an error.
#[must_use]
pub fn read(text: &[u8], default_realm: &[u8]) -> (Vec<Imported>, Vec<RowError>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut lines: HashMap<UserId, u64> = HashMap::new();
    for (i, row) in Rows::new(text).enumerate() {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                bad.push(RowError {
                    line: error.line,
                    user: None,
                    why: error.why.to_owned(),
                });
                continue;
            }
        };
        if i == 0 && is_heading(&row) {
            continue;
        }
        let line = row.line;
        match read_row(row, default_realm) {
            Ok(imported) => match lines.get(&imported.user) {
                Some(first) => bad.push(RowError {
                    line,
                    why: format!("given on line {first} already"),
                    user: Some(imported.user),
                }),
                None => {
                    lines.insert(imported.user.clone(), line);
                    good.push(imported);
                }
            },
            Err(error) => bad.push(error),
        }
    }
    (good, bad)
}

fn is_heading(row: &Row) -> bool {
    row.fields.len() == HEADING.len()
        && row
            .fields
            .iter()
            .zip(HEADING)
            .all(|(f, h)| f.eq_ignore_ascii_case(h))
}

fn read_row(row: Row, default_realm: &[u8]) -> Result<Imported, RowError> {
    let line = row.line;
    let wrong = |user: Option<UserId>, why: String| RowError { line, user, why };
    let fields = row.fields.len();
    let Ok([name, realm, password]) = <[Vec<u8>; 3]>::try_from(row.fields) else {
        return Err(wrong(
            None,
            format!(
                "expected user,realm,password, found {fields} fields \
                 (a field that holds commas must be in quotes)"
            ),
        ));
    };
    let password = SecretBytes::new(password);
    if name.is_empty() {
        return Err(wrong(None, "the user is empty".to_owned()));
    }
    let user = match realm.is_empty() {
        true => UserId::resolve(&name, default_realm),
        false if name.contains(&b'@') => {
            return Err(wrong(
                None,
                "the user holds an @ and a realm is given too".to_owned(),
            ));
        }
        false => UserId::new(&name, &realm),
    };
    let user = user.map_err(|e| wrong(None, e.to_string()))?;
    let given = if Secrets::is_text(password.expose()) {
        let secrets = Secrets::parse(password.expose());
        let secrets = secrets.map_err(|e| wrong(Some(user.clone()), e.to_string()))?;
        Given::Secrets(Box::new(secrets))
    } else {
        let password = Password::new(password.expose().to_vec());
        Given::Password(password.map_err(|e| wrong(Some(user.clone()), e.to_string()))?)
    };
    Ok(Imported { user, given })
}

/// Writes every account, the heading first: its hashes, or its password where
/// the store has nothing else. Says which accounts can't be written: those
/// whose only secrets are libsasl's old ones.
///
/// # Errors
/// The store can't be read.
pub fn write<M: Map>(
    db: &SaslDb<M>,
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Vec<UserId>, ExportError> {
    let mut left_out = Vec::new();
    let mut users: Vec<UserId> = Vec::new();
    for record in db.records() {
        users.push(record.map_err(ExportError::Read)?.user);
    }
    users.sort();
    users.dedup();
    out(&write_row(&HEADING)).map_err(ExportError::Write)?;
    for user in users {
        let Some(secrets) = db.secrets(&user).map_err(ExportError::Read)? else {
            left_out.push(user);
            continue;
        };
        let hashes = secrets.to_text();
        let third = match &secrets.clear {
            Some(password) if hashes.expose().is_empty() => password.expose(),
            _ => hashes.expose(),
        };
        if third.is_empty() {
            left_out.push(user);
            continue;
        }
        let row = SecretBytes::new(write_row(&[user.authid(), user.realm(), third]));
        out(row.expose()).map_err(ExportError::Write)?;
    }
    Ok(left_out)
}

/// Why accounts could not be written as CSV.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store can't be read.
    #[error(transparent)]
    Read(SaslDbError),
    /// The file can't be written.
    #[error(transparent)]
    Write(std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::sasl::key::{HASHED_PASSWORD, USER_PASSWORD};
    use crate::store::MemoryMap;

    #[test]
    fn good_and_bad_rows() {
        let text = "User,Realm,Password\n\
            alice,example.org,secret\n\
            bob@example.net,,\"a,b\"\n\
            carol,,x\n\
            dave,r,{CRAM-MD5}00\n\
            erin,r\n\
            alice,example.org,other\n\
            ,r,x\n\
            frank,r,\n\
            g@h,r,x\n\
            ivan,r,{PLAIN}x\n";
        let (good, bad) = read(text.as_bytes(), b"host");
        let names: Vec<_> = good.iter().map(|g| g.user.to_string()).collect();
        assert_eq!(
            names,
            [
                "alice@example.org",
                "bob@example.net",
                "carol@host",
                "ivan@r"
            ]
        );
        let told: Vec<_> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 5: dave@r: expected 64 hexadecimal digits",
                "line 6: expected user,realm,password, found 2 fields \
                 (a field that holds commas must be in quotes)",
                "line 7: alice@example.org: given on line 2 already",
                "line 8: the user is empty",
                "line 9: frank@r: the password is empty",
                "line 10: the user holds an @ and a realm is given too",
            ]
        );
    }

    #[test]
    fn what_is_exported_is_imported() {
        let user = |name: &[u8]| UserId::new(name, b"r").unwrap();
        let hashes = format!("{{CRAM-MD5}}{}", "0f".repeat(32));
        let db = SaslDb::new(MemoryMap::new(
            "s",
            [
                Entry::new(user(b"a,b").lhs(HASHED_PASSWORD), hashes.as_str()),
                Entry::new(user(b"a,b").lhs(USER_PASSWORD), "kept"),
                Entry::new(user(b"c").lhs(USER_PASSWORD), "cle\"ar"),
                Entry::new(user(b"d").lhs(b"cmusaslsecretOTP"), "x"),
            ],
        ));
        let mut text = Vec::new();
        let left_out = write(&db, &mut |row| {
            text.extend_from_slice(row);
            Ok(())
        })
        .unwrap();
        assert_eq!(left_out, [user(b"d")]);
        let (good, bad) = read(&text, b"");
        assert_eq!(bad, []);
        assert_eq!(good[0].user, user(b"a,b"));
        assert_eq!(
            good[0].given,
            Given::Secrets(Box::new(Secrets::parse(hashes.as_bytes()).unwrap()))
        );
        assert_eq!(
            good[1].given,
            Given::Password(Password::new(b"cle\"ar".to_vec()).unwrap())
        );
    }
}
