//! Our own server.

use std::fs;
use std::io;
use std::process::Command;

use super::server::{Role, done, log};
use super::site;
use crate::setting::Bench;

/// As it stands in tables.
pub(super) const TITLE: &str = "smtpd";

/// The command that starts it.
pub(super) fn command(bench: &Bench, role: Role, port: u16) -> io::Result<Command> {
    let root = site::folder(bench, "smtpd")?;
    site::lay_out(&root, role, port, "")?;
    let mut newaliases = Command::new(bench.program("newaliases")?);
    done(newaliases.arg("--root").arg(&root))?;
    if role == Role::Tables {
        for (name, text) in [
            ("access", site::access("REJECT")),
            ("virtusertable", site::virtual_users()),
        ] {
            let source = root.join("etc/mail").join(name);
            fs::write(&source, text)?;
            let mut makemap = Command::new(bench.program("makemap")?);
            makemap
                .arg("hash")
                .arg(&source)
                .stdin(fs::File::open(&source)?);
            done(&mut makemap)?;
        }
    }
    let mut command = Command::new(bench.program("smtpd")?);
    command.arg("--root").arg(&root);
    command.stderr(log(&root)?);
    Ok(command)
}
