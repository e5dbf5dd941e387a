//! Requests a second: our saslauthd, and Cyrus SASL's where it can be run, each with its accounts.

mod crypt;
mod daemon;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::accounts::set_password;
use crate::report::{Bound, Figure, Report, Subject, Target};
use crate::setting::{Bench, Extent};
use crate::turns::{self, Contender};
use crypt::Crypt;
use daemon::{Daemon, Ways};

/// Where Debian has Cyrus SASL's programs.
const THEIRS: &str = "/usr/sbin";
/// The store that theirs is built for.
const THEIR_STORE: &str = "/etc/sasldb2";
const NAME: &str = "alice";
const PASSWORD: &str = "secret";

const OURS: &str = "saslauthd";
const THEIRS_TITLE: &str = "Cyrus SASL's saslauthd";
const CRYPT: &str = "crypt(3) alone, a thread for each processor";

const RATE: Figure = Figure::more("requests a second");
/// What the daemon used of a processor for each request.
const CPU: Figure = Figure::less("CPU us each");

/// A request that needs a hash takes as long as so many that need none.
const HASHED_COSTS: u32 = 100;

/// Asks both in turn: from the cache, from sasldb2 in clear text, and from shadow(5).
///
/// # Errors
/// Our programs are not there, or do not answer.
pub(crate) fn compare(
    bench: &Bench,
    requests: u32,
    clients: u32,
    report: &mut Report,
) -> io::Result<()> {
    let requests = match bench.extent {
        Extent::Quick => requests / 10,
        Extent::Full => requests,
    };
    let password = bench.at("password");
    fs::write(&password, format!("{PASSWORD}\n"))?;
    let place = Place {
        bench,
        ours: bench.program("saslauthd")?,
        theirs: Theirs::find(bench, &password),
    };
    if let Err(why) = &place.theirs {
        report.skipped.push(format!("{THEIRS_TITLE}: {why}"));
    }
    cached(&place, &password, requests, clients, report)?;
    clear(&place, requests, clients, report)?;
    shadow(&place, requests / HASHED_COSTS, clients, report)
}

/// What can be asked.
struct Place<'a> {
    bench: &'a Bench,
    ours: PathBuf,
    theirs: io::Result<Theirs>,
}

/// Cyrus SASL's programs.
struct Theirs {
    program: PathBuf,
    /// A store that theirs made.
    store: PathBuf,
}

impl Theirs {
    fn find(bench: &Bench, password: &Path) -> io::Result<Self> {
        bench.peers.wanted().map_err(io::Error::other)?;
        let program = Path::new(THEIRS).join("saslauthd");
        if !program.is_file() || !Path::new(THEIR_STORE).is_file() {
            let text = format!("no {} or no {THEIR_STORE}", program.display());
            return Err(io::Error::other(text));
        }
        let store = bench.at("their-store");
        let setter = Command::new(Path::new(THEIRS).join("saslpasswd2"));
        done(&mut set_password(setter, &store, NAME, password)?)?;
        Ok(Theirs { program, store })
    }
}

impl Place<'_> {
    /// Ours, with the accounts below `root`.
    fn ours_below(&self, root: &Path, args: &[&str], run: &str) -> io::Result<Daemon> {
        let folder = self.bench.at(run);
        fs::create_dir_all(&folder)?;
        let mut command = Command::new(&self.ours);
        command.arg("--foreground").args(args).arg("-m");
        command.arg(&folder).arg("--root").arg(root);
        Daemon::start(&mut command, &folder)
    }

    /// Theirs, where files of the system are covered. `None`, and why is in `skipped`, where that
    /// can't be.
    fn theirs_over(
        &self,
        covered: &[(&Path, &Path)],
        args: &[&str],
        run: &str,
        skipped: &mut Vec<String>,
    ) -> io::Result<Option<Daemon>> {
        let Ok(theirs) = &self.theirs else {
            return Ok(None);
        };
        let folder = self.bench.at(run);
        fs::create_dir_all(&folder)?;
        let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        args.extend([OsStr::new("-m"), folder.as_os_str()]);
        let started = Daemon::start_over(covered, &theirs.program, &args, Ways::Detaches, &folder);
        Ok(started
            .map_err(|e| skipped.push(format!("{THEIRS_TITLE}: {e}")))
            .ok())
    }

    /// Gives the daemons and, where there is one, another contender their turns.
    fn turns(
        &self,
        title: &str,
        (requests, clients): (u32, u32),
        (ours, theirs): (Daemon, Option<Daemon>),
        limit: Option<Contender<'_>>,
        report: &mut Report,
    ) -> io::Result<()> {
        let mut contenders = vec![Contender::ours(OURS, move || ours.rate(requests, clients))];
        if let Some(theirs) = theirs {
            contenders.push(Contender::peer(THEIRS_TITLE, move || {
                theirs.rate(requests, clients)
            }));
        }
        let bound = match limit {
            Some(_) => Bound::Times(0.95, CRYPT),
            None => Bound::Times(1.2, THEIRS_TITLE),
        };
        contenders.extend(limit);
        let size = u64::from(clients);
        let rows = turns::take(self.bench.runs, size, contenders, &mut report.skipped)?;
        report.subjects.push(Subject {
            title: title.into(),
            sizes: "clients",
            rows,
            targets: vec![Target {
                ours: OURS,
                size,
                figure: RATE,
                bound,
            }],
        });
        Ok(())
    }
}

fn cached(
    place: &Place<'_>,
    password: &Path,
    requests: u32,
    clients: u32,
    report: &mut Report,
) -> io::Result<()> {
    let root = place.bench.at("site");
    fs::create_dir_all(root.join("etc"))?;
    let setter = Command::new(place.bench.program("saslpasswd2")?);
    let store = root.join("etc/sasldb2");
    done(&mut set_password(setter, &store, NAME, password)?)?;
    let args = ["-c", "-a", "sasldb"];
    let ours = place.ours_below(&root, &args, "ours-cached")?;
    let theirs = match &place.theirs {
        Ok(theirs) => {
            let covered = [(theirs.store.as_path(), Path::new(THEIR_STORE))];
            place.theirs_over(&covered, &args, "theirs-cached", &mut report.skipped)?
        }
        Err(_) => None,
    };
    let title = "saslauthd -c -a sasldb, cached requests";
    place.turns(title, (requests, clients), (ours, theirs), None, report)
}

/// Both ask one store, made by theirs: passwords in clear text, so that no hash is computed.
fn clear(place: &Place<'_>, requests: u32, clients: u32, report: &mut Report) -> io::Result<()> {
    let Ok(theirs) = &place.theirs else {
        return Ok(()); // it is said already
    };
    let root = place.bench.at("clear");
    fs::create_dir_all(root.join("etc"))?;
    fs::copy(&theirs.store, root.join("etc/sasldb2"))?;
    let args = ["-a", "sasldb"];
    let ours = place.ours_below(&root, &args, "ours-clear")?;
    let covered = [(theirs.store.as_path(), Path::new(THEIR_STORE))];
    let theirs = place.theirs_over(&covered, &args, "theirs-clear", &mut report.skipped)?;
    let title = "saslauthd -a sasldb, in clear text, not cached";
    place.turns(title, (requests, clients), (ours, theirs), None, report)
}

/// Each request costs a hash of the kind that this system makes.
fn shadow(place: &Place<'_>, requests: u32, clients: u32, report: &mut Report) -> io::Result<()> {
    let crypt = match Crypt::compile(place.bench) {
        Ok(crypt) => crypt,
        Err(why) => {
            report.skipped.push(format!("saslauthd -a shadow: {why}"));
            return Ok(());
        }
    };
    let hash = crypt.hash()?;
    let (passwd, shadow) = (place.bench.at("passwd"), place.bench.at("shadow"));
    let system = fs::read_to_string("/etc/passwd")?;
    fs::write(
        &passwd,
        format!("{system}{NAME}:x:65533:65533::/:/bin/false\n"),
    )?;
    fs::write(&shadow, format!("{NAME}:{hash}:20000:0:99999:7:::\n"))?;
    let covered = [
        (passwd.as_path(), Path::new("/etc/passwd")),
        (shadow.as_path(), Path::new("/etc/shadow")),
    ];
    let folder = place.bench.at("ours-shadow");
    fs::create_dir_all(&folder)?;
    let args = ["--foreground", "-a", "shadow", "-m"].map(OsStr::new);
    let args = [args.as_slice(), &[folder.as_os_str()]].concat();
    let ours = match Daemon::start_over(&covered, &place.ours, &args, Ways::Stays, &folder) {
        Ok(ours) => ours,
        Err(e) => {
            report.skipped.push(format!("saslauthd -a shadow: {e}"));
            return Ok(());
        }
    };
    let args = ["-a", "shadow"];
    let theirs = place.theirs_over(&covered, &args, "theirs-shadow", &mut report.skipped)?;
    let alone = Contender::peer(CRYPT, || crypt.rate(&hash, requests));
    let title = "saslauthd -a shadow, not cached";
    let work = (requests, clients);
    place.turns(title, work, (ours, theirs), Some(alone), report)
}

fn done(command: &mut Command) -> io::Result<()> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{command:?}: failed"))),
    }
}
