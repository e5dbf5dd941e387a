//! The site whose server is under fire.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libmaps::map::{Entry, MapClass, StoreError};
use libmaps::store::publish::{Options, Publisher};

/// A site that is laid out.
#[derive(Debug)]
pub(crate) struct Site {
    root: PathBuf,
    /// Words before a program that lead to where the queue can be seen.
    inside: Vec<String>,
}

const MC: &str = "OSTYPE(`linux')dnl
FEATURE(`no_default_msa')dnl
define(`confDOMAIN_NAME', `mx.fire.example')dnl
define(`ALIAS_FILE', `/etc/mail/aliases')dnl
define(`confDEF_USER_ID', `8:8')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confMIN_FREE_BLOCKS', `0')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`access_db', `hash -o /etc/mail/access')dnl
FEATURE(`mailertable', `hash -o /etc/mail/mailertable')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
";

impl Site {
    /// Lays a site out, with `mc` at the head of its configuration, that passes mail for `ready.example` and `late.example` on to these
    /// ports, and puts mail for `archive` into a file.
    pub(crate) fn lay_out(root: &Path, ready: u16, late: u16, mc: &str) -> io::Result<Self> {
        let site = Site {
            root: root.into(),
            inside: Vec::new(),
        };
        for folder in ["etc/mail", "var/spool/mqueue"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        for (name, text) in [
            ("etc/mail/sendmail.mc", format!("{mc}{MC}").as_str()),
            ("etc/mail/service.switch", "hosts files\naliases files\n"),
            ("etc/hosts", "127.0.0.1 mx.fire.example localhost\n"),
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
            ("etc/mail/aliases", "archive: /etc/mail/out.mbox\n"),
            ("etc/mail/out.mbox", ""),
        ] {
            fs::write(root.join(name), text)?;
        }
        // Only root can, and only root's server writes as that user.
        let _ = std::os::unix::fs::chown(site.mailbox(), Some(8), Some(8));
        let ready = format!("esmtp:[127.0.0.1]:{ready}");
        let late = format!("esmtp:[127.0.0.1]:{late}");
        let map = |name: &str, entries: &[(&str, &str)]| {
            build(&root.join("etc/mail").join(name), entries).map_err(io::Error::other)
        };
        map(
            "aliases.db",
            &[("archive", "/etc/mail/out.mbox"), ("@", "@")],
        )?;
        map("access.db", &[("connect:127.0.0.1", "RELAY")])?;
        map(
            "mailertable.db",
            &[("ready.example", &ready), ("late.example", &late)],
        )?;
        Ok(site)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The queue is seen only behind these words.
    pub(super) fn enter(&mut self, inside: Vec<String>) {
        self.inside = inside;
    }

    /// The words before a program that lead there.
    pub(super) fn inside(&self) -> &[String] {
        &self.inside
    }

    pub(super) fn mailbox(&self) -> PathBuf {
        self.root.join("etc/mail/out.mbox")
    }

    /// The folder of the queue.
    pub(super) fn queue(&self) -> PathBuf {
        self.root.join("var/spool/mqueue")
    }

    /// Texts of messages that are no longer in the queue, or never were. The server removes
    /// one a moment after its message.
    pub(super) fn left_over(&self) -> io::Result<Vec<String>> {
        let mut left = Vec::new();
        for _ in 0..100 {
            left.clear();
            for folder in ["incoming", "large"] {
                for entry in fs::read_dir(self.queue().join(folder))? {
                    left.push(format!("{folder}/{}", entry?.file_name().display()));
                }
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(left)
    }

    /// How many messages are in the queue.
    pub(super) fn queued(&self, programs: &Path) -> io::Result<u64> {
        let listed = self.mailq(programs, &["--json"])?;
        Ok(listed.iter().filter(|octet| **octet == b'\n').count() as u64)
    }

    /// Makes everything due that waits.
    pub(super) fn run_queue(&self, programs: &Path) -> io::Result<()> {
        self.mailq(programs, &["run"]).map(drop)
    }

    fn mailq(&self, programs: &Path, args: &[&str]) -> io::Result<Vec<u8>> {
        let mut command = command(&self.inside, &programs.join("mailq"));
        command.arg("--root").arg(&self.root).args(args);
        let out = command.stdin(Stdio::null()).output()?;
        match out.status.success() {
            true => Ok(out.stdout),
            false => {
                let text = String::from_utf8_lossy(&out.stderr).into_owned();
                Err(io::Error::other(text))
            }
        }
    }
}

/// The command of a program behind other words.
pub(super) fn command(before: &[String], program: &Path) -> Command {
    let mut words = before.iter();
    let Some(first) = words.next() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

fn build(target: &Path, entries: &[(&str, &str)]) -> Result<(), StoreError> {
    let mut publisher = Publisher::create(target, Options::new(MapClass::Hash, "bench"))?;
    for (lhs, rhs) in entries {
        publisher.put(Entry::new(*lhs, *rhs))?;
    }
    publisher.publish().map(drop)
}
