//! A site, and `mapctl serve` on it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const MC: &str = "OSTYPE(`linux')dnl\n\
    define(`confDOMAIN_NAME', `mx.example.org')dnl\n\
    define(`ALIAS_FILE', `/etc/aliases,/etc/lists')dnl\n\
    FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n\
    FEATURE(`authinfo', `hash -o /etc/mail/authinfo')dnl\n\
    FEATURE(`mailertable', `cdb -o /etc/mail/mailertable')dnl\n\
    FEATURE(`virtusertable', `hash -o /etc/mail/virtusertable')dnl\n\
    FEATURE(`domaintable', `hash -o /etc/mail/missing')dnl\n\
    FEATURE(`blocklist_recipients')dnl\n\
    TRUST_AUTH_MECH(`PLAIN')dnl\n\
    VIRTUSER_DOMAIN(`shop.example gone.example')dnl\n\
    LOCAL_DOMAIN(`example.org')dnl\n\
    LOCAL_CONFIG\n\
    Kextra hash /etc/mail/extra\n\
    MAILER(`local')dnl\nMAILER(`smtp')dnl\n";

const ACCESS: &str = "Connect:spam.example\tERROR:5.7.1:550 We know you\n\
    Connect:192.0.2.77\tDISCARD\n\
    Connect:192.0.2.88\tRELAY\n\
    From:held@good.example\tQUARANTINE:look at this\n\
    From:good.example\tOK\n\
    From:evil.example\tREJECT\n\
    From:grün@good.example\tERROR:5.7.1:550 not you\n\
    To:gone@example.org\tERROR:4.2.1:450 on holiday\n\
    To:other.example\tRELAY\n\
    AuthInfo:hub.example\t\"U:joe\" \"P:hush\"\n\
    TLS_Clt:bank.example\tPERM+VERIFY:256\n";

const MAPS: &[(&str, &str, &str, &[&str])] = &[
    ("hash", "etc/mail/access", ACCESS, &[]),
    (
        "hash",
        "etc/mail/authinfo",
        "AuthInfo:hub.example\t\"U:joe\"\n",
        &[],
    ),
    (
        "cdb",
        "etc/mail/mailertable",
        "far.example\tsmtp:[127.0.0.1]\n.lab.example\trelay:hub.lab.example\nclosed.example\terror:5.7.0:550 closed\nown.example\tprocmail:/etc/rc\nrow.example\tesmtp:hub1:[hub2]\n.org\tsmtp:[hub.example.net]\nuser.example\tlocal:joe\nmoved.example\tsmtp:joe@hub\nlater.example\terror:4.2.1:450 later\n",
        &[],
    ),
    (
        "hash",
        "etc/mail/virtusertable",
        "info@shop.example\talice\n@shop.example\tbob\nold@gone.example\terror:nouser no such user\nlater@gone.example\terror:4.2.1:450 come back\n",
        &[],
    ),
    ("hash", "etc/mail/extra", "k\tv\n", &[]),
    // newaliases ends keys and values in NUL.
    (
        "hash",
        "etc/aliases",
        "@\t@\nstaff\talice, bob\nboth\tfirst\njoe\t\\joe, ann@far.example\nkept\t\"\\kept\"\nother\t\\joe, ann\nstar+*\tbob\n",
        &["-N"],
    ),
    (
        "hash",
        "etc/lists",
        "list\t:include:/etc/list\nboth\tsecond\nsales\tbob, \"|/bin/archive\"\n",
        &[],
    ),
];

/// Builds one map below a folder.
pub(crate) fn build(root: &Path, class: &str, name: &str, source: &str, flags: &[&str]) {
    let mut makemap = Command::new(env!("CARGO_BIN_EXE_makemap"))
        .args(flags)
        .arg(class)
        .arg(root.join(name))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = makemap.stdin.take().unwrap();
    stdin.write_all(source.as_bytes()).unwrap();
    drop(stdin);
    assert!(makemap.wait().unwrap().success(), "{name}");
}

/// A site with all its maps.
pub(crate) fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    fs::write(root.path().join("etc/mail/sendmail.mc"), MC).unwrap();
    fs::write(root.path().join("etc/mail/service.switch"), "hosts files\n").unwrap();
    for (class, name, source, flags) in MAPS {
        build(root.path(), class, name, source, flags);
    }
    root
}

/// A server that runs; killed when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) log: Arc<Mutex<String>>,
    folder: PathBuf,
}

impl Server {
    /// Starts a server on both protocols, at sockets `maps` and `policy` in `root`, and waits
    /// until it is ready.
    pub(crate) fn start(root: &Path, more: &[&str]) -> Self {
        let at = |name: &str| format!("unix:{}", root.join(name).display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_mapctl"));
        command
            .args(["serve", "--root"])
            .arg(root)
            .args(["--socketmap", &at("maps"), "--policy", &at("policy")])
            .args(more);
        Server::spawn(command, root).expect("the server starts")
    }

    /// Starts a server by a command of its own; what it said, if it ends at once.
    pub(crate) fn spawn(mut command: Command, root: &Path) -> Result<Self, String> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let at = said.len();
            if lines.read_line(&mut said).unwrap() == 0 {
                let status = child.wait().unwrap();
                return Err(format!("{said}exit {}", status.code().unwrap_or(-1)));
            }
            if said[at..].trim_end().ends_with(": ready") {
                break;
            }
        }
        let log = Arc::new(Mutex::new(said));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                kept.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Ok(Server {
            child,
            log,
            folder: root.into(),
        })
    }

    pub(crate) fn connect(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join(name)).unwrap();
        // Only a bound for a test that would hang.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// The reply to one lookup.
    pub(crate) fn lookup(&self, asked: &str) -> String {
        let mut stream = self.connect("maps");
        stream.write_all(netstring(asked).as_bytes()).unwrap();
        carried(&mut stream)
    }

    /// The action for a policy request of these attributes, a line each.
    pub(crate) fn policy(&self, attributes: &str) -> String {
        let mut stream = self.connect("policy");
        let request = format!("request=smtpd_access_policy\n{attributes}\n\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let mut lines = BufReader::new(stream);
        while !answer.ends_with("\n\n") {
            assert!(lines.read_line(&mut answer).unwrap() > 0, "{attributes}");
        }
        let action = answer.trim_end().strip_prefix("action=");
        action.unwrap().to_owned()
    }

    /// Waits until the log says this.
    pub(crate) fn says(&self, text: &str) {
        for _ in 0..3000 {
            if self.log.lock().unwrap().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{text} is not in: {}", self.log.lock().unwrap());
    }

    /// Everything that is said to these octets, to the end of the connection.
    pub(crate) fn last_words(&self, name: &str, octets: &[u8]) -> String {
        let mut stream = self.connect(name);
        // It may close the connection before it has read all.
        let _ = stream.write_all(octets);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn netstring(carried: &str) -> String {
    format!("{}:{carried},", carried.len())
}

/// Reads one netstring, octet by octet.
pub(crate) fn carried(stream: &mut UnixStream) -> String {
    let mut octet = [0u8; 1];
    let mut length = 0;
    loop {
        stream.read_exact(&mut octet).unwrap();
        match octet[0] {
            b':' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut octets = vec![0u8; length + 1];
    stream.read_exact(&mut octets).unwrap();
    assert_eq!(octets.pop(), Some(b','));
    String::from_utf8(octets).unwrap()
}
