//! Where a server asks about accounts: the store, and checkers of passwords.

use super::server::Service;
use crate::sasl::hash::ScramHash;
use crate::sasl::key::UserId;
use crate::sasl::password::Password;
use crate::sasl::secret::Secrets;

/// Nobody can tell: the store or the checker did not answer. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AccountsError(pub String);

/// Where a server looks accounts up.
pub trait Accounts {
    /// The secrets of an account; `Ok(None)`: there is no such account.
    ///
    /// # Errors
    /// The store can't be read.
    fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, AccountsError>;

    /// The SCRAM iterations of one of the store's accounts, the same one for the same `draw`;
    /// accounts without keys are shown those. `None`: no account has keys.
    ///
    /// # Errors
    /// The store can't be read.
    fn drawn_iterations(&self, _hash: ScramHash, _draw: u64) -> Result<Option<u32>, AccountsError> {
        Ok(None)
    }

    /// Whether this is the password of the account that `name` (prepared by SASLprep, unless an
    /// account is stored under another spelling) stands for. "No" must take as long for an account that does not exist.
    ///
    /// # Errors
    /// The store or the checker can't be asked.
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError>;
}

/// Something that can only say yes or no to a password: saslauthd, PAM.
pub trait PasswordChecker: Send + Sync {
    /// Whether this is the password.
    ///
    /// # Errors
    /// It could not be asked.
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError>;
}

/// `pwcheck_method`: several checkers for PLAIN and LOGIN, in order; the other
/// mechanisms ask the store.
pub struct Checkers<'a> {
    /// Answers CRAM-MD5, DIGEST-MD5 and SCRAM.
    pub store: &'a dyn Accounts,
    /// Asked one after the other until one says yes.
    pub checkers: &'a [Box<dyn PasswordChecker>],
}

impl Accounts for Checkers<'_> {
    fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, AccountsError> {
        self.store.secrets(user)
    }

    fn drawn_iterations(&self, hash: ScramHash, draw: u64) -> Result<Option<u32>, AccountsError> {
        self.store.drawn_iterations(hash, draw)
    }

    /// One yes is enough; without one, a checker that could not be asked makes the answer unknown.
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        let mut unknown = None;
        for checker in self.checkers {
            match checker.check(service, name, password) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
        }
        unknown.map_or(Ok(false), Err)
    }
}
