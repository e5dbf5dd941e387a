//! SCRAM: StoredKey and ServerKey under a salt (RFC 5802 section 3, RFC 5803).

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::SecretTextError;
use super::record::{MALFORMED, Octets, put_counted};
use crate::sasl::hash::{Key, ScramHash};
use crate::sasl::password::SecretBytes;
use crate::sasl::saslprep::saslprep;

/// The fewest iterations that are derived or accepted (RFC 7677 section 4).
pub const MIN_ITERATIONS: u32 = 4096;
/// The most: a client is asked to do them, and so may we as a client be.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// What a server keeps of a password for SCRAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramSecret {
    hash: ScramHash,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: SecretBytes,
    server_key: SecretBytes,
}

impl ScramSecret {
    /// Derives the keys of a password, prepared as RFC 4013 says; the number of
    /// iterations is brought into [`MIN_ITERATIONS`]..=[`MAX_ITERATIONS`].
    #[must_use]
    pub fn derive(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let iterations = iterations.clamp(MIN_ITERATIONS, MAX_ITERATIONS);
        let salted = salted_password(hash, password, salt, iterations);
        let stored_key = hash.digest(&hash.hmac(&salted, b"Client Key"));
        let server_key = hash.hmac(&salted, b"Server Key");
        ScramSecret {
            hash,
            iterations,
            salt: salt.to_vec(),
            stored_key: secret(stored_key),
            server_key: secret(server_key),
        }
    }

    /// Keys that belong to no password, for accounts that do not exist.
    #[must_use]
    pub fn dummy(hash: ScramHash, salt: &[u8], iterations: u32) -> Self {
        let none = SecretBytes::new(vec![0; hash.digest_octets()]);
        ScramSecret {
            hash,
            iterations: iterations.clamp(MIN_ITERATIONS, MAX_ITERATIONS),
            salt: salt.to_vec(),
            stored_key: none.clone(),
            server_key: none,
        }
    }

    /// The salt, which the client is told.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iterations, which the client is told.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether a ClientProof fits the exchange (RFC 5802 section 3):
    /// `H(proof XOR HMAC(StoredKey, AuthMessage)) = StoredKey`.
    #[must_use]
    pub fn proves(&self, proof: &[u8], auth_message: &[u8]) -> bool {
        let signature = self.hash.hmac(self.stored_key.expose(), auth_message);
        if proof.len() != signature.len() {
            return false;
        }
        let client_key = xor(proof, &signature);
        let stored = self.hash.digest(&client_key);
        stored.as_slice().ct_eq(self.stored_key.expose()).into()
    }

    /// The ServerSignature, by which the server proves that it knows the keys.
    #[must_use]
    pub fn server_signature(&self, auth_message: &[u8]) -> Vec<u8> {
        let signature = self.hash.hmac(self.server_key.expose(), auth_message);
        signature.to_vec()
    }

    /// Whether these are the password's keys: PLAIN and LOGIN against an account that has no other.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        ScramSecret::derive(self.hash, password, &self.salt, self.iterations) == *self
    }

    /// What a check of a password costs.
    pub(super) fn price(&self) -> (ScramHash, u32) {
        (self.hash, self.iterations)
    }

    /// `ITERATIONS:SALT$STOREDKEY:SERVERKEY`, base64 (RFC 5803 without the scheme).
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "{}:{}${}:{}",
            self.iterations,
            Base64::encode_string(&self.salt),
            Base64::encode_string(self.stored_key.expose()),
            Base64::encode_string(self.server_key.expose())
        )
    }

    /// Reads what [`ScramSecret::to_text`] writes, and the same four parts between commas.
    ///
    /// # Errors
    /// Anything else; fewer than 4096 or more than 1,000,000 iterations; keys of another length.
    pub fn parse(hash: ScramHash, text: &str) -> Result<Self, SecretTextError> {
        let bad = SecretTextError("expected iterations:salt$StoredKey:ServerKey");
        let mut parts = text.split([':', '$', ',']);
        let mut part = || parts.next().ok_or(bad);
        let iterations: u32 = part()?.parse().map_err(|_| bad)?;
        let salt = Base64::decode_vec(part()?).map_err(|_| bad)?;
        let mut key = || -> Result<SecretBytes, SecretTextError> {
            let octets = Base64::decode_vec(part()?).map_err(|_| bad)?;
            Ok(SecretBytes::new(octets))
        };
        let (stored_key, server_key) = (key()?, key()?);
        if parts.next().is_some() {
            return Err(bad);
        }
        ScramSecret {
            hash,
            iterations,
            salt,
            stored_key,
            server_key,
        }
        .in_range()
    }

    /// For a record: iterations in 4 octets, the salt after its length, StoredKey, ServerKey.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.iterations.to_be_bytes());
        put_counted(out, &self.salt);
        out.extend_from_slice(self.stored_key.expose());
        out.extend_from_slice(self.server_key.expose());
    }

    pub(super) fn unpack(hash: ScramHash, mut octets: Octets<'_>) -> Result<Self, SecretTextError> {
        let iterations = octets.u32().ok_or(MALFORMED)?;
        let salt = octets.counted().ok_or(MALFORMED)?.to_vec();
        let stored_key = octets.take(hash.digest_octets()).ok_or(MALFORMED)?;
        ScramSecret {
            hash,
            iterations,
            salt,
            stored_key: SecretBytes::new(stored_key.to_vec()),
            server_key: SecretBytes::new(octets.rest().to_vec()),
        }
        .in_range()
    }

    fn in_range(self) -> Result<Self, SecretTextError> {
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&self.iterations) {
            return Err(SecretTextError("SCRAM iterations must be 4096 to 1000000"));
        }
        let octets = self.hash.digest_octets();
        let fits = (1..=64).contains(&self.salt.len())
            && self.stored_key.expose().len() == octets
            && self.server_key.expose().len() == octets;
        match fits {
            true => Ok(self),
            false => Err(SecretTextError("SCRAM salt or key of a wrong length")),
        }
    }
}

/// `Hi(SASLprep(password), salt, iterations)`.
pub(crate) fn salted_password(
    hash: ScramHash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
) -> Key {
    let prepared = Zeroizing::new(saslprep(password).into_owned());
    hash.stretch(&prepared, salt, iterations)
}

/// Octet by octet; as long as the shorter.
pub(crate) fn xor(a: &[u8], b: &[u8]) -> Key {
    Zeroizing::new(a.iter().zip(b).map(|(x, y)| x ^ y).collect())
}

fn secret(mut key: Key) -> SecretBytes {
    SecretBytes::new(std::mem::take(&mut *key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5802 section 5 and RFC 7677 section 3: the keys behind their examples.
    #[test]
    fn keys_of_the_rfcs() {
        let cases = [
            (
                ScramHash::Sha1,
                "4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=",
            ),
            (
                ScramHash::Sha256,
                "4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                 wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            ),
        ];
        for (hash, text) in cases {
            let stored = ScramSecret::parse(hash, text).unwrap();
            assert_eq!(stored.to_text(), text);
            let derived = ScramSecret::derive(hash, b"pencil", stored.salt(), 4096);
            assert_eq!(derived, stored);
            assert!(stored.verify(b"pencil"));
            assert!(!stored.verify(b"pencils"));
            let commas = text.replace([':', '$'], ",");
            assert_eq!(ScramSecret::parse(hash, &commas).unwrap(), stored);
        }
    }

    #[test]
    fn other_text_is_refused() {
        let ok = "4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=";
        for bad in [
            "".to_owned(),
            "4096".to_owned(),
            ok.replace("4096", "4095"),
            ok.replace("4096", "99999999999"),
            ok.replace("QSXCR+Q6sek8bf92", ""),
            format!("{ok}:x"),
        ] {
            assert!(ScramSecret::parse(ScramHash::Sha1, &bad).is_err(), "{bad}");
        }
        assert!(ScramSecret::parse(ScramHash::Sha256, ok).is_err());
    }
}
