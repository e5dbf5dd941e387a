//! Shared libraries that are loaded by name.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// A loaded library. Never unloaded: PAM and its modules don't survive that.
#[derive(Clone, Copy, Debug)]
pub struct Library(NonNull<c_void>);

// SAFETY: the handle is a token for dlsym(3), which any thread may use.
unsafe impl Send for Library {}
// SAFETY: as above; there is no mutable state behind the token.
unsafe impl Sync for Library {}

/// A library or a name in it is missing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// None of these could be loaded.
    #[error("can't load {0}")]
    Library(String),
    /// The library lacks this name.
    #[error("no {0} in the library")]
    Symbol(String),
}

impl Library {
    /// Loads the first of these names that the system has.
    ///
    /// # Errors
    /// [`LoadError::Library`] naming all of them.
    pub fn open(names: &[&CStr]) -> Result<Self, LoadError> {
        names
            .iter()
            .find_map(|name| {
                // SAFETY: the name is a C string; loading runs the constructors
                // of a system library, which is what is asked for. RTLD_GLOBAL:
                // PAM modules take libpam's names from the program.
                let handle =
                    unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
                NonNull::new(handle).map(Library)
            })
            .ok_or_else(|| {
                let all: Vec<_> = names.iter().map(|n| n.to_string_lossy()).collect();
                LoadError::Library(all.join(", "))
            })
    }

    /// The address of a name.
    ///
    /// # Errors
    /// [`LoadError::Symbol`].
    pub fn symbol(self, name: &CStr) -> Result<NonNull<c_void>, LoadError> {
        // SAFETY: the handle came from dlopen and is never closed; the name is a C string.
        let found = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        NonNull::new(found).ok_or_else(|| LoadError::Symbol(name.to_string_lossy().into_owned()))
    }
}
