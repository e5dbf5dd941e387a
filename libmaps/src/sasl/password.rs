//! Octets that must not be shown, and the password made of them.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The longest password that is stored or checked, in octets.
///
/// A SASL response is at most 12,288 octets of base64 (RFC 4954 section 4),
/// which leaves room for a name beside this.
pub const MAX_PASSWORD_OCTETS: usize = 8192;

/// Octets that nobody may see: wiped when dropped, printed as `<secret>`,
/// compared in constant time.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the octets; the caller's buffer is the one that is kept and wiped.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        SecretBytes(Zeroizing::new(octets))
    }

    /// The octets, for the computation that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A password as it was typed or sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(SecretBytes);

/// Why octets are no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing at all.
    #[error("the password is empty")]
    Empty,
    /// A NUL, at which C programs would cut.
    #[error("the password holds a NUL")]
    Nul,
    /// More than [`MAX_PASSWORD_OCTETS`].
    #[error("the password is longer than {MAX_PASSWORD_OCTETS} octets")]
    TooLong,
}

impl Password {
    /// A password that can be stored: 1 to [`MAX_PASSWORD_OCTETS`] octets, no NUL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(octets: Vec<u8>) -> Result<Self, PasswordError> {
        let secret = SecretBytes::new(octets);
        match secret.expose() {
            [] => Err(PasswordError::Empty),
            all if all.len() > MAX_PASSWORD_OCTETS => Err(PasswordError::TooLong),
            all if all.contains(&0) => Err(PasswordError::Nul),
            _ => Ok(Password(secret)),
        }
    }

    /// The octets as typed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let password = Password::new(b"tanstaaf".to_vec()).unwrap();
        let text = format!("{password} {password:?} {:?}", password.0);
        assert_eq!(text, "<secret> <secret> <secret>");
    }

    #[test]
    fn what_is_no_password() {
        for (octets, want) in [
            (vec![], PasswordError::Empty),
            (b"a\0b".to_vec(), PasswordError::Nul),
            (vec![b'x'; MAX_PASSWORD_OCTETS + 1], PasswordError::TooLong),
        ] {
            assert_eq!(Password::new(octets), Err(want));
        }
        assert!(Password::new(vec![b'x'; MAX_PASSWORD_OCTETS]).is_ok());
    }
}
