//! The record `hashedPassword`: an account's secrets as a store keeps them.
//!
//! | octets | what |
//! |---|---|
//! | 1 | 1, the version of the record |
//! | for each secret: 1 | its kind: 1 argon2id, 2 SCRAM-SHA-256, 3 SCRAM-SHA-1, 4 CRAM-MD5, 5 DIGEST-MD5 |
//! | 2 | how many octets follow |
//! | ... | the secret, as its own `pack` says |
//!
//! Numbers are big-endian. This is half as long as the words of
//! [`Secrets::to_text`], and a store is written whole at each change. Stores of
//! earlier programs hold those words; they begin with `{`, and are read too.

use super::{Argon2id, CramMd5, DigestMd5, ScramSecret, SecretTextError, Secrets};
use crate::sasl::hash::ScramHash;
use crate::sasl::password::SecretBytes;

const VERSION: u8 = 1;

const ARGON2ID: u8 = 1;
const SCRAM_SHA_256: u8 = 2;
const SCRAM_SHA_1: u8 = 3;
const CRAM_MD5: u8 = 4;
const DIGEST_MD5: u8 = 5;

/// More than the secrets of any account but one whose name is kilo-octets long: a buffer
/// that grew would leave secrets behind.
const USUAL_OCTETS: usize = 1024;

/// What a record that can't be read is told to be.
pub(super) const MALFORMED: SecretTextError = SecretTextError("malformed secrets");

impl Secrets {
    /// The hashed secrets as a store keeps them; never the password.
    #[must_use]
    pub fn to_record(&self) -> SecretBytes {
        let mut out = Vec::with_capacity(USUAL_OCTETS);
        out.push(VERSION);
        if let Some(hash) = &self.argon2id {
            part(&mut out, ARGON2ID, |out| hash.pack(out));
        }
        if let Some(keys) = &self.scram_sha256 {
            part(&mut out, SCRAM_SHA_256, |out| keys.pack(out));
        }
        if let Some(keys) = &self.scram_sha1 {
            part(&mut out, SCRAM_SHA_1, |out| keys.pack(out));
        }
        if let Some(states) = &self.cram_md5 {
            part(&mut out, CRAM_MD5, |out| states.pack(out));
        }
        if let Some(hashes) = &self.digest_md5 {
            part(&mut out, DIGEST_MD5, |out| hashes.pack(out));
        }
        SecretBytes::new(out)
    }

    /// Reads what [`Secrets::to_record`] or, in an earlier program, [`Secrets::to_text`] wrote.
    ///
    /// # Errors
    /// Anything else; a kind of secret that this program does not know.
    pub fn from_record(record: &[u8]) -> Result<Self, SecretTextError> {
        let Some((&VERSION, rest)) = record.split_first() else {
            return Secrets::parse(record);
        };
        let mut all = Secrets::default();
        let mut octets = Octets(rest);
        while let Some(kind) = octets.next() {
            let length = octets.u16().ok_or(MALFORMED)?;
            let body = octets.take(usize::from(length)).ok_or(MALFORMED)?;
            let body = Octets(body);
            let was_there = match kind {
                ARGON2ID => all.argon2id.replace(Argon2id::unpack(body)?).is_some(),
                SCRAM_SHA_256 => {
                    let keys = ScramSecret::unpack(ScramHash::Sha256, body)?;
                    all.scram_sha256.replace(keys).is_some()
                }
                SCRAM_SHA_1 => {
                    let keys = ScramSecret::unpack(ScramHash::Sha1, body)?;
                    all.scram_sha1.replace(keys).is_some()
                }
                CRAM_MD5 => all.cram_md5.replace(CramMd5::unpack(body)?).is_some(),
                DIGEST_MD5 => all.digest_md5.replace(DigestMd5::unpack(body)?).is_some(),
                _ => return Err(SecretTextError("a kind of secret that is not known here")),
            };
            if was_there {
                return Err(MALFORMED);
            }
        }
        Ok(all)
    }
}

/// Writes one secret after its kind and length.
fn part(out: &mut Vec<u8>, kind: u8, pack: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    pack(out);
    // The longest are DIGEST-MD5's: seventeen hashes, sixteen realms of 255 octets.
    let length = out.len().saturating_sub(length_at + 2);
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(length_at..length_at + 2) {
        place.copy_from_slice(&length);
    }
}

/// What is left of a record that is being read.
#[derive(Clone, Copy)]
pub(super) struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*octets))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*octets))
    }

    /// So many octets as [`put_counted`] wrote.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let octets = self.next()?;
        self.take(octets.into())
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes at most 255 octets after their number.
pub(super) fn put_counted(out: &mut Vec<u8>, octets: &[u8]) {
    let count = u8::try_from(octets.len()).unwrap_or(u8::MAX);
    out.push(count);
    out.extend(octets.iter().take(count.into()));
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
