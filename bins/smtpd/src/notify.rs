//! Telling a service manager how we are (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

/// Sends one state line to the socket of `NOTIFY_SOCKET`, if there is one.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A manager that does not listen is its own affair.
    let _ = socket.send_to(state.as_bytes(), path);
}
