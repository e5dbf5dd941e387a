//! What a file allows beyond its mode: the POSIX access list and the SELinux label.
//!
//! Where a file has a list, the group bits of its mode are the list's mask, not what the group may
//! do (acl(5)); a copy of the mode alone shuts named users out and may let the group in.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::disk::{Disk, patiently};

/// The attribute of the access list (acl(5)).
const ACL: &CStr = c"system.posix_acl_access";
/// The attribute of the label.
const LABEL: &CStr = c"security.selinux";
/// The most octets that the system lets an attribute have (XATTR_SIZE_MAX).
const MAX_OCTETS: usize = 65_536;
/// The list's version, a 32-bit number before its entries.
const HEAD_OCTETS: usize = 4;
/// An entry: tag and permissions of 16 bits, and an id of 32, in the order of little-endian machines.
const ENTRY_OCTETS: usize = 8;
/// The tag of the owning group's entry (ACL_GROUP_OBJ).
const GROUP: u16 = 4;

/// The attributes that a new file takes over from the one it replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    acl: Option<Vec<u8>>,
    label: Option<Vec<u8>>,
}

impl Attributes {
    /// Those of a file.
    ///
    /// # Errors
    /// When its access list can't be read. A system without such lists has none.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Attributes {
            acl: get(file, ACL)?,
            // A label is the system's affair; without a module for it there is none.
            label: get(file, LABEL).unwrap_or_default(),
        })
    }

    /// Whether there is an access list.
    pub(super) fn has_list(&self) -> bool {
        self.acl.is_some()
    }

    /// The mode that allows nobody more than the file did, where the list itself can't be given on.
    pub(super) fn narrowed(&self, mode: u32) -> u32 {
        match &self.acl {
            None => mode,
            Some(acl) => mode & !0o070 | mode & group_bits(acl) << 3,
        }
    }

    /// Gives them to a file that has its owner and the [narrowed](Attributes::narrowed) mode. A file
    /// system that refuses leaves it at that.
    pub(super) fn give(&self, disk: &dyn Disk, file: &File) -> io::Result<()> {
        match &self.acl {
            Some(acl) => lenient(disk.set_attribute(file, ACL, acl)),
            None => Ok(()),
        }?;
        match &self.label {
            Some(label) if get(file, LABEL).ok().flatten().as_ref() != Some(label) => {
                lenient(disk.set_attribute(file, LABEL, label))
            }
            _ => Ok(()),
        }
    }

    /// Takes the list away that a file got from its folder's default, if the file it replaces
    /// had none.
    pub(super) fn take_foreign(&self, disk: &dyn Disk, file: &File) -> io::Result<()> {
        match self.acl.is_none() && get(file, ACL)?.is_some() {
            true => disk.remove_attribute(file, ACL),
            false => Ok(()),
        }
    }
}

/// What the owning group may do: three bits. None of a list that makes no sense.
fn group_bits(acl: &[u8]) -> u32 {
    let entries = acl.get(HEAD_OCTETS..).unwrap_or_default();
    let bits = entries
        .chunks_exact(ENTRY_OCTETS)
        .find_map(|entry| match entry {
            [t0, t1, p0, p1, ..] if u16::from_le_bytes([*t0, *t1]) == GROUP => {
                Some(u16::from_le_bytes([*p0, *p1]))
            }
            _ => None,
        });
    u32::from(bits.unwrap_or(0) & 7)
}

/// Who may not set an attribute, or can't, goes without.
fn lenient(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if is_refusal(&error) => Ok(()),
        done => done,
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTSUP | libc::EPERM | libc::EACCES | libc::EINVAL | libc::ENOSYS)
    )
}

/// An attribute of a file; none where it has none, or the file system has no such thing.
#[allow(unsafe_code)] // fgetxattr has no safe form in std
fn get(file: &File, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut octets = vec![0_u8; MAX_OCTETS];
    let read = patiently(|| {
        // SAFETY: the name is a C string, the buffer is as long as is said, and both outlive the call.
        let got = unsafe {
            libc::fgetxattr(
                file.as_raw_fd(),
                name.as_ptr(),
                octets.as_mut_ptr().cast(),
                octets.len(),
            )
        };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    });
    match read {
        Ok(got) => {
            octets.truncate(got);
            Ok(Some(octets))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) || is_refusal(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Notes what is set, which needs a system with labels otherwise.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<(String, Vec<u8>)>>);

    impl Disk for Noting {
        fn set_attribute(&self, _: &File, name: &CStr, octets: &[u8]) -> io::Result<()> {
            let name = name.to_string_lossy().into_owned();
            self.0.lock().unwrap().push((name, octets.to_vec()));
            Ok(())
        }
    }

    #[test]
    fn the_list_and_the_label_are_given_on() {
        let file = tempfile::tempfile().unwrap();
        let disk = Noting::default();
        let label = b"system_u:object_r:etc_mail_t:s0\0";
        let had = Attributes {
            acl: Some(vec![2]),
            label: Some(label.to_vec()),
        };
        had.give(&disk, &file).unwrap();
        Attributes::default().give(&disk, &file).unwrap();
        let want = [
            ("system.posix_acl_access", vec![2]),
            ("security.selinux", label.to_vec()),
        ];
        let want = want.map(|(name, octets)| (name.to_owned(), octets));
        assert_eq!(*disk.0.lock().unwrap(), want);
    }

    #[test]
    fn the_groups_own_entry_counts_and_not_the_mask() {
        let entry = |tag: u16, bits: u16| {
            let id = u32::MAX.to_le_bytes();
            [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id].concat()
        };
        // user::rw- user:X:r-- group::--- mask::r-- other::---
        let list = [(1, 6), (2, 4), (4, 0), (16, 4), (32, 0)];
        let entries: Vec<u8> = list.iter().flat_map(|(t, b)| entry(*t, *b)).collect();
        let acl = [&2_u32.to_le_bytes()[..], &entries].concat();
        let with = |acl: &[u8]| Attributes {
            acl: Some(acl.to_vec()),
            label: None,
        };
        assert_eq!(with(&acl).narrowed(0o640), 0o600);
        for damaged in [&acl[..3], &acl[..10], b""] {
            assert_eq!(with(damaged).narrowed(0o640), 0o600);
        }
        assert_eq!(Attributes::default().narrowed(0o640), 0o640);
    }
}
