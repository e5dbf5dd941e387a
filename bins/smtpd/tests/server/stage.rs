//! What several of these tests do: set modes, build aliases, send, look at a process.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::client::Client;
use crate::site::{Server, Site};

/// Whether this process can become any user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn mode(site: &Site, name: &str, mode: u32) {
    fs::set_permissions(site.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn aliases(site: &Site, text: &str) {
    site.write("etc/mail/aliases", text);
    smtpd::tables::build_aliases(&site.path("etc/mail/aliases")).unwrap();
}

/// Sends a message in a session of its own.
pub(crate) fn send(server: &Server, to: &str) {
    let (mut client, _) = Client::hello(server.only_port());
    send_by(&mut client, to);
}

/// Sends a message in this session.
pub(crate) fn send_by(client: &mut Client, to: &str) {
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        (&format!("RCPT TO:<{to}>"), "250 "),
        ("DATA", "354"),
        (&format!("Subject: to {to}\r\n\r\nhello\r\n."), "250 "),
    ]);
}

/// The words of a line of the process's status.
pub(crate) fn status(pid: u32, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let words = line.split_whitespace().skip(1);
    words.map(str::to_owned).collect()
}
