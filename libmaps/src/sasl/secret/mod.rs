//! The secrets of one account, all derived at the moment the password is set.
//!
//! A store keeps them packed ([`Secrets::to_record`]), CSV as words:
//!
//! | word | answers | what a thief gets |
//! |---|---|---|
//! | `{ARGON2ID}$argon2id$...` | PLAIN, LOGIN | nothing but guesses at 19 MiB each |
//! | `{SCRAM-SHA-256}`, `{SCRAM-SHA-1}` | SCRAM | guesses; can play the server |
//! | `{CRAM-MD5}` | CRAM-MD5 | that mechanism, and fast guesses |
//! | `{DIGEST-MD5}` | DIGEST-MD5 | that mechanism in that realm, and fast guesses |

mod argon2id;
mod cram_md5;
mod digest_md5;
mod memory;
mod record;
mod scram;
mod toll;

use std::fmt;

use zeroize::Zeroizing;

pub use argon2id::Argon2id;
pub use cram_md5::CramMd5;
pub use digest_md5::{DigestMd5, hash_user};
pub use scram::{MAX_ITERATIONS, MIN_ITERATIONS, ScramSecret};
pub(crate) use scram::{salted_password, xor};
pub(crate) use toll::Paid;
pub use toll::Toll;

use crate::sasl::hash::ScramHash;
use crate::sasl::key::UserId;
use crate::sasl::password::{Password, SecretBytes};
use crate::sasl::saslprep::saslprep;

/// The longest record of secrets, in octets.
const MAX_TEXT_OCTETS: usize = 16 * 1024;

/// Why text is no secret; it says what was expected and never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretTextError(pub &'static str);

/// Random octets for one account's salts.
#[derive(Clone, Copy, Debug)]
pub struct Salts {
    /// For argon2id.
    pub argon2id: [u8; 16],
    /// For SCRAM.
    pub scram: [u8; 16],
}

impl Salts {
    /// Fresh salts from the operating system.
    ///
    /// # Errors
    /// The system gives no random octets.
    pub fn random() -> Result<Self, SecretTextError> {
        let mut salts = Salts {
            argon2id: [0; 16],
            scram: [0; 16],
        };
        for salt in [&mut salts.argon2id, &mut salts.scram] {
            getrandom::fill(salt).map_err(|_| SecretTextError("no random numbers"))?;
        }
        Ok(salts)
    }
}

/// How secrets are derived.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// SCRAM iterations (`scram_iteration_counter`), 4096 at least.
    pub iterations: u32,
    /// Realms beside the account's own in which a client may say `user@realm` to DIGEST-MD5.
    pub server_realms: Vec<Vec<u8>>,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            iterations: MIN_ITERATIONS,
            server_realms: Vec::new(),
        }
    }
}

/// The secrets of one account; each may be lacking.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The password itself, where the store keeps it.
    pub clear: Option<Password>,
    /// For PLAIN and LOGIN.
    pub argon2id: Option<Argon2id>,
    /// For CRAM-MD5.
    pub cram_md5: Option<CramMd5>,
    /// For DIGEST-MD5.
    pub digest_md5: Option<DigestMd5>,
    /// For SCRAM-SHA-1.
    pub scram_sha1: Option<ScramSecret>,
    /// For SCRAM-SHA-256.
    pub scram_sha256: Option<ScramSecret>,
    /// libsasl's salted MD5 of old, for PLAIN and LOGIN.
    pub(crate) old_plain: Option<OldPlain>,
}

impl Secrets {
    /// Derives every secret of a password; [`Secrets::clear`] stays empty.
    ///
    /// PLAIN, LOGIN and SCRAM see the password as SASLprep makes it, CRAM-MD5
    /// and DIGEST-MD5 as it was typed: so their RFCs say.
    ///
    /// # Errors
    /// Only where the machine has not the memory for argon2id.
    pub fn derive(
        user: &UserId,
        password: &Password,
        recipe: &Recipe,
        salts: &Salts,
    ) -> Result<Self, SecretTextError> {
        let typed = password.expose();
        let prepared = Zeroizing::new(saslprep(typed).into_owned());
        let realms: Vec<&[u8]> = recipe.server_realms.iter().map(Vec::as_slice).collect();
        Ok(Secrets {
            argon2id: Some(Argon2id::derive(&prepared, &salts.argon2id)?),
            cram_md5: Some(CramMd5::derive(typed)),
            digest_md5: Some(DigestMd5::derive(user, typed, &realms)),
            ..Secrets::derive_scram(password, recipe, salts)
        })
    }

    /// Derives SCRAM's keys only, as `saslpasswd2 -n` with `scram_secret_generate` does.
    #[must_use]
    pub fn derive_scram(password: &Password, recipe: &Recipe, salts: &Salts) -> Self {
        let scram = |hash| {
            let typed = password.expose();
            Some(ScramSecret::derive(
                hash,
                typed,
                &salts.scram,
                recipe.iterations,
            ))
        };
        Secrets {
            scram_sha1: scram(ScramHash::Sha1),
            scram_sha256: scram(ScramHash::Sha256),
            ..Secrets::default()
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Secrets::default()
    }

    /// SCRAM's keys for one digest.
    #[must_use]
    pub fn scram(&self, hash: ScramHash) -> Option<&ScramSecret> {
        match hash {
            ScramHash::Sha1 => self.scram_sha1.as_ref(),
            ScramHash::Sha256 => self.scram_sha256.as_ref(),
        }
    }

    /// Whether this is the account's password. A "no" costs what the toll says, so that the
    /// account looks like any other, or like none.
    ///
    /// # Errors
    /// Only where the machine has not the memory for argon2id.
    pub fn verify(
        &self,
        user: &UserId,
        password: &Password,
        toll: &Toll,
    ) -> Result<bool, SecretTextError> {
        let typed = password.expose();
        let paid = self.price();
        toll.raise(paid);
        let fits = if let Some(hash) = &self.argon2id {
            verify_argon2id(hash, typed)?
        } else if let Some(clear) = &self.clear {
            clear == password
        } else if let Some(keys) = self.scram_sha256.as_ref().or(self.scram_sha1.as_ref()) {
            keys.verify(typed)
        } else if let Some(old) = &self.old_plain {
            old.verify(typed)
        } else if let Some(states) = &self.cram_md5 {
            *states == CramMd5::derive(typed)
        } else if let Some(hash) = &self.digest_md5 {
            hash.verify(user, typed)
        } else {
            false
        };
        if !fits {
            toll.pay(paid, typed)?;
        }
        Ok(fits)
    }

    /// What it costs to check a password.
    fn price(&self) -> Paid {
        let argon2id = self.argon2id.as_ref().map(Argon2id::price);
        let only = argon2id.is_none() && self.clear.is_none();
        let keys = self.scram_sha256.as_ref().or(self.scram_sha1.as_ref());
        Paid {
            argon2id: argon2id.unwrap_or_default(),
            scram: keys.filter(|_| only).map(ScramSecret::price),
        }
    }

    /// The hashed secrets as words `{SCHEME}text` with a blank between; never the password.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        let words = [
            self.argon2id.as_ref().map(|s| ("ARGON2ID", s.to_text())),
            self.scram_sha256
                .as_ref()
                .map(|s| ("SCRAM-SHA-256", s.to_text())),
            self.scram_sha1
                .as_ref()
                .map(|s| ("SCRAM-SHA-1", s.to_text())),
            self.cram_md5.as_ref().map(|s| ("CRAM-MD5", s.to_text())),
            self.digest_md5
                .as_ref()
                .map(|s| ("DIGEST-MD5", s.to_text())),
        ];
        let words: Vec<String> = words
            .into_iter()
            .flatten()
            .map(|(scheme, text)| format!("{{{scheme}}}{text}"))
            .collect();
        SecretBytes::new(words.join(" ").into_bytes())
    }

    /// Whether text starts like [`Secrets::to_text`]'s: with a scheme that is known here.
    #[must_use]
    pub fn is_text(text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|t| scheme_of(t).is_some())
    }

    /// Reads what [`Secrets::to_text`] writes; schemes in any case.
    ///
    /// # Errors
    /// A word that is no `{SCHEME}` known here, a malformed one, a scheme given twice.
    pub fn parse(text: &[u8]) -> Result<Self, SecretTextError> {
        if text.len() > MAX_TEXT_OCTETS {
            return Err(SecretTextError("the hashes are too long"));
        }
        let text =
            std::str::from_utf8(text).map_err(|_| SecretTextError("a hash must be ASCII text"))?;
        let mut all = Secrets::default();
        for word in text.split(' ') {
            let (scheme, rest) = scheme_of(word).ok_or(SecretTextError(
                "expected {ARGON2ID}, {SCRAM-SHA-256}, {SCRAM-SHA-1}, {CRAM-MD5} or {DIGEST-MD5}",
            ))?;
            let was_there = match scheme {
                Scheme::Argon2id => all.argon2id.replace(Argon2id::parse(rest)?).is_some(),
                Scheme::CramMd5 => all.cram_md5.replace(CramMd5::parse(rest)?).is_some(),
                Scheme::DigestMd5 => all.digest_md5.replace(DigestMd5::parse(rest)?).is_some(),
                Scheme::Scram(hash) => {
                    let keys = ScramSecret::parse(hash, rest)?;
                    let place = match hash {
                        ScramHash::Sha1 => &mut all.scram_sha1,
                        ScramHash::Sha256 => &mut all.scram_sha256,
                    };
                    place.replace(keys).is_some()
                }
            };
            if was_there {
                return Err(SecretTextError("a scheme is given twice"));
            }
        }
        Ok(all)
    }

    /// SCRAM's keys as libsasl's `authPassword` holds them, both digests with a blank between.
    #[must_use]
    pub fn to_auth_password(&self) -> Option<SecretBytes> {
        let both = [
            (ScramHash::Sha1, self.scram_sha1.as_ref()),
            (ScramHash::Sha256, self.scram_sha256.as_ref()),
        ];
        let words: Vec<String> = both
            .into_iter()
            .filter_map(|(hash, keys)| Some((hash, keys?)))
            .map(|(hash, keys)| format!("{}${}", hash.mechanism_name(), keys.to_text()))
            .collect();
        (!words.is_empty()).then(|| SecretBytes::new(words.join(" ").into_bytes()))
    }

    /// Reads an `authPassword`; schemes that are not known here are passed over.
    ///
    /// # Errors
    /// A SCRAM secret of a known digest that is malformed.
    pub fn parse_auth_password(octets: &[u8]) -> Result<Self, SecretTextError> {
        let text = std::str::from_utf8(octets)
            .map_err(|_| SecretTextError("an authPassword must be ASCII text"))?;
        let mut all = Secrets::default();
        for word in text.split([' ', '\0']) {
            match word.split_once('$') {
                Some(("SCRAM-SHA-1", rest)) => {
                    all.scram_sha1 = Some(ScramSecret::parse(ScramHash::Sha1, rest)?);
                }
                Some(("SCRAM-SHA-256", rest)) => {
                    all.scram_sha256 = Some(ScramSecret::parse(ScramHash::Sha256, rest)?);
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(<secret>)")
    }
}

enum Scheme {
    Argon2id,
    CramMd5,
    DigestMd5,
    Scram(ScramHash),
}

fn scheme_of(word: &str) -> Option<(Scheme, &str)> {
    let (name, rest) = word.strip_prefix('{')?.split_once('}')?;
    let scheme = match name.to_ascii_uppercase().as_str() {
        "ARGON2ID" => Scheme::Argon2id,
        "CRAM-MD5" => Scheme::CramMd5,
        "DIGEST-MD5" => Scheme::DigestMd5,
        "SCRAM-SHA-1" => Scheme::Scram(ScramHash::Sha1),
        "SCRAM-SHA-256" => Scheme::Scram(ScramHash::Sha256),
        _ => return None,
    };
    Some((scheme, rest))
}

/// What this thread has computed: KiB times passes of argon2id, iterations with SHA-1 and SHA-256.
#[cfg(test)]
pub(crate) fn computed() -> [u64; 3] {
    let stretched = |hash| {
        let of = |sums: &std::collections::BTreeMap<_, _>| sums.get(&hash).copied();
        crate::sasl::hash::STRETCHED.with_borrow(of).unwrap_or(0)
    };
    [
        argon2id::COMPUTED.with(std::cell::Cell::get),
        stretched(ScramHash::Sha1),
        stretched(ScramHash::Sha256),
    ]
}

/// A stored hash may be of the password as typed (another program's) or as prepared (ours).
fn verify_argon2id(hash: &Argon2id, typed: &[u8]) -> Result<bool, SecretTextError> {
    let prepared = Zeroizing::new(saslprep(typed).into_owned());
    if hash.verify(&prepared)? {
        return Ok(true);
    }
    Ok(prepared.as_slice() != typed && hash.verify(typed)?)
}

/// `cmusaslsecretPLAIN`: 16 octets of salt, NUL, MD5(salt "sasldb" password).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OldPlain {
    salt: Vec<u8>,
    digest: SecretBytes,
}

impl OldPlain {
    pub(crate) fn from_libsasl(octets: &[u8]) -> Option<Self> {
        let (salt, rest) = octets.split_at_checked(16)?;
        let digest = rest.strip_prefix(&[0])?;
        (digest.len() == 16).then(|| OldPlain {
            salt: salt.to_vec(),
            digest: SecretBytes::new(digest.to_vec()),
        })
    }

    fn verify(&self, password: &[u8]) -> bool {
        use md5::Digest;
        let mut md5 = md5::Md5::new();
        for part in [self.salt.as_slice(), b"sasldb", password] {
            md5.update(part);
        }
        SecretBytes::new(md5.finalize().to_vec()) == self.digest
    }
}

/// Lower-case hexadecimal.
pub(crate) fn to_hex(octets: &[u8]) -> SecretBytes {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    let digits = octets.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]);
    SecretBytes::new(digits.collect())
}

/// Hexadecimal of either case; `None`: something else, or an odd number of digits.
pub(crate) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let value = |c: u8| (c as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(value(*high)? << 4 | value(*low)?))
        .collect()
}

#[cfg(test)]
mod tests;
