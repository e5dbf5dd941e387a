//! A site that relays, laid out below a fresh root and started.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use smtpd::tables;
use tempfile::TempDir;

use crate::running::{Log, Running};

/// What differs from site to site.
#[derive(Default)]
pub(crate) struct Setup {
    /// Lines of the configuration before the mailers.
    pub(crate) mc: String,
    /// Lines behind the mailers.
    pub(crate) tail: String,
    pub(crate) mailertable: String,
    pub(crate) access: String,
    pub(crate) hosts: String,
    /// Port of the name server; 0 for `hosts files`.
    pub(crate) dns_port: u16,
    /// Further files, with their modes.
    pub(crate) files: Vec<(&'static str, String, u32)>,
}

/// A running server; it ends when this is dropped.
pub(crate) struct Site {
    pub(crate) root: TempDir,
    server: Running,
    pub(crate) port: u16,
    log: Log,
}

pub(crate) const HOST: &str = "mx.relay.example";

impl Site {
    pub(crate) fn start(setup: &Setup) -> Self {
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path(), setup);
        Site::run(root)
    }

    /// Starts the server on a root that is laid out.
    pub(crate) fn run(root: TempDir) -> Self {
        let log = Log::default();
        let server = Running::start(root.path(), &[], &log);
        Site {
            root,
            port: server.port,
            server,
            log,
        }
    }

    /// Gives the server a message; it must take it.
    pub(crate) fn send(&self, from: &str, to: &[&str], text: &str) {
        let mut client = Client::connect(self.port);
        let reply = client.send(from, to, text);
        assert!(reply.starts_with("250"), "{reply}");
    }

    /// The first log line with all these words, once it is there.
    pub(crate) fn logged(&self, words: &[&str]) -> String {
        for _ in 0..600 {
            let log = self.log.lock().unwrap();
            let found = log.iter().find(|l| words.iter().all(|w| l.contains(w)));
            if let Some(line) = found {
                return line.clone();
            }
            drop(log);
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!(
            "no line with {words:?}:\n{}",
            self.log.lock().unwrap().join("\n")
        );
    }

    /// How many messages wait once it is as many as expected, or does not become so.
    pub(crate) fn queued(&self, expected: usize) -> usize {
        let mut found = usize::MAX;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            found = self.listed().lines().filter(|l| l.starts_with('{')).count();
            if found == expected {
                break;
            }
        }
        found
    }

    /// The envelopes of the queue, as JSON.
    pub(crate) fn listed(&self) -> String {
        let mut mailq = Command::new(env!("CARGO_BIN_EXE_mailq"));
        mailq.arg("--root").arg(self.root.path()).arg("--json");
        String::from_utf8(mailq.output().unwrap().stdout).unwrap()
    }

    /// Makes what waits due.
    pub(crate) fn run_queue(&self) {
        let mut mailq = Command::new(env!("CARGO_BIN_EXE_mailq"));
        mailq.arg("--root").arg(self.root.path()).arg("run");
        assert!(mailq.status().unwrap().success());
    }

    /// Makes the server read its configuration anew, and waits until it has.
    pub(crate) fn hang_up(&self) {
        self.server.signal("-HUP");
        self.logged(&["configuration read anew"]);
    }

    /// Kills the server; the root, for another one.
    pub(crate) fn stop(self) -> TempDir {
        let Site { root, server, .. } = self;
        drop(server);
        root
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

/// A client that stays connected.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut client = Client {
            reader: BufReader::new(stream),
        };
        client.reply();
        client.say("EHLO client.example");
        client
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        let octets: Vec<u8> = format!("{line}\r\n")
            .chars()
            .flat_map(|c| match u8::try_from(c) {
                Ok(octet) => vec![octet],
                Err(_) => c.to_string().into_bytes(),
            })
            .collect();
        self.reader.get_mut().write_all(&octets).unwrap();
        self.reply()
    }

    /// Sender, recipient and text as they are; the reply that decided.
    pub(crate) fn send_raw(&mut self, [from, to, text]: &[String; 3]) -> String {
        for command in [
            format!("MAIL FROM:<{from}>"),
            format!("RCPT TO:<{to}>"),
            "DATA".into(),
        ] {
            let reply = self.say(&command);
            if !reply.starts_with(['2', '3']) {
                return reply;
            }
        }
        self.say(&format!("{text}\r\n."))
    }

    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "closed");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    /// A message; parameters stand behind ` *` in an address. The reply that decided.
    pub(crate) fn send(&mut self, from: &str, to: &[&str], text: &str) -> String {
        let command = |verb: &str, text: &str| match text.split_once(" *") {
            Some((path, params)) => format!("{verb}:<{path}> {params}"),
            None => format!("{verb}:<{text}>"),
        };
        let reply = self.say(&command("MAIL FROM", from));
        if !reply.starts_with('2') {
            return reply;
        }
        for to in to {
            let reply = self.say(&command("RCPT TO", to));
            if !reply.starts_with('2') {
                self.say("RSET");
                return reply;
            }
        }
        let reply = self.say("DATA");
        if !reply.starts_with('3') {
            self.say("RSET");
            return reply;
        }
        self.say(&format!("{}\r\n.", text.replace('\n', "\r\n")))
    }
}

pub(crate) fn lay_out(root: &Path, setup: &Setup) {
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["etc/mail", "var/spool", "var/mail"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write(
        "etc/mail/sendmail.mc",
        &format!(
            "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `{HOST}')dnl\n\
             define(`ALIAS_FILE', `/etc/mail/aliases')dnl\n\
             FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n\
             FEATURE(`access_db', `hash -o /etc/mail/access')dnl\n\
             FEATURE(`mailertable', `hash -o /etc/mail/mailertable')dnl\n\
             DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\n{}\
             MAILER(`local')dnl\nMAILER(`smtp')dnl\n{}",
            setup.mc, setup.tail
        ),
    );
    let order = if setup.dns_port == 0 {
        "files"
    } else {
        "files dns"
    };
    write("etc/mail/service.switch", &format!("hosts {order}\n"));
    write(
        "etc/resolv.conf",
        &format!(
            "nameserver [127.0.0.1]:{}\noptions timeout:1 attempts:1\n",
            setup.dns_port
        ),
    );
    write(
        "etc/hosts",
        &format!("127.0.0.1 {HOST} localhost\n{}", setup.hosts),
    );
    write("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    write("etc/mail/aliases", "postmaster: root\n");
    write("etc/mail/mailertable", &setup.mailertable);
    write(
        "etc/mail/access",
        &format!("Connect:127.0.0.1\tRELAY\n{}", setup.access),
    );
    for (name, text, mode) in &setup.files {
        write(name, text);
        let mode = std::fs::Permissions::from_mode(*mode);
        std::fs::set_permissions(root.join(name), mode).unwrap();
    }
    for table in ["mailertable", "access", "genericstable"] {
        let source = root.join("etc/mail").join(table);
        if source.exists() {
            tables::build_table(&source).unwrap();
        }
    }
    tables::build_aliases(&root.join("etc/mail/aliases")).unwrap();
}
