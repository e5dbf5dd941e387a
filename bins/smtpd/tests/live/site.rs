//! A recorded site, laid out and started.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use smtpd::tables;
use tempfile::TempDir;

use crate::name_server::NameServer;

/// A running server; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) ports: Vec<u16>,
    pub(crate) root: TempDir,
    server: Child,
    _names: NameServer,
}

impl Running {
    /// Lays the site out below a fresh root and starts the server on free ports.
    pub(crate) fn start(site: &Value) -> Self {
        let root = tempfile::tempdir().unwrap();
        let zone: HashMap<String, Vec<String>> =
            serde_json::from_value(site["zone"].clone()).unwrap();
        let zone = zone.into_iter().map(|(key, value)| {
            let (name, kind) = key.split_once(' ').unwrap();
            (format!("{} {kind}", name.to_lowercase()), value)
        });
        let names = NameServer::start(zone.collect());
        lay_out(site, root.path(), names.port);
        let mut server = Command::new(env!("CARGO_BIN_EXE_smtpd"))
            .arg("--root")
            .arg(root.path())
            .args(["--log", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let (mut ports, mut said) = (Vec::new(), Vec::<String>::new());
        loop {
            let line = log
                .next()
                .unwrap_or_else(|| panic!("the server ended: {said:?}"))
                .unwrap();
            said.push(line.clone());
            if let Some((_, addr)) = line.split_once(" addr=") {
                ports.push(addr.rsplit_once(':').unwrap().1.parse().unwrap());
            }
            if line.ends_with(": ready") {
                break;
            }
        }
        // The pipe must not fill up.
        std::thread::spawn(move || log.for_each(drop));
        Running {
            ports,
            root,
            server,
            _names: names,
        }
    }

    /// What the archive mailbox holds once it has so many messages and stays the same; then it is
    /// emptied.
    pub(crate) fn mailbox(&self, messages: usize) -> String {
        let path = self.root.path().join("etc/mail/out.mbox");
        let mut last = 0;
        for _ in 0..400 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let text = std::fs::read(&path).unwrap_or_default();
            let size = text.len();
            let begun = text
                .split(|c| *c == b'\n')
                .filter(|l| l.starts_with(b"From "));
            if size > 0 && size == last && begun.count() >= messages {
                break;
            }
            last = size;
        }
        let text = std::fs::read(&path).unwrap_or_default();
        std::fs::write(&path, "").unwrap();
        text.into_iter().map(char::from).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn lay_out(site: &Value, root: &Path, dns_port: u16) {
    // The server becomes another user.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root, open).unwrap();
    let write = |path: &str, text: &str| {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let octets: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        std::fs::write(path, octets).unwrap();
    };
    for (path, text) in site["files"].as_object().unwrap() {
        let text = text
            .as_str()
            .unwrap()
            .replace("{PORT2}", "0")
            .replace("{PORT}", "0")
            .replace("{ROOT}", "");
        // sendmail offers these where nobody lists them.
        let listed = match path.ends_with("sendmail.mc") {
            true => "define(`confAUTH_MECHANISMS', `DIGEST-MD5 CRAM-MD5')dnl\n",
            false => "",
        };
        write(path, &format!("{listed}{text}"));
    }
    write(
        "/etc/resolv.conf",
        &format!("nameserver [127.0.0.1]:{dns_port}\noptions timeout:1 attempts:1\n"),
    );
    // Files are written by whoever runs the tests; root becomes the DefaultUser for it.
    write("/etc/mail/out.mbox", "");
    let _ = std::os::unix::fs::chown(root.join("etc/mail/out.mbox"), Some(8), Some(8));
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(root.join("var/spool")).unwrap();
    if site["tls"].as_bool() == Some(true) {
        let made = rcgen::generate_simple_self_signed(["mx.polkatistas.org".to_owned()]).unwrap();
        write("/etc/mail/server.crt", &made.cert.pem());
        write("/etc/mail/server.key", &made.signing_key.serialize_pem());
        let key = root.join("etc/mail/server.key");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    for map in ["access", "mailertable", "virtusertable"] {
        let source = root.join("etc/mail").join(map);
        if source.exists() {
            tables::build_table(&source).unwrap();
        }
    }
    tables::build_aliases(&root.join("etc/mail/aliases")).unwrap();
}
