//! An ordinary user in root's place.
//!
//! Sockets that have a path are no files to landlock(7): who is root may still ask systemd, or the
//! bus, for what they do for root. So a server that needs nothing of root's any more is root no
//! longer.

use std::fs;
use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Who is nobody where passwd(5) has no such user.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// Makes root the first of these users that /etc/passwd has, else nobody, in no group but his
/// own; whoever is an ordinary user stays who he is. This must be the only thread.
///
/// # Errors
/// Those of setresuid(2): in a container without that right root stays root.
pub fn leave_root(users: &[&str]) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.iter().find_map(|user| numbers(&passwd, user));
    let (uid, gid) = found.unwrap_or(NOBODY);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// The numbers of a user and his group, who are not root's.
fn numbers(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(user) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0 && gid != 0).then_some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_their_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\
                      daft:x:7\nsaslauth:x:76:76::/:/sbin/nologin\ngroup:x:5:0::/:/bin/sh\n";
        for (user, want) in [
            ("saslauth", Some((76, 76))),
            ("sasl", None),
            ("toor", None),
            ("group", None),
            ("daft", None),
        ] {
            assert_eq!(numbers(passwd, user), want, "{user}");
        }
    }
}
