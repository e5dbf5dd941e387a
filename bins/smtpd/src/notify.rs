//! Telling a service manager how we are (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

/// The manager's socket, connected to while we are root: it may be root's alone.
static SOCKET: OnceLock<Option<UnixDatagram>> = OnceLock::new();

/// Connects to the service manager, if there is one.
pub fn prepare() {
    SOCKET.get_or_init(|| {
        let path = std::env::var_os("NOTIFY_SOCKET")?;
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        Some(socket)
    });
}

/// Tells that a reload has begun; `Type=notify-reload` wants the moment too.
pub fn reloading() {
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()));
}

#[allow(unsafe_code)] // std does not tell the clock's own count.
fn monotonic_usec() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

/// Sends one state line to the socket of `NOTIFY_SOCKET`, if there is one.
pub fn notify(state: &str) {
    let prepared = SOCKET.get().and_then(Option::as_ref);
    if prepared.is_some_and(|socket| socket.send(state.as_bytes()).is_ok()) {
        return;
    }
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A manager that does not listen is its own affair.
    let _ = socket.send_to(state.as_bytes(), path);
}
