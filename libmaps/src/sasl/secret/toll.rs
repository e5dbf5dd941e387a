//! What a "no" costs: as much for a user who does not exist as for any who does.
//!
//! Accounts of one store may have secrets of different kinds, and to check a password against
//! them takes argon2id for most, SCRAM's iterations for those that have nothing else, and for
//! imported ones as much as the other program thought right. So the costliest that was met so
//! far is paid by everybody whose password is wrong, be there such a user or not. A store in
//! which all accounts are of one kind costs nothing more than before.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::argon2id::{Argon2id, MEMORY_KIB, PASSES};
use super::{SecretTextError, Secrets};
use crate::sasl::hash::ScramHash;
use crate::sasl::saslprep::saslprep;
use zeroize::Zeroizing;

/// The price of a "no"; one for all logins of a server.
#[derive(Debug)]
pub struct Toll {
    /// argon2id: KiB times passes.
    argon2id: AtomicU64,
    /// Iterations.
    sha1: AtomicU32,
    sha256: AtomicU32,
    /// Whether SCRAM's keys had to be made of a password.
    makes_keys: AtomicBool,
}

impl Default for Toll {
    fn default() -> Self {
        Toll {
            argon2id: AtomicU64::new(u64::from(MEMORY_KIB) * u64::from(PASSES)),
            sha1: AtomicU32::new(0),
            sha256: AtomicU32::new(0),
            makes_keys: AtomicBool::new(false),
        }
    }
}

/// What was paid already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paid {
    /// argon2id: KiB times passes.
    pub(super) argon2id: u64,
    /// A hash of SCRAM's, and its iterations.
    pub(super) scram: Option<(ScramHash, u32)>,
}

impl Toll {
    /// Learns what an account costs, before anybody tries its password.
    pub fn meet(&self, secrets: &Secrets) {
        self.raise(secrets.price());
        if secrets.clear.is_some() && secrets.scram_sha1.is_none() && secrets.scram_sha256.is_none()
        {
            self.meet_clear();
        }
    }

    pub(super) fn raise(&self, paid: Paid) {
        self.argon2id.fetch_max(paid.argon2id, Ordering::Relaxed);
        if let Some((hash, iterations)) = paid.scram {
            self.iterations(hash)
                .fetch_max(iterations, Ordering::Relaxed);
        }
    }

    /// Pays what is lacking. A password that SASLprep changes is tried as it is and as
    /// prepared, and costs argon2id twice.
    ///
    /// # Errors
    /// Only where the machine has not the memory for argon2id.
    pub(crate) fn pay(&self, paid: Paid, typed: &[u8]) -> Result<(), SecretTextError> {
        let whole = self.argon2id.load(Ordering::Relaxed);
        if let Some(dummy) = Argon2id::costing(whole.saturating_sub(paid.argon2id)) {
            let prepared = Zeroizing::new(saslprep(typed).into_owned());
            dummy.verify(&prepared)?;
            if prepared.as_slice() != typed {
                dummy.verify(typed)?;
            }
        }
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            let whole = self.iterations(hash).load(Ordering::Relaxed);
            let done = match paid.scram {
                Some((of, iterations)) if of == hash => iterations,
                _ => 0,
            };
            let left = whole.saturating_sub(done);
            if left > 0 {
                let _ = hash.stretch(typed, b"nobody's salt", left);
            }
        }
        Ok(())
    }

    /// There is an account of which only the password itself is stored.
    pub(crate) fn meet_clear(&self) {
        self.makes_keys.store(true, Ordering::Relaxed);
    }

    /// Whether SCRAM's keys are made, at each login, of somebody's password.
    pub(crate) fn makes_keys(&self) -> bool {
        self.makes_keys.load(Ordering::Relaxed)
    }

    fn iterations(&self, hash: ScramHash) -> &AtomicU32 {
        match hash {
            ScramHash::Sha1 => &self.sha1,
            ScramHash::Sha256 => &self.sha256,
        }
    }
}
