//! What an account is shown of that has no SCRAM keys, or is not there at all: a salt and a number
//! of iterations that can't be told from those of an account with keys.
//!
//! Both depend on the account's prepared name and on the service's secret, and so are the same each
//! time, for both digests, and for every spelling that finds the same account.

use super::accounts::{Accounts, AccountsError};
use super::server::Service;
use crate::sasl::hash::{ScramHash, hmac_sha256};
use crate::sasl::key::UserId;
use crate::sasl::saslprep::saslprep;
use crate::sasl::secret::Secrets;

const SALT_OCTETS: usize = 16;

/// Salt and iterations for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoy {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl Decoy {
    /// The decoy of an account; `found` are its secrets, where it is there. Of an account with the
    /// keys of the other digest both show the same, as where both are there.
    ///
    /// # Errors
    /// The store can't be read.
    pub(super) fn of(
        user: &UserId,
        found: Option<&Secrets>,
        hash: ScramHash,
        service: &Service,
        accounts: &dyn Accounts,
    ) -> Result<Self, AccountsError> {
        let name = saslprep(user.authid());
        let parts: [&[u8]; 3] = [&name, b"\0", user.realm()];
        let octets = hmac_sha256(service.decoy_key.expose(), &parts);
        let (salt, rest) = octets.split_at_checked(SALT_OCTETS).unwrap_or_default();
        let draw = rest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        // Asked in any case, so that no time tells whether it was needed.
        let drawn = accounts.drawn_iterations(hash, draw)?;
        Ok(
            match found.and_then(|secrets| secrets.scram(hash.other())) {
                Some(keys) => Decoy {
                    salt: keys.salt().to_vec(),
                    iterations: keys.iterations(),
                },
                None => Decoy {
                    salt: salt.to_vec(),
                    iterations: drawn.unwrap_or(service.iterations),
                },
            },
        )
    }
}
