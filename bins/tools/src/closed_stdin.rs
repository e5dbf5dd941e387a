//! Whether the program was started with standard input closed.
//!
//! Before `main`, std gives a closed descriptor 0 to /dev/null, so that no file that is
//! opened later becomes standard input; from then on nobody can tell it from an empty one.
//! So this looks before std does.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether descriptor 0 was closed when the program was started.
#[must_use]
pub fn was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

#[used]
#[allow(unsafe_code)]
// only the loader runs code before std
// SAFETY: the section holds functions that the loader calls once each, as C functions whose
// arguments may be left unread.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

#[allow(unsafe_code)] // fcntl has no safe form in std
extern "C" fn look() {
    // SAFETY: the call looks a descriptor up and changes nothing.
    let flags = unsafe { libc::fcntl(libc::STDIN_FILENO, libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}
