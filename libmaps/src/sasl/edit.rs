//! sasldb2, written: passwords set and accounts removed in a draft that is published whole.
//!
//! A publish writes every record anew, so that no page of the file holds what
//! was removed. The first write to a store of Cyrus SASL turns its clear-text
//! passwords into hashes; the publisher keeps a Berkeley DB file beside the new one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::db::{PASSWORD_PROPERTIES, SaslDb, SaslDbError};
use super::key::{AUTH_PASSWORD, HASHED_PASSWORD, USER_PASSWORD, UserId};
use super::password::Password;
use super::secret::{Recipe, Salts, Secrets};
use crate::lhs::Lhs;
use crate::map::{Entry, Map, MapClass, StoreError};
use crate::rhs::Rhs;
use crate::store::path::Safety;
use crate::store::publish::{Before, EditBy, OnDuplicate, Options, Published, Publisher};
use crate::store::shared::Origin;

/// The mode of a new sasldb2, before the umask: its group may use it.
pub const NEW_MODE: u32 = 0o660;

/// The options that a store of ours says it was built with.
pub const DESCRIBED: &str = "sasldb2";

/// What is kept of a password beside its hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Hashes,
    /// The password too, as `userPassword` (`saslpasswd2 --plaintext`).
    ClearText,
}

/// Whether `authPassword` is written (`scram_secret_generate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthPassword {
    /// No.
    Omit,
    /// Yes, beside the hashes.
    Also,
    /// Yes, and nothing else (`saslpasswd2 -n`).
    Only,
}

/// An account with the secrets it is to have.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Whose.
    pub user: UserId,
    /// Derived from the password, or imported.
    pub secrets: Secrets,
}

/// Changes to a sasldb2 that are not live yet.
#[must_use = "dropped without publish(), nothing has changed"]
#[derive(Debug)]
pub struct SaslDbEdit {
    publisher: Publisher,
    made_by: MadeBy,
}

/// Who made the old store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeBy {
    /// This module: its clear text was asked for.
    Us,
    /// Cyrus SASL, or a conversion of its file: its clear text is to be hashed.
    Others,
}

impl SaslDbEdit {
    /// Begins an edit of the store at `path`; a missing or empty file becomes a new store.
    ///
    /// # Errors
    /// The file can't be read or written, or is of a kind that is not known.
    pub fn begin(path: &Path, program: &str) -> Result<Self, StoreError> {
        SaslDbEdit::begin_as(path, program, None)
    }

    /// As [`SaslDbEdit::begin`]; of a shared map's replica, what it is to say of itself and who
    /// is to see it before it is published.
    ///
    /// # Errors
    /// As [`SaslDbEdit::begin`].
    pub fn begin_as(
        path: &Path,
        program: &str,
        shared: Option<(Origin, Before)>,
    ) -> Result<Self, StoreError> {
        let (origin, before) = shared.unzip();
        let options = Options {
            origin,
            before,
            on_duplicate: OnDuplicate::Replace,
            safety: Safety::SystemRules,
            mode: NEW_MODE,
            described: DESCRIBED.into(),
            edit: EditBy::Rewriting,
            ..Options::new(MapClass::Hash, program)
        };
        let mut publisher = Publisher::edit(path, options)?;
        let made_by = match publisher.base_described() {
            Some(DESCRIBED) => MadeBy::Us,
            _ => MadeBy::Others,
        };
        // A store that forgot what it is would not be kept from being shared as any other map.
        publisher.describe(DESCRIBED);
        Ok(SaslDbEdit { publisher, made_by })
    }

    /// Lines for the administrator about the old store, as [`Publisher::file_warnings`] has them.
    #[must_use]
    pub fn file_warnings(&self) -> &[String] {
        self.publisher.file_warnings()
    }

    /// Gives an account these secrets in the place of all it had.
    ///
    /// # Errors
    /// The old store can't be read.
    pub fn set(&mut self, account: &NewAccount, auth: AuthPassword) -> Result<(), StoreError> {
        let NewAccount { user, secrets } = account;
        self.remove(user)?;
        if let Some(clear) = &secrets.clear
            && auth != AuthPassword::Only
        {
            self.put(user, USER_PASSWORD, clear.expose())?;
        }
        if auth != AuthPassword::Only {
            self.put(user, HASHED_PASSWORD, secrets.to_record().expose())?;
        }
        if auth != AuthPassword::Omit
            && let Some(scram) = secrets.to_auth_password()
        {
            self.put(user, AUTH_PASSWORD, scram.expose())?;
        }
        Ok(())
    }

    fn put(&mut self, user: &UserId, property: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let entry = Entry {
            lhs: user.lhs(property),
            rhs: Rhs::from(value),
        };
        self.publisher.put(entry).map(drop)
    }

    /// Removes what an account's password gave it; says whether there was anything.
    ///
    /// # Errors
    /// The old store can't be read.
    pub fn remove(&mut self, user: &UserId) -> Result<bool, StoreError> {
        let mut there = false;
        for property in PASSWORD_PROPERTIES {
            there |= self.publisher.remove(user.lhs(property).as_bytes())?;
        }
        Ok(there)
    }

    /// Whether an account has a password in the old store.
    ///
    /// # Errors
    /// The old store can't be read.
    pub fn has(&self, user: &UserId) -> Result<bool, SaslDbError> {
        match self.publisher.base() {
            Some(base) => Ok(SaslDb::new(base).secrets(user)?.is_some()),
            None => Ok(false),
        }
    }

    /// The clear-text accounts of a store of Cyrus SASL, which the first write turns
    /// into hashed ones; none of a store of ours, where clear text was asked for.
    ///
    /// # Errors
    /// The old store can't be read.
    pub fn clear_text_accounts(&self) -> Result<Vec<(UserId, Password)>, SaslDbError> {
        let foreign = self.made_by == MadeBy::Others;
        match self.publisher.base().filter(|_| foreign) {
            Some(base) => clear_text_accounts(base),
            None => Ok(Vec::new()),
        }
    }

    /// Puts a hashed account in the place of a clear-text one; its other properties stay.
    ///
    /// # Errors
    /// The old store can't be read.
    pub fn convert(&mut self, account: &NewAccount) -> Result<(), StoreError> {
        let clear: Lhs = account.user.lhs(USER_PASSWORD);
        self.publisher.remove(clear.as_bytes())?;
        if let Some(password) = &account.secrets.clear {
            self.put(&account.user, USER_PASSWORD, password.expose())?;
        }
        self.put(
            &account.user,
            HASHED_PASSWORD,
            account.secrets.to_record().expose(),
        )
    }

    /// Makes the changes live.
    ///
    /// # Errors
    /// Any of them leaves the old store as it was.
    pub fn publish(self) -> Result<Published, StoreError> {
        self.publisher.publish()
    }
}

/// The accounts that have a password in clear text, and no hash of it.
fn clear_text_accounts(base: &dyn Map) -> Result<Vec<(UserId, Password)>, SaslDbError> {
    let mut found = Vec::new();
    for record in SaslDb::new(base).records() {
        let record = match record {
            Ok(record) => record,
            // Such records are none of ours; they are carried over as they are.
            Err(SaslDbError::BadRecord { .. }) => continue,
            Err(error) => return Err(error),
        };
        if record.property == USER_PASSWORD
            && base
                .get(record.user.lhs(HASHED_PASSWORD).as_bytes())?
                .is_none()
            && let Ok(password) = Password::new(record.value.expose().to_vec())
        {
            found.push((record.user, password));
        }
    }
    Ok(found)
}

/// What is to stand in the place of each record of a clear-text password: the LHS of that
/// record, and the record of its hashes.
///
/// # Errors
/// The store can't be read, or a hash not made.
pub fn hashed_records(
    map: &dyn Map,
    recipe: &Recipe,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<BTreeMap<Lhs, Entry>, SaslDbError> {
    let clear = clear_text_accounts(map)?;
    let hashed = derive_all(&clear, recipe, Keep::Hashes, progress)?;
    let records = hashed.into_iter().map(|NewAccount { user, secrets }| {
        let record = Entry {
            lhs: user.lhs(HASHED_PASSWORD),
            rhs: Rhs::from(secrets.to_record().expose()),
        };
        (user.lhs(USER_PASSWORD), record)
    });
    Ok(records.collect())
}

/// Derives the secrets of many accounts on all cores, in the order given;
/// `progress` is told how many are done, from any thread.
///
/// # Errors
/// No random numbers, or no memory for a hash.
pub fn derive_all(
    accounts: &[(UserId, Password)],
    recipe: &Recipe,
    keep: Keep,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<NewAccount>, SaslDbError> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, NewAccount)>, SaslDbError> {
        let mut mine = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((user, password)) = accounts.get(at) else {
                return Ok(mine);
            };
            let mut secrets = Secrets::derive(user, password, recipe, &Salts::random()?)?;
            if keep == Keep::ClearText {
                secrets.clear = Some(password.clone());
            }
            let user = user.clone();
            mine.push((at, NewAccount { user, secrets }));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores.min(accounts.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut all = work()?;
        for thread in threads {
            match thread.join() {
                Ok(part) => all.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, SaslDbError>(all)
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, account)| account).collect())
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
