//! HMAC, hash and key stretching over the digests of SCRAM (RFC 5802 section 2.2).

use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Octets of a computation with a secret: wiped when dropped.
pub(crate) type Key = Zeroizing<Vec<u8>>;

/// The digest under a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScramHash {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

#[cfg(test)]
thread_local! {
    /// The iterations that this thread has done: what a login costs, without a clock.
    pub(crate) static STRETCHED: std::cell::RefCell<std::collections::BTreeMap<ScramHash, u64>> =
        const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
}

impl ScramHash {
    /// Octets of a digest.
    #[must_use]
    pub fn digest_octets(self) -> usize {
        match self {
            ScramHash::Sha1 => 20,
            ScramHash::Sha256 => 32,
        }
    }

    /// The mechanism's name, without `-PLUS`.
    #[must_use]
    pub fn mechanism_name(self) -> &'static str {
        match self {
            ScramHash::Sha1 => "SCRAM-SHA-1",
            ScramHash::Sha256 => "SCRAM-SHA-256",
        }
    }

    /// `H(data)`.
    pub(crate) fn digest(self, data: &[u8]) -> Key {
        match self {
            ScramHash::Sha1 => Zeroizing::new(Sha1::digest(data).to_vec()),
            ScramHash::Sha256 => Zeroizing::new(Sha256::digest(data).to_vec()),
        }
    }

    /// The digest of the other mechanism.
    pub(crate) fn other(self) -> ScramHash {
        match self {
            ScramHash::Sha1 => ScramHash::Sha256,
            ScramHash::Sha256 => ScramHash::Sha1,
        }
    }

    /// `HMAC(key, data)`.
    pub(crate) fn hmac(self, key: &[u8], data: &[u8]) -> Key {
        match self {
            ScramHash::Sha1 => sign(&keyed::<Sha1>(key), &[data]),
            ScramHash::Sha256 => sign(&keyed::<Sha256>(key), &[data]),
        }
    }

    /// `Hi(password, salt, iterations)`: PBKDF2 with a single block of output.
    pub(crate) fn stretch(self, password: &[u8], salt: &[u8], iterations: u32) -> Key {
        #[cfg(test)]
        STRETCHED.with_borrow_mut(|sums| *sums.entry(self).or_default() += u64::from(iterations));
        match self {
            ScramHash::Sha1 => hi(&keyed::<Sha1>(password), salt, iterations),
            ScramHash::Sha256 => hi(&keyed::<Sha256>(password), salt, iterations),
        }
    }
}

/// HMAC-SHA-256, for what is no SCRAM: the salts of accounts that do not exist.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Key {
    sign(&keyed::<Sha256>(key), parts)
}

/// An HMAC keyed with `key`, which is hashed first where it is longer than a block (RFC 2104).
fn keyed<D: EagerHash>(key: &[u8]) -> Hmac<D> {
    let mut block = hmac::digest::Key::<Hmac<D>>::default();
    let hashed;
    let short = if key.len() > block.len() {
        hashed = D::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(short) {
        *to = *from;
    }
    let mac = Hmac::<D>::new(&block);
    zeroize::Zeroize::zeroize(block.as_mut_slice());
    mac
}

fn sign<D: EagerHash>(mac: &Hmac<D>, parts: &[&[u8]]) -> Key {
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

fn hi<D: EagerHash>(mac: &Hmac<D>, salt: &[u8], iterations: u32) -> Key {
    let mut first = mac.clone();
    first.update(salt);
    first.update(&1u32.to_be_bytes());
    let mut u = first.finalize().into_bytes();
    let mut sum = u.clone();
    for _ in 1..iterations {
        let mut next = mac.clone();
        next.update(&u);
        u = next.finalize().into_bytes();
        for (s, o) in sum.iter_mut().zip(&u) {
            *s ^= *o;
        }
    }
    Zeroizing::new(sum.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// RFC 6070, the vectors of one block.
    #[test]
    fn pbkdf2_of_sha1() {
        for (iterations, want) in [
            (1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
            (2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
            (4096, "4b007901b765489abead49d926f721d065a429c1"),
        ] {
            let got = hex(&ScramHash::Sha1.stretch(b"password", b"salt", iterations));
            assert_eq!(got, want, "{iterations}");
        }
    }

    /// RFC 2202 cases 1 and 6; RFC 4231 cases 1 and 6: short keys and keys longer than a block.
    #[test]
    fn hmac_of_both_digests() {
        let long = [0xaa; 131];
        let test = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(&ScramHash::Sha1.hmac(&[0x0b; 20], b"Hi There")),
            "b617318655057264e28bc0b6fb378c8ef146be00"
        );
        assert_eq!(
            hex(&ScramHash::Sha1.hmac(&[0xaa; 80], test)),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
        assert_eq!(
            hex(&ScramHash::Sha256.hmac(&[0x0b; 20], b"Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(&ScramHash::Sha256.hmac(&long, test)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
