//! A PostgreSQL server of Debian's package in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use crate::stage::{Host, free_port, is_root, skip, until};

/// A running server; it ends with the last test that holds it.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    pub(crate) port: u16,
}

static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The folder of the newest version that is installed.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop()
}

impl Server {
    /// The server that all tests share; none, with a word why, where the package is missing.
    pub(crate) fn shared() -> Option<Arc<Server>> {
        let mut running = RUNNING.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(server) = running.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Server::own()?);
        *running = Arc::downgrade(&server);
        Some(server)
    }

    /// A server for one test alone, which may kill it.
    pub(crate) fn own() -> Option<Server> {
        let Some(bin) = programs() else {
            skip("PostgreSQL is not installed (Debian: apt-get install postgresql)");
            return None;
        };
        let server = Server {
            dir: tempfile::tempdir().unwrap(),
            bin,
            port: free_port(),
        };
        if is_root() {
            let user = ["postgres", "nobody"].into_iter().find(|u| user_exists(u));
            let chown = Command::new("chown")
                .arg(user.unwrap())
                .arg(server.path(""))
                .status();
            assert!(chown.unwrap().success());
        }
        server.tool(
            "initdb",
            &[
                "-U",
                "admin",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            ],
        );
        server.certificates();
        let hba = "local all all trust\n\
                   hostssl all mail 127.0.0.1/32 scram-sha-256\n\
                   hostnossl all plain 127.0.0.1/32 scram-sha-256\n";
        server.put("data/pg_hba.conf", hba);
        server.start();
        server.sql("CREATE ROLE mail LOGIN PASSWORD 'right' SUPERUSER");
        server.sql("CREATE ROLE plain LOGIN PASSWORD 'right' SUPERUSER");
        Some(server)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that belongs to the server's user.
    fn put(&self, name: &str, text: &str) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let owner = fs::metadata(self.dir.path()).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// A certificate authority, `ca.pem`, and the server's certificate for `localhost`.
    fn certificates(&self) {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let own = own.signed_by(&own_key, &issuer).unwrap();
        self.put("data/server.crt", &own.pem());
        self.put("data/server.key", &own_key.serialize_pem());
        fs::write(self.path("ca.pem"), ca.pem()).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        if !is_root() {
            return Command::new(path);
        }
        let user = ["postgres", "nobody"].into_iter().find(|u| user_exists(u));
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            user.unwrap(),
            "--regid",
            "nogroup",
            "--clear-groups",
        ]);
        command.arg(path);
        command
    }

    fn tool(&self, program: &str, args: &[&str]) {
        let mut command = self.command(program);
        command.arg("-D").arg(self.path("data")).args(args);
        let ran = command
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{program}: {said}");
    }

    pub(crate) fn start(&self) {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c ssl=on \
             -c fsync=off -c max_connections=60",
            self.port,
            self.dir.path().display()
        );
        let log = self.path("log");
        self.tool(
            "pg_ctl",
            &["-o", &options, "-l", log.to_str().unwrap(), "-w", "start"],
        );
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn kill(&self) {
        self.tool("pg_ctl", &["-m", "immediate", "-w", "stop"]);
    }

    /// Runs statements as the superuser; what they give, unaligned.
    pub(crate) fn sql(&self, text: &str) -> String {
        self.sql_in("postgres", text)
    }

    /// A database of its own, so that tests do not see each other's maps.
    pub(crate) fn database(&self, name: &str) {
        self.sql(&format!("CREATE DATABASE {name}"));
    }

    /// Statements in such a database.
    pub(crate) fn sql_in(&self, database: &str, text: &str) -> String {
        let mut command = self.session(database);
        let ran = command
            .args(["-c", text])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{text}: {said}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// What runs the statements of its standard input there.
    pub(crate) fn session(&self, database: &str) -> Command {
        let mut command = self.command("psql");
        command
            .arg("-h")
            .arg(self.dir.path())
            .arg("-p")
            .arg(self.port.to_string());
        command.args([
            "-U",
            "admin",
            "-d",
            database,
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        command.current_dir("/");
        command
    }

    /// The lines of a connection file.
    pub(crate) fn connection(&self, database: &str) -> String {
        format!(
            "host {}\nport {}\nuser admin\ndatabase {database}\ntimeout 10\npoll 2\n",
            self.dir.path().display(),
            self.port
        )
    }

    /// A host with a connection file `NAME.pgsql` for each of these names.
    pub(crate) fn host(&self, database: &str, names: &[&str]) -> Host {
        let host = Host::new();
        for name in names {
            host.write(&format!("{name}.pgsql"), &self.connection(database));
        }
        host
    }
}

fn user_exists(name: &str) -> bool {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .any(|line| line.split(':').next() == Some(name))
}

impl Drop for Server {
    fn drop(&mut self) {
        if Path::new(&self.path("data/postmaster.pid")).exists() {
            self.kill();
        }
    }
}

/// Waits until the server answers again.
pub(crate) fn wait_for(server: &Server) {
    until("the server's answer", || {
        let mut command = server.command("pg_isready");
        command
            .arg("-h")
            .arg(server.dir.path())
            .arg("-p")
            .arg(server.port.to_string());
        command
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    });
}

/// Sends a signal to a process.
pub(crate) fn signal(name: &str, process: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), process])
        .status();
    assert!(sent.unwrap().success());
}
