//! CRAM-MD5: the two half-done states of HMAC-MD5 (RFC 2195, RFC 2104).
//!
//! HMAC starts by hashing one block made of the key, twice. The two MD5 states
//! after those blocks answer every challenge, and the password can't be read
//! out of them. They do open CRAM-MD5 for whoever steals them.

use md5::block_api::compress;
use md5::{Digest, Md5};
use zeroize::{Zeroize, Zeroizing};

use super::record::{MALFORMED, Octets};
use super::{SecretTextError, from_hex, to_hex};
use crate::sasl::password::SecretBytes;

const BLOCK_OCTETS: usize = 64;
const MD5_START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The outer and inner state of HMAC-MD5 under a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CramMd5 {
    outer: SecretBytes,
    inner: SecretBytes,
}

impl CramMd5 {
    /// The states of a password, taken octet for octet: RFC 2195 prepares nothing.
    #[must_use]
    pub fn derive(password: &[u8]) -> Self {
        let mut key = Zeroizing::new([0u8; BLOCK_OCTETS]);
        if password.len() > BLOCK_OCTETS {
            copy(&mut *key, &Md5::digest(password));
        } else {
            copy(&mut *key, password);
        }
        CramMd5 {
            outer: first_block(&key, 0x5c),
            inner: first_block(&key, 0x36),
        }
    }

    /// States that belong to no password, for accounts that do not exist.
    #[must_use]
    pub fn dummy() -> Self {
        CramMd5 {
            outer: SecretBytes::new(vec![0; 16]),
            inner: SecretBytes::new(vec![0; 16]),
        }
    }

    /// HMAC-MD5 of a challenge, in lower-case hexadecimal, as the client sends it.
    #[must_use]
    pub fn response(&self, challenge: &[u8]) -> SecretBytes {
        let inner = finish(&self.inner, challenge);
        to_hex(&*finish(&self.outer, &*inner))
    }

    /// 64 hexadecimal digits: outer state, then inner, each word little-endian
    /// (what other mail programs write after `{CRAM-MD5}`).
    #[must_use]
    pub fn to_text(&self) -> String {
        let both = Zeroizing::new([self.outer.expose(), self.inner.expose()].concat());
        String::from_utf8_lossy(to_hex(&both).expose()).into_owned()
    }

    /// Reads what [`CramMd5::to_text`] writes.
    ///
    /// # Errors
    /// Anything but 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, SecretTextError> {
        let bad = SecretTextError("expected 64 hexadecimal digits");
        let both = Zeroizing::new(from_hex(text.as_bytes()).ok_or(bad)?);
        CramMd5::of_states(&both).ok_or(bad)
    }

    /// For a record: outer state, then inner, each word little-endian.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.outer.expose());
        out.extend_from_slice(self.inner.expose());
    }

    pub(super) fn unpack(mut octets: Octets<'_>) -> Result<Self, SecretTextError> {
        CramMd5::of_states(octets.rest()).ok_or(MALFORMED)
    }

    fn of_states(both: &[u8]) -> Option<Self> {
        let (outer, inner) = both.split_at_checked(16)?;
        (inner.len() == 16).then(|| CramMd5 {
            outer: SecretBytes::new(outer.to_vec()),
            inner: SecretBytes::new(inner.to_vec()),
        })
    }

    /// Reads the old `cmusaslsecretCRAM-MD5` of libsasl: inner state, then outer, big-endian words.
    pub(crate) fn from_libsasl(octets: &[u8]) -> Option<Self> {
        let (inner, outer) = octets.split_at_checked(16)?;
        if outer.len() != 16 {
            return None;
        }
        let swap = |half: &[u8]| -> SecretBytes {
            let words = half.chunks_exact(4);
            SecretBytes::new(words.flat_map(|w| w.iter().rev().copied()).collect())
        };
        Some(CramMd5 {
            outer: swap(outer),
            inner: swap(inner),
        })
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (t, f) in to.iter_mut().zip(from) {
        *t = *f;
    }
}

fn first_block(key: &[u8; BLOCK_OCTETS], pad: u8) -> SecretBytes {
    let mut block = key.map(|b| b ^ pad);
    let mut state = MD5_START;
    compress(&mut state, &[block]);
    block.zeroize();
    let octets = state.iter().flat_map(|w| w.to_le_bytes()).collect();
    state.zeroize();
    SecretBytes::new(octets)
}

/// Ends an MD5 that has taken one block: `rest`, then RFC 1321's padding.
fn finish(state: &SecretBytes, rest: &[u8]) -> Zeroizing<[u8; 16]> {
    let mut words = [0u32; 4];
    for (word, octets) in words.iter_mut().zip(state.expose().chunks_exact(4)) {
        *word = octets.iter().rev().fold(0, |w, b| (w << 8) | u32::from(*b));
    }
    let bits = ((BLOCK_OCTETS + rest.len()) as u64).wrapping_mul(8);
    let mut tail = Vec::with_capacity(rest.len() + 2 * BLOCK_OCTETS);
    tail.extend_from_slice(rest);
    tail.push(0x80);
    while tail.len() % BLOCK_OCTETS != BLOCK_OCTETS - 8 {
        tail.push(0);
    }
    tail.extend_from_slice(&bits.to_le_bytes());
    let (blocks, _) = tail.as_chunks::<BLOCK_OCTETS>();
    compress(&mut words, blocks);
    let mut digest = Zeroizing::new([0; 16]);
    for (to, word) in digest.chunks_exact_mut(4).zip(words) {
        copy(to, &word.to_le_bytes());
    }
    words.zeroize();
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secret: &SecretBytes) -> &str {
        std::str::from_utf8(secret.expose()).unwrap()
    }

    /// RFC 2195 section 2.
    #[test]
    fn the_vector_of_the_rfc() {
        let secret = CramMd5::derive(b"tanstaaftanstaaf");
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(
            shown(&secret.response(challenge)),
            "b913a602c7eda7a495b4e6e7334d3890"
        );
    }

    /// RFC 2202 section 2, cases 1, 2, 6 and 7: keys shorter and longer than a block.
    #[test]
    fn hmac_md5_of_any_key() {
        let long = [0xaa; 80];
        let cases: [(&[u8], &[u8], &str); 4] = [
            (&[0x0b; 16], b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "750c783e6ab0b503eaa86e310a5db738",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
                "6f630fad67cda0ee1fb1f562db3aa53e",
            ),
        ];
        for (key, data, want) in cases {
            assert_eq!(shown(&CramMd5::derive(key).response(data)), want);
        }
    }

    #[test]
    fn every_length_of_challenge_pads_rightly() {
        // 55, 56 and 64 are where MD5's padding changes its number of blocks.
        let secret = CramMd5::derive(b"pencil");
        for octets in [0, 1, 54, 55, 56, 63, 64, 65, 200] {
            let challenge = vec![b'c'; octets];
            let mut inner = Md5::new();
            let mut key = [0u8; 64];
            copy(&mut key, b"pencil");
            inner.update(key.map(|b| b ^ 0x36));
            inner.update(&challenge);
            let mut outer = Md5::new();
            outer.update(key.map(|b| b ^ 0x5c));
            outer.update(inner.finalize());
            let want = to_hex(&outer.finalize());
            assert_eq!(secret.response(&challenge), want, "{octets}");
        }
    }

    #[test]
    fn text_goes_round() {
        let secret = CramMd5::derive(b"pencil");
        let text = secret.to_text();
        assert_eq!(text.len(), 64);
        assert_eq!(CramMd5::parse(&text).unwrap(), secret);
        assert_eq!(CramMd5::parse(&text.to_uppercase()).unwrap(), secret);
        for bad in ["", "00", &text[1..], &format!("{text}00"), &"g".repeat(64)] {
            assert!(CramMd5::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn libsasl_kept_the_words_the_other_way_round() {
        let secret = CramMd5::derive(b"pencil");
        let swap = |s: &SecretBytes| -> Vec<u8> {
            s.expose()
                .chunks(4)
                .flat_map(|w| w.iter().rev().copied())
                .collect()
        };
        let old = [swap(&secret.inner), swap(&secret.outer)].concat();
        assert_eq!(CramMd5::from_libsasl(&old), Some(secret));
        assert_eq!(CramMd5::from_libsasl(&old[1..]), None);
    }
}
