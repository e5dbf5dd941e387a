//! getpwnam_r(3) and getspnam_r(3): accounts by the system's name service.

use std::ffi::{CStr, CString, c_char};
use std::{io, mem, ptr};

use zeroize::{Zeroize, Zeroizing};

use crate::mech::accounts::Shadow;

/// Room for an entry's strings; more is asked for up to the limit. In octets.
const ROOM_OCTETS: usize = 4096;
const ROOM_LIMIT_OCTETS: usize = 1 << 20;

/// The hash in the passwd entry of a login; `None` where there is no such entry.
///
/// # Errors
/// The name service can't tell.
pub fn passwd(login: &[u8]) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let Ok(login) = CString::new(login) else {
        return Ok(None);
    };
    with_room(|room| {
        // SAFETY: all-zero is a valid value of this plain C struct.
        let mut entry: libc::passwd = unsafe { mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: every pointer is to memory that lives through the call, and
        // the length is that of `room`.
        let code = unsafe {
            libc::getpwnam_r(
                login.as_ptr(),
                &mut entry,
                room.as_mut_ptr().cast(),
                room.len(),
                &mut found,
            )
        };
        if found.is_null() {
            return Found::from_code(code);
        }
        // SAFETY: the call succeeded, so the string is in `room`.
        Found::Entry(unsafe { octets(entry.pw_passwd) })
    })
}

/// The shadow entry of a login; `None` where there is no such entry.
///
/// # Errors
/// The name service can't tell, or this process may not read shadow(5).
pub fn shadow(login: &[u8]) -> io::Result<Option<Shadow>> {
    let Ok(login) = CString::new(login) else {
        return Ok(None);
    };
    with_room(|room| {
        // SAFETY: all-zero is a valid value of this plain C struct.
        let mut entry: libc::spwd = unsafe { mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: as for getpwnam_r above.
        let code = unsafe {
            libc::getspnam_r(
                login.as_ptr(),
                &mut entry,
                room.as_mut_ptr().cast(),
                room.len(),
                &mut found,
            )
        };
        if found.is_null() {
            return Found::from_code(code);
        }
        let day = |n: i64| (n >= 0).then_some(n);
        Found::Entry(Shadow {
            // SAFETY: the call succeeded, so the string is in `room`.
            hash: unsafe { octets(entry.sp_pwdp) },
            last_change: day(entry.sp_lstchg),
            max_days: day(entry.sp_max),
            expires: day(entry.sp_expire),
        })
    })
}

enum Found<T> {
    Entry(T),
    Nothing,
    MoreRoom,
    Failed(i32),
}

impl<T> Found<T> {
    /// What a call without a result means; the codes for "no such entry" are
    /// those that getpwnam(3) lists.
    fn from_code(code: i32) -> Self {
        match code {
            0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => Found::Nothing,
            libc::ERANGE => Found::MoreRoom,
            code => Found::Failed(code),
        }
    }
}

fn with_room<T>(mut call: impl FnMut(&mut [u8]) -> Found<T>) -> io::Result<Option<T>> {
    let mut octets = ROOM_OCTETS;
    loop {
        let mut room = Zeroizing::new(vec![0; octets]);
        let found = call(&mut room);
        room.zeroize();
        match found {
            Found::Entry(entry) => return Ok(Some(entry)),
            Found::Nothing => return Ok(None),
            Found::MoreRoom if octets < ROOM_LIMIT_OCTETS => octets *= 4,
            Found::MoreRoom => return Err(io::Error::from_raw_os_error(libc::ERANGE)),
            Found::Failed(code) => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// A copy of a C string; empty for null.
///
/// # Safety
/// The pointer is null or to a C string.
unsafe fn octets(text: *const c_char) -> Zeroizing<Vec<u8>> {
    if text.is_null() {
        return Zeroizing::default();
    }
    // SAFETY: the caller says so.
    let text = unsafe { CStr::from_ptr(text) };
    Zeroizing::new(text.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nonsense_is_absent() {
        assert!(passwd(b"root").unwrap().is_some());
        for login in [b"no such user".as_slice(), b"", b"a\0b", &[b'x'; 5000]] {
            assert!(passwd(login).unwrap().is_none());
        }
    }
}
