//! Sockets that a service manager passes (sd_listen_fds(3)).

use std::os::fd::FromRawFd;

use socket2::Socket;

/// The first descriptor.
const FIRST: i32 = 3;
/// More are not taken.
const MOST: i32 = 64;

/// The sockets that were passed and that nobody has taken yet, with their names.
pub(super) struct Passed(Vec<(String, Socket)>);

impl Passed {
    /// Takes what was passed to this process. Descriptors that do not listen are left alone.
    ///
    /// Called once, before anything else is opened.
    #[allow(unsafe_code)] // A descriptor's number is all that the protocol gives.
    pub(super) fn take() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
        if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
            return Passed(Vec::new());
        }
        let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned);
        let passed = (FIRST..FIRST + count)
            .zip(names.chain(std::iter::repeat(String::new())))
            .filter(|(fd, _)| listens(*fd))
            // SAFETY: the manager gives these descriptors to this process, and nobody
            // else in it has taken them.
            .map(|(fd, name)| (name, unsafe { Socket::from_raw_fd(fd) }));
        Passed(passed.collect())
    }

    /// Those of this name, or all.
    pub(super) fn named(&mut self, name: Option<&str>) -> Vec<Socket> {
        let wanted = |given: &str| name.is_none_or(|name| name == given);
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(given, _)| wanted(given));
        self.0 = left;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }
}

/// Whether a descriptor is a socket that listens; it is then closed on exec.
#[allow(unsafe_code)]
fn listens(fd: i32) -> bool {
    let (mut listens, mut size) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: asks about a number, which need not be open; the places for the answer are ours.
    unsafe {
        let asked = libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &raw mut size,
        );
        asked == 0 && listens == 1 && libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) == 0
    }
}
