//! Accounts as CSV: `user,realm,password`, to read and to write.
//!
//! The third field is a password, or hashes: `{ARGON2ID}...`, `{SCRAM-SHA-256}...`,
//! `{SCRAM-SHA-1}...`, `{CRAM-MD5}...`, `{DIGEST-MD5}...`, several with a blank
//! between. `{PLAIN}` may stand before a password, and must where it would look
//! like a hash: one of a scheme that is not known is an error, for taken as a
//! password it would open the account to whoever has the hash. An empty realm is the default one, unless the user is `user@realm`.
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
    let given = match Third::of(password.expose()) {
        Third::Hashes(text) => Secrets::parse(text)
            .map(|secrets| Given::Secrets(Box::new(secrets)))
            .map_err(|e| e.to_string()),
        Third::Password(text) => Password::new(text.to_vec())
            .map(Given::Password)
            .map_err(|e| e.to_string()),
        Third::Foreign => Err("a hash of a scheme that can't be imported \
             (before a password that looks like one write {PLAIN})"
            .to_owned()),
    };
    match given {
        Ok(given) => Ok(Imported { user, given }),
        Err(why) => Err(wrong(Some(user), why)),
    }
}

/// What a third field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Third<'a> {
    /// Words `{SCHEME}text` that begin with a scheme that is known.
    Hashes(&'a [u8]),
    /// A password, without the `{PLAIN}` before it.
    Password(&'a [u8]),
    /// A hash of another scheme, by its look.
    Foreign,
}

impl<'a> Third<'a> {
    fn of(text: &'a [u8]) -> Self {
        if Secrets::is_text(text) {
            return Third::Hashes(text);
        }
        match scheme(text) {
            Some((word, rest)) if PLAIN.iter().any(|p| word.eq_ignore_ascii_case(p)) => {
                Third::Password(rest)
            }
            Some(_) => Third::Foreign,
            None if is_modular_crypt(text) => Third::Foreign,
            None => Third::Password(text),
        }
    }
}

/// The schemes of a password in clear text, as Dovecot calls them; we write the first.
const PLAIN: [&[u8]; 3] = [b"PLAIN", b"CLEAR", b"CLEARTEXT"];

/// Takes `{SCHEME}text` apart, the form of RFC 2307 section 5.3.
fn scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"{")?;
    let end = text.iter().position(|c| *c == b'}')?;
    let word = text.get(..end).filter(|word| is_word(word))?;
    Some((word, text.get(end + 1..)?))
}

/// Whether text is `$id$...$...`, as crypt(5) writes its hashes.
fn is_modular_crypt(text: &[u8]) -> bool {
    let mut parts = text.split(|c| *c == b'$');
    parts.next() == Some(b"") && parts.next().is_some_and(is_word) && parts.count() >= 2
}

fn is_word(text: &[u8]) -> bool {
    let of_word = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    !text.is_empty() && text.iter().all(of_word)
}

/// An account, or a record, that an export leaves out.
#[derive(Debug)]
pub enum LeftOut {
    /// Its only secrets are libsasl's old ones, which no row can hold.
    NoSecret(UserId),
    /// It can't be read.
    Unreadable(SaslDbError),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftOut::NoSecret(user) => write!(f, "{user}: no secret that can be exported"),
            LeftOut::Unreadable(error) => error.fmt(f),
        }
    }
}

/// Writes every account, the heading first: its password where the store has it in clear text,
/// else its hashes. Says what is left out.
///
/// # Errors
/// The store can't be read, or the rows not be written.
pub fn write<M: Map>(
    db: &SaslDb<M>,
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Vec<LeftOut>, ExportError> {
    let mut left_out = Vec::new();
    let mut users: Vec<UserId> = Vec::new();
    for record in db.records() {
        match record {
            Ok(record) => users.push(record.user),
            Err(error) => left_out.push(unreadable(error)?),
        }
    }
    users.sort();
    users.dedup();
    out(&write_row(&HEADING)).map_err(ExportError::Write)?;
    for user in users {
        let third = match third(db, &user) {
            Ok(Some(third)) => third,
            Ok(None) => {
                left_out.push(LeftOut::NoSecret(user));
                continue;
            }
            Err(error) => {
                left_out.push(unreadable(error)?);
                continue;
            }
        };
        let row = write_row(&[user.authid(), user.realm(), third.expose()]);
        let row = SecretBytes::new(row);
        out(row.expose()).map_err(ExportError::Write)?;
    }
    Ok(left_out)
}

/// One record that is bad is no reason to keep the others back; a store that can't be read is.
fn unreadable(error: SaslDbError) -> Result<LeftOut, ExportError> {
    match error {
        SaslDbError::BadRecord { .. } => Ok(LeftOut::Unreadable(error)),
        error => Err(ExportError::Read(error)),
    }
}

/// The third field of an account's row, if there is one.
fn third<M: Map>(db: &SaslDb<M>, user: &UserId) -> Result<Option<SecretBytes>, SaslDbError> {
    if let Some(password) = db.clear(user)? {
        return Ok(Some(third_of(&password)));
    }
    let secrets = db.secrets(user)?;
    let hashes = secrets.map(|secrets| secrets.to_text());
    Ok(hashes.filter(|hashes| !hashes.expose().is_empty()))
}

/// A password as it is read back.
fn third_of(password: &Password) -> SecretBytes {
    let text = password.expose();
    SecretBytes::new(match Third::of(text) == Third::Password(text) {
        true => text.to_vec(),
        false => [b"{PLAIN}", text].concat(),
    })
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
#[path = "import_tests.rs"]
mod tests;
