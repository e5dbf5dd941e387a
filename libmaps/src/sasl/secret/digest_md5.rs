//! DIGEST-MD5: MD5(user:realm:password), the hash that RFC 2831 calls A1's first part.
//!
//! It holds for one spelling of the name and one realm, so an account has
//! several: one for `alice` in its own realm, and one for each realm in which a
//! client may log in as `alice@example.org`.

use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};

use super::record::{MALFORMED, Octets, put_counted};
use super::{SecretTextError, from_hex, to_hex};
use crate::sasl::key::UserId;
use crate::sasl::password::SecretBytes;

/// How many realms an account's hashes may name.
const MAX_REALMS: usize = 16;

/// As long as a host's name may be; in a longer realm there is no hash for `user@realm`.
const MAX_REALM_OCTETS: usize = 255;

/// The hashes of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestMd5 {
    own: SecretBytes,
    qualified: Vec<(Vec<u8>, SecretBytes)>,
}

impl DigestMd5 {
    /// Hashes for `authid` in the account's realm, and for `authid@realm` in that
    /// realm and in each of `server_realms`.
    #[must_use]
    pub fn derive(user: &UserId, password: &[u8], server_realms: &[&[u8]]) -> Self {
        let full = [user.authid(), b"@", user.realm()].concat();
        let mut realms: Vec<&[u8]> = vec![user.realm()];
        for realm in server_realms.iter().take(MAX_REALMS - 1) {
            if !realms.contains(realm) {
                realms.push(realm);
            }
        }
        DigestMd5 {
            own: hash_user(user.authid(), user.realm(), password),
            qualified: realms
                .into_iter()
                .filter(|realm| realm.len() <= MAX_REALM_OCTETS)
                .map(|realm| (realm.to_vec(), hash_user(&full, realm, password)))
                .collect(),
        }
    }

    /// A hash that belongs to no password, for accounts that do not exist.
    #[must_use]
    pub fn dummy() -> Self {
        DigestMd5 {
            own: SecretBytes::new(vec![0; 16]),
            qualified: Vec::new(),
        }
    }

    /// The hash for the name and realm that a client sent; `None`: there is none
    /// for that spelling.
    #[must_use]
    pub fn for_response(
        &self,
        user: &UserId,
        username: &[u8],
        realm: &[u8],
    ) -> Option<&SecretBytes> {
        if username == user.authid() {
            return (realm == user.realm()).then_some(&self.own);
        }
        let mut known = self.qualified.iter();
        known.find(|(r, _)| r == realm).map(|(_, hash)| hash)
    }

    /// Whether this is the password's hash; for accounts that have no other.
    pub(crate) fn verify(&self, user: &UserId, password: &[u8]) -> bool {
        hash_user(user.authid(), user.realm(), password) == self.own
    }

    /// 32 hexadecimal digits, then `,REALM:HASH` for each further one, the realm in base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        let hex =
            |s: &SecretBytes| String::from_utf8_lossy(to_hex(s.expose()).expose()).into_owned();
        let mut text = hex(&self.own);
        for (realm, hash) in &self.qualified {
            text.push(',');
            text.push_str(&Base64::encode_string(realm));
            text.push(':');
            text.push_str(&hex(hash));
        }
        text
    }

    /// Reads what [`DigestMd5::to_text`] writes.
    ///
    /// # Errors
    /// Anything else; more than 16 realms.
    pub fn parse(text: &str) -> Result<Self, SecretTextError> {
        let bad = SecretTextError("expected 32 hexadecimal digits");
        let hash = |text: &str| -> Result<SecretBytes, SecretTextError> {
            let octets = from_hex(text.as_bytes()).filter(|o| o.len() == 16);
            octets.map(SecretBytes::new).ok_or(bad)
        };
        let mut parts = text.split(',');
        let own = hash(parts.next().unwrap_or_default())?;
        let mut qualified = Vec::new();
        for part in parts {
            let (realm, digits) = part.split_once(':').ok_or(bad)?;
            let (realm, hash) = (Base64::decode_vec(realm).map_err(|_| bad)?, hash(digits)?);
            if realm.len() <= MAX_REALM_OCTETS {
                qualified.push((realm, hash));
            }
        }
        if qualified.len() > MAX_REALMS {
            return Err(SecretTextError("DIGEST-MD5 hashes for too many realms"));
        }
        Ok(DigestMd5 { own, qualified })
    }

    /// For a record: the hash of the name in its own realm, then for each further one the realm
    /// after its length, and the hash.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.own.expose());
        for (realm, hash) in &self.qualified {
            put_counted(out, realm);
            out.extend_from_slice(hash.expose());
        }
    }

    pub(super) fn unpack(mut octets: Octets<'_>) -> Result<Self, SecretTextError> {
        let hash = |octets: &mut Octets<'_>| -> Result<SecretBytes, SecretTextError> {
            let hash = octets.take(16).ok_or(MALFORMED)?;
            Ok(SecretBytes::new(hash.to_vec()))
        };
        let own = hash(&mut octets)?;
        let mut qualified = Vec::new();
        while !octets.is_empty() {
            if qualified.len() == MAX_REALMS {
                return Err(MALFORMED);
            }
            let realm = octets.counted().ok_or(MALFORMED)?.to_vec();
            qualified.push((realm, hash(&mut octets)?));
        }
        Ok(DigestMd5 { own, qualified })
    }

    /// Takes the 16 octets that libsasl kept as `cmusaslsecretDIGEST-MD5`.
    pub(crate) fn from_libsasl(octets: &[u8]) -> Option<Self> {
        (octets.len() == 16).then(|| DigestMd5 {
            own: SecretBytes::new(octets.to_vec()),
            qualified: Vec::new(),
        })
    }
}

/// `H(username:realm:password)`, each part in ISO 8859-1 where it can be written
/// in that (RFC 2831 section 2.1.2.1).
#[must_use]
pub fn hash_user(username: &[u8], realm: &[u8], password: &[u8]) -> SecretBytes {
    let mut md5 = Md5::new();
    for (i, part) in [username, realm, password].into_iter().enumerate() {
        if i > 0 {
            md5.update(b":");
        }
        match latin1(part) {
            Some(octets) => md5.update(octets.expose()),
            None => md5.update(part),
        }
    }
    SecretBytes::new(md5.finalize().to_vec())
}

/// UTF-8 as ISO 8859-1; `None`: it is no UTF-8, or has other characters, or is ASCII anyhow.
fn latin1(octets: &[u8]) -> Option<SecretBytes> {
    if octets.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(octets).ok()?;
    let narrow: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    narrow.ok().map(SecretBytes::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(secret: &SecretBytes) -> String {
        String::from_utf8(to_hex(secret.expose()).expose().to_vec()).unwrap()
    }

    #[test]
    fn a_hash_for_each_spelling() {
        let user = UserId::new(b"chris", b"example.org").unwrap();
        let secret = DigestMd5::derive(&user, b"secret", &[b"elwood.innosoft.com"]);
        let cases = [
            ("chris", "example.org", "chris:example.org:secret"),
            (
                "chris@example.org",
                "example.org",
                "chris@example.org:example.org:secret",
            ),
            (
                "chris@example.org",
                "elwood.innosoft.com",
                "chris@example.org:elwood.innosoft.com:secret",
            ),
        ];
        for (name, realm, hashed) in cases {
            let got = secret.for_response(&user, name.as_bytes(), realm.as_bytes());
            let want = SecretBytes::new(Md5::digest(hashed).to_vec());
            assert_eq!(got, Some(&want), "{name} {realm}");
        }
        for (name, realm) in [("chris", ""), ("chris@example.org", "other")] {
            assert_eq!(
                secret.for_response(&user, name.as_bytes(), realm.as_bytes()),
                None
            );
        }
    }

    #[test]
    fn latin_letters_are_hashed_as_8859_1() {
        let want = Md5::digest(b"j\xfcrgen:r:\xe4").to_vec();
        let got = hash_user("j\u{fc}rgen".as_bytes(), b"r", "\u{e4}".as_bytes());
        assert_eq!(got, SecretBytes::new(want));
        let euro = Md5::digest("u:r:\u{20ac}").to_vec();
        assert_eq!(
            hash_user(b"u", b"r", "\u{20ac}".as_bytes()),
            SecretBytes::new(euro)
        );
    }

    #[test]
    fn text_goes_round() {
        let user = UserId::new(b"chris", b"elwood.innosoft.com").unwrap();
        let secret = DigestMd5::derive(&user, b"secret", &[b"", b"host"]);
        let text = secret.to_text();
        assert!(
            text.starts_with("eb5a750053e4d2c34aa84bbc9b0b6ee7"),
            "{text}"
        );
        assert_eq!(hex(&secret.own), text[..32]);
        assert_eq!(DigestMd5::parse(&text).unwrap(), secret);
        assert_eq!(DigestMd5::parse(&text[..32]).unwrap().qualified, vec![]);
        for bad in ["", "00", &text[1..], &text[..40], "x,y"] {
            assert!(DigestMd5::parse(bad).is_err(), "{bad}");
        }
    }
}
