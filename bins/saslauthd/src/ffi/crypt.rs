//! crypt(3): the system's password hashes, by `crypt_r` of libcrypt.

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem;

use zeroize::{Zeroize, Zeroizing};

use super::library::{Library, LoadError};

type CryptR = unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void) -> *mut c_char;

/// Room for `struct crypt_data`: 32 KiB in libxcrypt, 131,232 octets in the C
/// library that came before it. In words, for its alignment.
const DATA_WORDS: usize = (256 << 10) / 8;

/// The system's crypt(3), with its working memory.
pub struct Crypt {
    crypt_r: CryptR,
    data: Box<[u64]>,
}

impl std::fmt::Debug for Crypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Crypt")
    }
}

impl Crypt {
    /// Loads libcrypt.
    ///
    /// # Errors
    /// The system has none.
    pub fn load() -> Result<Self, LoadError> {
        let library = Library::open(&[c"libcrypt.so.1", c"libcrypt.so.2", c"libcrypt.so"])?;
        let found = library.symbol(c"crypt_r")?;
        // SAFETY: crypt_r(3) has this type in every libcrypt.
        let crypt_r = unsafe { mem::transmute::<*mut c_void, CryptR>(found.as_ptr()) };
        Ok(Crypt {
            crypt_r,
            data: vec![0; DATA_WORDS].into_boxed_slice(),
        })
    }

    /// Whether this password has this hash. False for a hash of no known kind.
    pub fn verify(&mut self, password: &[u8], hash: &[u8]) -> bool {
        let made = self.hash(password, hash);
        made.is_some_and(|made| {
            // A failure token, such as `*0`, is not a hash.
            !made.starts_with(b"*") && same(&made, hash)
        })
    }

    /// Takes as long as [`Crypt::verify`], for an answer that is known.
    pub fn spend(&mut self, password: &[u8], setting: &[u8]) {
        let _ = self.hash(password, setting);
    }

    fn hash(&mut self, password: &[u8], setting: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        // A request's fields hold no NUL, nor do lines of shadow(5).
        let phrase = Secret(CString::new(password).ok()?);
        let setting = CString::new(setting).ok()?;
        // SAFETY: both are C strings that live through the call. `data` is
        // zeroed or was left by the call before, larger than any libcrypt's
        // struct crypt_data and aligned for it; `&mut self` keeps others out.
        let made = unsafe {
            (self.crypt_r)(
                phrase.0.as_ptr(),
                setting.as_ptr(),
                self.data.as_mut_ptr().cast(),
            )
        };
        let copy = if made.is_null() {
            None
        } else {
            // SAFETY: crypt_r gives a C string in `data`, which is still ours.
            let text = unsafe { CStr::from_ptr(made) };
            Some(Zeroizing::new(text.to_bytes().to_vec()))
        };
        self.data.zeroize();
        copy
    }
}

/// Compares without telling by its time where two hashes differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

/// A C string that is wiped.
struct Secret(CString);

impl Drop for Secret {
    fn drop(&mut self) {
        let mut octets = mem::take(&mut self.0).into_bytes_with_nul();
        octets.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_of_the_system() {
        let mut crypt = Crypt::load().unwrap();
        // Made with openssl passwd -6 and with mkpasswd(1); the password is `secret`.
        let sha512 = b"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
        assert!(crypt.verify(b"secret", sha512));
        assert!(!crypt.verify(b"Secret", sha512));
        for nothing in [b"".as_slice(), b"*", b"x", b"*0", b"$6$a\0b"] {
            assert!(!crypt.verify(b"secret", nothing));
            assert!(!crypt.verify(b"*0", nothing));
        }
        let made = crypt
            .hash(b"secret", b"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$")
            .unwrap();
        assert!(
            made.starts_with(b"$y$"),
            "yescrypt: {}",
            made.escape_ascii()
        );
        assert!(crypt.verify(b"secret", &made));
        assert!(crypt.data.iter().all(|w| *w == 0));
    }
}
