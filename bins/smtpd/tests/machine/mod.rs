//! A machine with a site of its own below a temporary root, and the built smtpd on it.
#![allow(dead_code)]

mod running;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use smtpd::tables;
use tempfile::TempDir;

use running::{Log, Running};

/// A site, whether or not its server runs.
pub(crate) struct Machine {
    root: TempDir,
    server: Option<Running>,
    log: Log,
}

/// The number of the user that runs the tests; where that is root, an ordinary one.
pub(crate) fn somebody() -> u32 {
    let own = fs::metadata("/proc/self").unwrap().uid();
    if own == 0 { 12_345 } else { own }
}

impl Machine {
    /// A machine with these users and aliases, and `mc` in its sendmail.mc before the
    /// mailers. `{ROOT}` stands for the root in all of them.
    pub(crate) fn new(users: &[String], aliases: &str, mc: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine {
            root,
            server: None,
            log: Arc::default(),
        };
        let path = machine.path("");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["etc/mail", "var/mail", "open"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        for folder in ["var/mail", "open"] {
            fs::set_permissions(path.join(folder), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let uid = somebody();
        machine.write(
            "etc/mail/sendmail.mc",
            &format!(
                "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.test.example')dnl\n\
                 define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl\n\
                 define(`ALIAS_FILE', `/etc/mail/aliases')dnl\ndefine(`confDEF_USER_ID', `{uid}:{uid}')dnl\n\
                 FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n\
                 define(`confQUEUE_LA', `1000')dnl\ndefine(`confREFUSE_LA', `1000')dnl\n\
                 LOCAL_DOMAIN(`test.example')dnl\n\
                 DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\n{mc}\
                 MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
            ),
        );
        machine.write("etc/mail/service.switch", "hosts files\n");
        machine.write(
            "etc/hosts",
            "127.0.0.1 mx.test.example localhost\n127.0.0.1 test.example\n",
        );
        let rows: Vec<String> = users
            .iter()
            .map(|name| format!("{name}:x:{uid}:{uid}:{name}:/home/{name}:/bin/sh\n"))
            .collect();
        machine.write("etc/passwd", &rows.concat());
        machine.aliases(aliases);
        machine
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// Writes a file below the root.
    pub(crate) fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let root = self.root.path().to_str().unwrap();
        fs::write(path, text.replace("{ROOT}", root)).unwrap();
    }

    /// Writes and builds the aliases.
    pub(crate) fn aliases(&self, text: &str) {
        self.write("etc/mail/aliases", text);
        tables::build_aliases(&self.path("etc/mail/aliases")).unwrap();
    }

    /// Starts the server with these arguments, and waits until it is ready.
    pub(crate) fn start(&mut self, args: &[&str]) {
        assert!(self.server.is_none());
        self.server = Some(Running::start(self.root.path(), args, &self.log));
    }

    /// Ends the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// What the server logged since the machine was made.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The port of the server at this moment.
    pub(crate) fn port(&self) -> u16 {
        self.server.as_ref().map_or(0, |server| server.port)
    }

    /// A dialogue: each line must be answered with 2xx or 3xx; the replies.
    pub(crate) fn say(&self, lines: &[&str]) -> Vec<String> {
        dialogue(self.port(), lines).unwrap()
    }

    /// Sends a message; `from` and `to` may carry parameters behind the address.
    pub(crate) fn send(&self, from: &str, to: &[&str], text: &str) {
        send(self.port(), from, to, text).unwrap();
    }

    /// The text of a file below the root; empty if there is none.
    pub(crate) fn text(&self, file: &str) -> String {
        let text = fs::read(self.path(file)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A user's mailbox.
    pub(crate) fn mailbox(&self, user: &str) -> String {
        self.text(&format!("var/mail/{user}"))
    }

    /// Waits until a user's mailbox holds this; its text.
    pub(crate) fn mailbox_with(&self, user: &str, want: &str) -> String {
        self.wait(&format!("{user}'s mailbox with {want:?}"), || {
            let text = self.mailbox(user);
            text.contains(want).then_some(text)
        })
    }

    /// Waits until nothing is in the queue, as long as it gets shorter.
    pub(crate) fn wait_for_empty_queue(&self) {
        let requests = || {
            let listed = self.mailq(&[]);
            let total = listed
                .trim_end()
                .rsplit(' ')
                .next()?
                .parse::<usize>()
                .ok()?;
            Some(total)
        };
        let mut shortest = usize::MAX;
        while shortest > 0 {
            shortest = self.wait("shorter queue", || requests().filter(|n| *n < shortest));
        }
    }

    /// Waits for something, half a minute at the most.
    pub(crate) fn wait<T>(&self, what: &str, mut try_it: impl FnMut() -> Option<T>) -> T {
        for _ in 0..600 {
            if let Some(found) = try_it() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no {what}\n{}\n{}", self.mailq(&["-v"]), self.log());
    }

    /// What mailq prints.
    pub(crate) fn mailq(&self, args: &[&str]) -> String {
        let out = Command::new(env!("CARGO_BIN_EXE_mailq"))
            .arg("--root")
            .arg(self.root.path())
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

/// Sends a message; an error says which line was answered how.
pub(crate) fn send(port: u16, from: &str, to: &[&str], text: &str) -> Result<String, String> {
    let path = |verb: &str, words: &str| match words.split_once(' ') {
        Some((address, params)) => format!("{verb}:<{address}> {params}"),
        None => format!("{verb}:<{words}>"),
    };
    let mut lines = vec!["EHLO client.example".to_owned(), path("MAIL FROM", from)];
    lines.extend(to.iter().map(|to| path("RCPT TO", to)));
    lines.push("DATA".into());
    lines.push(format!("{}\r\n.", text.replace('\n', "\r\n")));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let replies = dialogue(port, &lines)?;
    Ok(replies.last().cloned().unwrap_or_default())
}

/// A dialogue; every line must be answered with 2xx or 3xx.
pub(crate) fn dialogue(port: u16, lines: &[&str]) -> Result<Vec<String>, String> {
    let fault = |line: &str| {
        let line = line.lines().next().unwrap_or_default().to_owned();
        move |e: std::io::Error| format!("{line}: {e}")
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(fault("connect"))?;
    let patience = Some(Duration::from_secs(30));
    stream
        .set_read_timeout(patience)
        .map_err(fault("connect"))?;
    let mut reader = BufReader::new(stream.try_clone().map_err(fault("connect"))?);
    let mut writer = stream;
    let mut replies = Vec::new();
    reply(&mut reader).map_err(fault("connect"))?;
    for line in lines {
        writer
            .write_all(format!("{line}\r\n").as_bytes())
            .map_err(fault(line))?;
        let said = reply(&mut reader).map_err(fault(line))?;
        if !said.starts_with(['2', '3']) {
            return Err(format!("{line}: {said}"));
        }
        replies.push(said);
    }
    let _ = writer.write_all(b"QUIT\r\n");
    Ok(replies)
}

/// The last line of a reply.
pub(crate) fn reply(reader: &mut impl BufRead) -> std::io::Result<String> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.trim_end().to_owned());
        }
    }
}

/// The messages of a mailbox.
pub(crate) fn messages(mailbox: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = mailbox
        .match_indices("\nFrom ")
        .map(|(at, _)| at + 1)
        .collect();
    if mailbox.starts_with("From ") {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([mailbox.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &mailbox[*start..end])
        .collect()
}

/// `count` names with this prefix.
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}
