//! sasldb2, read: the secrets of one account, and every record.
//!
//! An account of ours has its secrets in one record, `hashedPassword`. A store
//! of Cyrus SASL is read as it is: `userPassword` in clear text, `authPassword`
//! for SCRAM, and the `cmusaslsecret...` properties of old.

use std::path::Path;
use std::sync::OnceLock;

use zeroize::Zeroizing;

use super::hash::ScramHash;
use super::key::{AUTH_PASSWORD, HASHED_PASSWORD, USER_PASSWORD, UserId};
use super::mechanism::{Accounts, AccountsError, PasswordChecker, Service};
use super::password::{Password, SecretBytes};
use super::secret::{
    CramMd5, DigestMd5, OldPlain, Paid, ScramSecret, SecretTextError, Secrets, Toll,
};
use crate::map::{Map, StoreError};
use crate::store;

/// libsasl's half-done HMAC-MD5 of old.
const OLD_CRAM_MD5: &[u8] = b"cmusaslsecretCRAM-MD5";
/// libsasl's MD5(user:realm:password) of old.
const OLD_DIGEST_MD5: &[u8] = b"cmusaslsecretDIGEST-MD5";
/// libsasl's salted MD5 of old.
const OLD_PLAIN: &[u8] = b"cmusaslsecretPLAIN";

/// Most records that a survey looks at.
const SURVEYED: usize = 1_000;

/// The properties that a new password replaces.
pub(crate) const PASSWORD_PROPERTIES: [&[u8]; 6] = [
    HASHED_PASSWORD,
    USER_PASSWORD,
    AUTH_PASSWORD,
    OLD_CRAM_MD5,
    OLD_DIGEST_MD5,
    OLD_PLAIN,
];

/// Why an account can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaslDbError {
    /// The map itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that is none of sasldb's, or whose value is no secret of its kind.
    #[error("{map}: {record}: {why}")]
    BadRecord {
        /// The map.
        map: String,
        /// Its LHS, unprintable octets escaped; never its RHS.
        record: String,
        /// What was expected.
        why: &'static str,
    },
    /// A hash could not be computed.
    #[error(transparent)]
    Secret(#[from] SecretTextError),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub user: UserId,
    /// Which property.
    pub property: Vec<u8>,
    /// Its value.
    pub value: SecretBytes,
}

/// A map of accounts.
#[derive(Debug)]
pub struct SaslDb<M> {
    map: M,
    /// SCRAM iterations of the first accounts that have keys, once somebody has asked.
    iterations: OnceLock<Vec<Iterations>>,
}

/// Of one account.
#[derive(Clone, Copy, Debug)]
struct Iterations {
    sha1: Option<u32>,
    sha256: Option<u32>,
}

/// So many records are looked at for the iterations of accounts.
const SAMPLED_RECORDS: usize = 1000;

impl SaslDb<Box<dyn Map>> {
    /// Opens the store at `path`, of any format that can be read.
    ///
    /// # Errors
    /// As [`store::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(SaslDb::new(store::open(path)?))
    }
}

impl<M: Map> SaslDb<M> {
    /// The accounts of a map.
    pub fn new(map: M) -> Self {
        SaslDb {
            map,
            iterations: OnceLock::new(),
        }
    }

    /// The secrets of an account; `Ok(None)`: there is no such account.
    ///
    /// # Errors
    /// The map can't be read, or a record of the account is malformed.
    pub fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, SaslDbError> {
        if let Some(value) = self.value(user, HASHED_PASSWORD)? {
            let secrets = Secrets::from_record(&value);
            return secrets
                .map(Some)
                .map_err(|e| self.bad(user, HASHED_PASSWORD, e.0));
        }
        // Beside a password libsasl asks for no keys: they may be those of an earlier one.
        if let Some(clear) = self.clear(user)? {
            return Ok(Some(Secrets {
                clear: Some(clear),
                ..Secrets::default()
            }));
        }
        let keys = match self.value(user, AUTH_PASSWORD)? {
            Some(value) => Secrets::parse_auth_password(&value),
            None => Ok(Secrets::default()),
        };
        match keys {
            Ok(keys) if !keys.is_empty() => return Ok(Some(keys)),
            _ => {}
        }
        let old = self.old_secrets(user)?;
        match keys {
            // The account can log in without them.
            _ if !old.is_empty() => Ok(Some(old)),
            Err(error) => Err(self.bad(user, AUTH_PASSWORD, error.0)),
            Ok(_) => Ok(None),
        }
    }

    /// The password of an account in clear text, where the store has it.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn clear(&self, user: &UserId) -> Result<Option<Password>, SaslDbError> {
        let value = self.value(user, USER_PASSWORD)?;
        // An empty one can be made with the original and opens nothing.
        Ok(value.and_then(|value| Password::new(value.to_vec()).ok()))
    }

    /// What the first accounts have: they are like the others, and a large store is not read whole.
    fn sampled_iterations(&self) -> &[Iterations] {
        self.iterations.get_or_init(|| {
            let records = self.records().take(SAMPLED_RECORDS).flatten();
            let secrets = records.filter_map(|record| match record.property.as_slice() {
                HASHED_PASSWORD => Secrets::from_record(record.value.expose()).ok(),
                AUTH_PASSWORD => Secrets::parse_auth_password(record.value.expose()).ok(),
                _ => None,
            });
            let of = |keys: &Option<ScramSecret>| keys.as_ref().map(ScramSecret::iterations);
            let all = secrets.map(|secrets| Iterations {
                sha1: of(&secrets.scram_sha1),
                sha256: of(&secrets.scram_sha256),
            });
            all.filter(|one| one.sha1.or(one.sha256).is_some())
                .collect()
        })
    }

    fn old_secrets(&self, user: &UserId) -> Result<Secrets, SaslDbError> {
        let read = |property: &'static [u8]| self.value(user, property);
        Ok(Secrets {
            cram_md5: read(OLD_CRAM_MD5)?.and_then(|v| CramMd5::from_libsasl(&v)),
            digest_md5: read(OLD_DIGEST_MD5)?.and_then(|v| DigestMd5::from_libsasl(&v)),
            old_plain: read(OLD_PLAIN)?.and_then(|v| OldPlain::from_libsasl(&v)),
            ..Secrets::default()
        })
    }

    /// Whether this is the account's password. A "no" for an account that does
    /// not exist costs as much as one for an account that does.
    ///
    /// # Errors
    /// As [`SaslDb::secrets`].
    pub fn verify(
        &self,
        user: &UserId,
        password: &Password,
        toll: &Toll,
    ) -> Result<bool, SaslDbError> {
        match self.secrets(user)? {
            Some(secrets) => Ok(secrets.verify(user, password, toll)?),
            None => {
                toll.pay(Paid::default(), password.expose())?;
                Ok(false)
            }
        }
    }

    /// Looks at the first accounts, a thousand at the most, for what they cost: so the toll is
    /// right before the first login.
    pub fn survey(&self, toll: &Toll) {
        // A record that is bad is told when somebody asks for it.
        for record in self.records().take(SURVEYED).flatten() {
            if let Ok(Some(secrets)) = self.secrets(&record.user) {
                toll.meet(&secrets);
            }
        }
    }

    /// Every record, as stored.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, SaslDbError>> + '_ {
        self.map.iter().map(|entry| {
            let entry = entry?;
            match UserId::parse(entry.lhs.as_bytes()) {
                Some((user, property)) => Ok(Record {
                    user,
                    property: property.to_vec(),
                    value: SecretBytes::new(entry.rhs.into_bytes().into_vec()),
                }),
                None => Err(SaslDbError::BadRecord {
                    map: self.map.name().path.display().to_string(),
                    record: entry.lhs.to_string(),
                    why: "expected user NUL realm NUL property",
                }),
            }
        })
    }

    /// Every record by the property that Cyrus SASL would have for it: hashes
    /// stand where `userPassword` stood.
    pub fn listing(&self) -> impl Iterator<Item = Result<(UserId, Vec<u8>), SaslDbError>> + '_ {
        self.records().filter_map(|record| match record {
            Ok(record) if record.property == HASHED_PASSWORD => {
                match self.value(&record.user, USER_PASSWORD) {
                    Ok(Some(_)) => None,
                    Ok(None) => Some(Ok((record.user, USER_PASSWORD.to_vec()))),
                    Err(error) => Some(Err(error)),
                }
            }
            Ok(record) => Some(Ok((record.user, record.property))),
            Err(error) => Some(Err(error)),
        })
    }

    fn value(
        &self,
        user: &UserId,
        property: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SaslDbError> {
        let found = self.map.get(user.lhs(property).as_bytes())?;
        Ok(found.map(|rhs| Zeroizing::new(rhs.into_bytes().into_vec())))
    }

    fn bad(&self, user: &UserId, property: &[u8], why: &'static str) -> SaslDbError {
        SaslDbError::BadRecord {
            map: self.map.name().path.display().to_string(),
            record: format!("{user}: {}", String::from_utf8_lossy(property)),
            why,
        }
    }
}

impl<M: Map> Accounts for SaslDb<M> {
    fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, AccountsError> {
        SaslDb::secrets(self, user).map_err(|e| AccountsError(e.to_string()))
    }

    fn drawn_iterations(&self, hash: ScramHash, draw: u64) -> Result<Option<u32>, AccountsError> {
        let all = self.sampled_iterations();
        let at = draw
            .checked_rem(all.len() as u64)
            .and_then(|at| usize::try_from(at).ok());
        Ok(at.and_then(|at| all.get(at)).and_then(|one| match hash {
            ScramHash::Sha1 => one.sha1.or(one.sha256),
            ScramHash::Sha256 => one.sha256.or(one.sha1),
        }))
    }

    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        let fails = |e: SaslDbError| AccountsError(e.to_string());
        let Ok(user) = UserId::resolve(name.trim_ascii(), &service.realm) else {
            return Ok(false);
        };
        self.verify(&user, password, &service.toll).map_err(fails)
    }
}

impl<M: Map> PasswordChecker for SaslDb<M> {
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        Accounts::check(self, service, name, password)
    }
}

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
