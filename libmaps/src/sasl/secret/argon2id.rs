//! argon2id: the secret that answers PLAIN and LOGIN (RFC 9106).
//!
//! Stored as a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$SALT$TAG`, which
//! other programs read and write too.

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64Unpadded, Encoding};

use super::SecretTextError;
use super::memory::Memory;
use super::record::{MALFORMED, Octets, put_counted};
use crate::sasl::password::SecretBytes;

pub(super) const MEMORY_KIB: u32 = 19 * 1024;
pub(super) const PASSES: u32 = 2;
const LANES: u32 = 1;
const TAG_OCTETS: usize = 32;

/// What a stored hash may ask of the machine that checks it: 256 MiB.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;

const OUT_OF_RANGE: SecretTextError = SecretTextError("argon2id parameters out of range");

/// An argon2id hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argon2id {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    tag: SecretBytes,
}

#[cfg(test)]
thread_local! {
    /// The [`Argon2id::price`] of all that this thread has computed: what a login costs,
    /// without a clock.
    pub(crate) static COMPUTED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Argon2id {
    /// Hashes with m=19456 KiB, t=2, p=1 and a tag of 32 octets.
    ///
    /// # Errors
    /// Only where the machine has not the memory.
    pub fn derive(password: &[u8], salt: &[u8; 16]) -> Result<Self, SecretTextError> {
        let mut new = Argon2id {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: salt.to_vec(),
            tag: SecretBytes::new(vec![0; TAG_OCTETS]),
        };
        new.tag = new.compute(password)?;
        Ok(new)
    }

    /// A hash that no password has and that costs so much, in KiB times passes, to the last
    /// block or two: it is checked for accounts that cost less, or do not exist, so that they
    /// take as long. `None` where that is less than a hash can cost.
    pub(super) fn costing(price: u64) -> Option<Self> {
        // As few passes as the memory allows, two if it can be, as most hashes have them.
        let most = u64::from(MAX_MEMORY_KIB);
        let passes = price.div_ceil(most).max(u64::from(PASSES));
        let memory_kib = u32::try_from(price / passes).ok()?;
        let passes = u32::try_from(passes).ok()?;
        (memory_kib >= 8).then(|| Argon2id {
            memory_kib,
            passes,
            lanes: LANES,
            salt: vec![0; 16],
            tag: SecretBytes::new(vec![0; TAG_OCTETS]),
        })
    }

    /// What a check costs: KiB times passes.
    pub(super) fn price(&self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }

    /// Whether this is the password's hash.
    ///
    /// # Errors
    /// Only where the machine has not the memory.
    pub fn verify(&self, password: &[u8]) -> Result<bool, SecretTextError> {
        Ok(self.compute(password)? == self.tag)
    }

    fn compute(&self, password: &[u8]) -> Result<SecretBytes, SecretTextError> {
        #[cfg(test)]
        COMPUTED.with(|sum| sum.set(sum.get() + self.price()));
        let octets = self.tag.expose().len();
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(octets))
            .map_err(|_| OUT_OF_RANGE)?;
        let failed = SecretTextError("argon2id could not be computed");
        let mut tag = zeroize::Zeroizing::new(vec![0; octets]);
        let mut memory = Memory::of(params.block_count()).ok_or(failed)?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password, &self.salt, &mut tag, memory.as_mut())
            .map_err(|_| failed)?;
        Ok(SecretBytes::new(std::mem::take(&mut *tag)))
    }

    /// The PHC string.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.memory_kib,
            self.passes,
            self.lanes,
            Base64Unpadded::encode_string(&self.salt),
            Base64Unpadded::encode_string(self.tag.expose())
        )
    }

    /// Reads a PHC string.
    ///
    /// # Errors
    /// Another algorithm or version, or parameters out of range: at most 256 MiB,
    /// 64 passes, 16 lanes; salt of 8 to 64 and tag of 16 to 64 octets.
    pub fn parse(text: &str) -> Result<Self, SecretTextError> {
        let bad = SecretTextError("expected $argon2id$v=19$m=...,t=...,p=...$salt$hash");
        let mut parts = text.split('$');
        let head = (parts.next(), parts.next(), parts.next());
        if head != (Some(""), Some("argon2id"), Some("v=19")) {
            return Err(bad);
        }
        let (Some(costs), Some(salt), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad);
        };
        let mut costs = costs.split(',');
        let mut cost =
            |name: &str| -> Option<u32> { costs.next()?.strip_prefix(name)?.parse().ok() };
        let (Some(memory_kib), Some(passes), Some(lanes)) = (cost("m="), cost("t="), cost("p="))
        else {
            return Err(bad);
        };
        let salt = Base64Unpadded::decode_vec(salt).map_err(|_| bad)?;
        let tag = SecretBytes::new(Base64Unpadded::decode_vec(tag).map_err(|_| bad)?);
        if costs.next().is_some() {
            return Err(OUT_OF_RANGE);
        }
        Argon2id {
            memory_kib,
            passes,
            lanes,
            salt,
            tag,
        }
        .in_range()
    }

    /// For a record: memory, passes and lanes of 4 octets each, the salt after its length, the tag.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        for cost in [self.memory_kib, self.passes, self.lanes] {
            out.extend_from_slice(&cost.to_be_bytes());
        }
        put_counted(out, &self.salt);
        out.extend_from_slice(self.tag.expose());
    }

    pub(super) fn unpack(mut octets: Octets<'_>) -> Result<Self, SecretTextError> {
        Argon2id {
            memory_kib: octets.u32().ok_or(MALFORMED)?,
            passes: octets.u32().ok_or(MALFORMED)?,
            lanes: octets.u32().ok_or(MALFORMED)?,
            salt: octets.counted().ok_or(MALFORMED)?.to_vec(),
            tag: SecretBytes::new(octets.rest().to_vec()),
        }
        .in_range()
    }

    fn in_range(self) -> Result<Self, SecretTextError> {
        let in_range = (1..=MAX_LANES).contains(&self.lanes)
            && (1..=MAX_PASSES).contains(&self.passes)
            && (8 * self.lanes..=MAX_MEMORY_KIB).contains(&self.memory_kib)
            && (8..=64).contains(&self.salt.len())
            && (16..=64).contains(&self.tag.expose().len());
        in_range.then_some(self).ok_or(OUT_OF_RANGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with the reference program: `printf pencil | argon2 saltsaltsaltsalt -id -t 2 -k 19456 -p 1`.
    const PENCIL: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$kJa3764BDCbRaqsA6kPR946Pw83dbuP/beG+9z5NRwk";

    #[test]
    fn the_reference_program_agrees() {
        let derived = Argon2id::derive(b"pencil", b"saltsaltsaltsalt").unwrap();
        assert_eq!(derived.to_text(), PENCIL);
        let stored = Argon2id::parse(PENCIL).unwrap();
        assert!(stored.verify(b"pencil").unwrap());
        assert!(!stored.verify(b"Pencil").unwrap());
        let dummy = Argon2id::costing(derived.price()).unwrap();
        assert!(!dummy.verify(b"pencil").unwrap());
        assert_eq!((dummy.memory_kib, dummy.passes), (MEMORY_KIB, PASSES));
    }

    #[test]
    fn a_price_is_paid_to_the_last_blocks() {
        assert!(Argon2id::costing(0).is_none());
        assert!(Argon2id::costing(15).is_none());
        for price in [16, 38_912, 196_608, 1_000_001, 64 * 262_144] {
            let dummy = Argon2id::costing(price).unwrap();
            let off = price - dummy.price();
            assert!(off < u64::from(dummy.passes), "{price}: {off} off");
            assert!(dummy.in_range().is_ok(), "{price}");
        }
    }

    #[test]
    fn other_strings_are_refused() {
        let ok = PENCIL;
        for bad in [
            String::new(),
            "$argon2id$v=19".to_owned(),
            ok.replace("argon2id", "argon2i"),
            ok.replace("v=19", "v=16"),
            ok.replace("m=19456", "m=4000000000"),
            ok.replace("t=2", "t=0"),
            ok.replace("p=1", "p=99"),
            ok.replace("p=1", "p=1,x=2"),
            format!("{ok}$x"),
            format!("{ok}*"),
        ] {
            assert!(Argon2id::parse(&bad).is_err(), "{bad}");
        }
    }
}
