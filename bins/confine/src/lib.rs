//! Confinement: a process gives up, for good, what it does not need.
//!
//! What a server that was taken over may still do is what the kernel still lets it. So a
//! server that strangers talk to calls [`confine`] once it has all that only its start
//! needs, and before it has threads: threads and processes that begin later are confined
//! with it.
//!
//! | means | what is left |
//! |---|---|
//! | prctl(2) | nobody but root reads its memory, and no core file holds its keys |
//! | capabilities(7) | root is left the right to pass by the modes of files, and no other |
//! | landlock(7) | files are opened below the folders of its [`Reach`] and nowhere else |
//! | seccomp(2) | no programs, no other processes, no mounts, modules, tracing or raw sockets; nothing is typed into a terminal; no file's mode, owner or attributes are changed, none is made set-user-ID |
//!
//! What none of them guards is connect(2) to a UNIX socket that has a path: a process that is
//! still root's can ask other servers of the machine for what they do for root. So whoever can
//! calls [`leave_root`] before.
//!
//! A kernel that lacks one of them is no reason not to serve: what could not be done is in
//! [`Confined::lacking`], for the log. Refused system calls fail with EPERM; they do not end the
//! process, as a session of somebody else may be under way.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod calls;
mod files;
mod ordinary;
pub mod passing;
mod reach;

use std::io;

use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

pub use ordinary::leave_root;
pub use reach::Reach;

/// The capabilities that root keeps: queue, maps and drop folder may belong to others.
const KEPT: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER);

/// How far it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confined {
    /// What is in force, for people.
    pub done: Vec<String>,
    /// What this kernel does not do, or refuses.
    pub lacking: Vec<String>,
}

impl Confined {
    fn note(&mut self, what: &str, done: Result<String, String>) {
        match done {
            Ok(how) => self.done.push(how),
            Err(why) => self.lacking.push(format!("{what}: {why}")),
        }
    }
}

/// Confines the calling thread, and all that it will start, to this reach. It must be the
/// only thread.
#[must_use]
pub fn confine(reach: &Reach) -> Confined {
    let mut confined = Confined::default();
    let plain = |done: io::Result<()>, how: &str| match done {
        Ok(()) => Ok(how.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    confined.note("memory", plain(hide_memory(), "memory hidden"));
    confined.note("capabilities", plain(drop_capabilities(), "capabilities"));
    confined.note("landlock", files::restrict(reach));
    confined.note("seccomp", calls::restrict());
    confined
}

/// Keeps other processes of the same user from reading this one's memory, and the memory
/// out of core files.
///
/// # Errors
/// When the system refuses.
pub fn hide_memory() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    let now = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & KEPT,
            permitted: now.permitted & KEPT,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}
