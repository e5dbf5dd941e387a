//! Cached requests a second: our saslauthd, and Cyrus SASL's where it can be run.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::accounts::{REALM, set_password};
use crate::report::{Bound, Figure, Report, Sample, Subject, Target};
use crate::setting::Bench;
use crate::tree;
use crate::turns::{self, Contender};

/// Where Debian has Cyrus SASL's programs.
const THEIRS: &str = "/usr/sbin";
/// The store that theirs is built for.
const THEIR_STORE: &str = "/etc/sasldb2";
const NAME: &str = "alice";
const PASSWORD: &str = "secret";

const OURS: &str = "saslauthd";
const THEIRS_TITLE: &str = "Cyrus SASL's saslauthd";

const RATE: Figure = Figure::more("requests a second");
/// What the daemon used of a processor for each request.
const CPU: Figure = Figure::less("CPU us each");

/// A daemon with its socket, stopped when dropped.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(command: &mut Command, folder: &Path) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let daemon = Daemon {
            child,
            socket: folder.join("mux"),
        };
        let begun = Instant::now();
        while daemon.ask().is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other(format!("{command:?}: does not answer")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// One request, which must be answered with OK.
    fn ask(&self) -> io::Result<()> {
        let mut request = Vec::new();
        for field in [NAME, PASSWORD, "smtp", REALM] {
            request.push(0);
            request.push(u8::try_from(field.len()).map_err(io::Error::other)?);
            request.extend_from_slice(field.as_bytes());
        }
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(&request)?;
        stream.shutdown(Shutdown::Write)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        match reply.as_slice() {
            b"\0\x02OK" => Ok(()),
            other => Err(io::Error::other(format!("answered {other:?}"))),
        }
    }

    /// So many requests of so many clients at a time.
    fn rate(&self, requests: u32, clients: u32) -> io::Result<Sample> {
        let each = requests.div_ceil(clients.max(1));
        let before = tree::cpu(self.child.id())?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| scope.spawn(|| (0..each).try_for_each(|_| self.ask())))
                .collect();
            clients.into_iter().try_for_each(|client| {
                let ended = client.join();
                ended.unwrap_or_else(|_| Err(io::Error::other("a client stopped")))
            })
        })?;
        let wall = begun.elapsed();
        let cpu = tree::cpu(self.child.id())?.saturating_sub(before);
        let answered = f64::from(each * clients);
        Ok(Sample(vec![
            (RATE, answered / wall.as_secs_f64()),
            (CPU, cpu.as_secs_f64() * 1_000_000.0 / answered),
        ]))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its children end when they see that it is gone, or when the namespace is.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks both in turn.
///
/// # Errors
/// Our programs are not there, or do not answer.
pub(crate) fn compare(
    bench: &Bench,
    requests: u32,
    clients: u32,
    report: &mut Report,
) -> io::Result<()> {
    for name in ["site/etc", "ours", "theirs"] {
        fs::create_dir_all(bench.at(name))?;
    }
    let password = bench.at("password");
    fs::write(&password, format!("{PASSWORD}\n"))?;
    let ours = {
        let store = bench.at("site/etc/sasldb2");
        let setter = Command::new(bench.program("saslpasswd2")?);
        done(&mut set_password(setter, &store, NAME, &password)?)?;
        let mut command = Command::new(bench.program("saslauthd")?);
        command.args(["--foreground", "-c", "-a", "sasldb", "-m"]);
        command.arg(bench.at("ours"));
        command.arg("--root").arg(bench.at("site"));
        Daemon::start(&mut command, &bench.at("ours"))?
    };
    let mut contenders = vec![Contender::ours(OURS, || ours.rate(requests, clients))];
    match start_theirs(&bench.at("their-store"), &bench.at("theirs"), &password) {
        Ok(theirs) => contenders.push(Contender::peer(THEIRS_TITLE, move || {
            theirs.rate(requests, clients)
        })),
        Err(why) => report.skipped.push(format!("{THEIRS_TITLE}: {why}")),
    }
    let size = u64::from(clients);
    let rows = turns::take(bench.runs, size, contenders, &mut report.skipped)?;
    report.subjects.push(Subject {
        title: "saslauthd -c -a sasldb, cached requests".into(),
        sizes: "clients",
        rows,
        targets: vec![Target {
            ours: OURS,
            size,
            figure: RATE,
            bound: Bound::Times(1.2, THEIRS_TITLE),
        }],
    });
    Ok(())
}

/// Theirs reads one store only, so ours is laid over it in a mount namespace.
fn start_theirs(store: &Path, folder: &Path, password: &Path) -> io::Result<Daemon> {
    let program = Path::new(THEIRS).join("saslauthd");
    if !program.is_file() || !Path::new(THEIR_STORE).is_file() {
        let text = format!("no {} or no {THEIR_STORE}", program.display());
        return Err(io::Error::other(text));
    }
    let setter = Command::new(Path::new(THEIRS).join("saslpasswd2"));
    done(&mut set_password(setter, store, NAME, password)?)?;
    // A process namespace too: when its first process ends, so do the five that it forked.
    let script = r#"mount --bind "$1" "$2" && "$3" -c -a sasldb -m "$4" && exec sleep infinity"#;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(store)
        .arg(THEIR_STORE)
        .arg(program)
        .arg(folder);
    Daemon::start(&mut command, folder)
}

fn done(command: &mut Command) -> io::Result<()> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{command:?}: failed"))),
    }
}
