//! The site that all servers have, as far as their configurations can say it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::server::Role;
use super::tls;
use crate::setting::Bench;

/// Clients that may wait to be accepted. Of sendmail's default, 10, more are told by the kernel to
/// try again, at last after a minute.
const BACKLOG: u32 = 128;

/// Entries of each table.
const ENTRIES: u32 = 100_000;

/// A folder of its own for a server, empty.
pub(super) fn folder(bench: &Bench, name: &str) -> io::Result<PathBuf> {
    let folder = bench.at(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    // Servers read it as other users.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&folder, open)?;
    fs::set_permissions(
        bench.folder(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    Ok(folder)
}

/// Lays a site out for ours and for sendmail; `more` goes into `sendmail.mc`.
pub(super) fn lay_out(root: &Path, role: Role, port: u16, more: &str) -> io::Result<()> {
    let mail = root.join("etc/mail");
    fs::create_dir_all(&mail)?;
    fs::create_dir_all(root.join("var/spool/mqueue"))?;
    let own = match role {
        Role::Holding => "define(`confDELIVERY_MODE', `queueonly')dnl\n".to_owned(),
        Role::Tables => "FEATURE(`access_db')dnl\nFEATURE(`blacklist_recipients')dnl\n\
             FEATURE(`virtusertable')dnl\nVIRTUSER_DOMAIN(`virtual.example')dnl\n"
            .to_owned(),
        Role::Tls => "define(`confSERVER_CERT', `/etc/mail/server.crt')dnl\n\
             define(`confSERVER_KEY', `/etc/mail/server.key')dnl\n"
            .to_owned(),
        // Named with its mailer: this host itself is no smart host.
        Role::Relaying(port) => format!(
            "define(`SMART_HOST', `relay:[127.0.0.1]')dnl\n\
             define(`RELAY_MAILER_ARGS', `TCP $h {port}')dnl\n"
        ),
    };
    let aliases = "/etc/mail/aliases";
    let mc = format!(
        "OSTYPE(`linux')dnl\n{more}define(`confDOMAIN_NAME', `mx.bench.example')dnl\n\
         define(`ALIAS_FILE', `{aliases}')dnl\ndefine(`confQUEUE_LA', `1000')dnl\n\
         define(`confREFUSE_LA', `1000')dnl\ndefine(`confTO_IDENT', `0s')dnl\n\
         define(`confMAX_NOOP_COMMANDS', `0')dnl\n\
         FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n{own}\
         DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}, Listen={BACKLOG}')dnl\n\
         MAILER(`local')dnl\nMAILER(`smtp')dnl\n",
    );
    fs::write(mail.join("sendmail.mc"), mc)?;
    if role == Role::Tls {
        tls::certify(&mail)?;
    }
    fs::write(mail.join("service.switch"), "hosts files\naliases files\n")?;
    fs::write(mail.join("aliases"), "archive: /dev/null\n")?;
    fs::write(
        root.join("etc/hosts"),
        "127.0.0.1 mx.bench.example localhost\n",
    )?;
    Ok(())
}

/// The source of the access table: domains that are refused, of which no client is from one.
pub(super) fn access(refusal: &str) -> String {
    let lines = (0..ENTRIES).map(|n| format!("spam{n}.example\t{refusal}\n"));
    lines.collect()
}

/// The source of the table of virtual users.
pub(super) fn virtual_users() -> String {
    let lines = (0..ENTRIES).map(|n| format!("user{n}@virtual.example\troot\n"));
    lines.collect()
}

/// A virtual user.
pub(super) fn virtual_user(number: u32) -> String {
    // A prime as stride: neighbours in time are none in the table.
    let number = (u64::from(number) * 7_919) % u64::from(ENTRIES);
    format!("user{number}@virtual.example")
}

/// The most sessions that are asked of our server: those that it admits with the open files that
/// the system lets it have (smtpd(8), LIMITS).
pub(super) fn most_sessions() -> io::Result<u64> {
    let files = open_files()?.rlim_max;
    let (lookups, waiting) = ((files / 16).clamp(16, 1000), (files / 16).clamp(8, 256));
    Ok(files.saturating_sub(200 + 2 * lookups + 2 * waiting) / 2)
}

#[allow(unsafe_code)] // std has no limits of resources
fn open_files() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets this program, and the servers that it starts, have so many files open that 10,000
/// sessions are no matter.
#[allow(unsafe_code)] // std has no limits of resources
pub(super) fn many_files() -> io::Result<()> {
    const WANTED: u64 = 40_000;
    let limit = open_files()?;
    let more = libc::rlimit {
        rlim_cur: WANTED.max(limit.rlim_cur),
        rlim_max: WANTED.max(limit.rlim_max),
    };
    let all = libc::rlimit {
        rlim_cur: limit.rlim_max,
        rlim_max: limit.rlim_max,
    };
    // Only root may have more than the system allows to others.
    for limit in [more, all] {
        // SAFETY: the pointer is to a live rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
            return Ok(());
        }
    }
    Err(io::Error::last_os_error())
}
