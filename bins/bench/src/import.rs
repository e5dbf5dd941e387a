//! `bench import`: what it costs to store accounts, and to change one among many.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::accounts::{self, Third};
use crate::measure::{Run, measure};
use crate::peers::Peer;
use crate::report::{Bound, Figure, Report, Sample, Subject, Target};
use crate::setting::{Extent, Setting};
use crate::turns::{self, Contender};

const WALL: Figure = Figure::less("wall ms");
const CPU: Figure = Figure::less("CPU ms");
const EACH: Figure = Figure::less("CPU ms an account");

const IMPORT: &str = "saslpasswd2 --import";
const LOOP: &str = "Cyrus SASL's saslpasswd2 in a loop";

/// Stores accounts with saslpasswd2, beside Cyrus SASL's in a loop, and changes one password
/// among many.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Numbers of hashed accounts that are imported into a new store.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    hashed: Option<Vec<u32>>,
    /// How many accounts are imported by their passwords, which are hashed.
    #[arg(long, value_name = "N")]
    passwords: Option<u32>,
    /// How many accounts the store holds in which one password is changed.
    #[arg(long, value_name = "N")]
    accounts: Option<u32>,
}

/// Where things stand while it runs.
struct Site<'a> {
    folder: &'a Path,
    program: PathBuf,
}

impl Site<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn import(&self, csv: &str, store: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--import")
            .arg(self.at(csv))
            .arg("-f")
            .arg(self.at(store))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Imports into a new store.
    fn import_anew(&self, csv: &str) -> io::Result<Run> {
        self.remove("new")?;
        measure(&mut self.import(csv, "new"))
    }

    /// Sets the passwords of so many accounts in a new store, one after the other.
    fn set_each(&self, peer: &Peer, count: u32) -> io::Result<Run> {
        self.remove("theirs")?;
        let (store, password) = (self.at("theirs"), self.at("password"));
        let mut all = Run::default();
        for n in 0..count {
            let name = accounts::name(n);
            let mut command = accounts::set_password(peer.command(), &store, &name, &password)?;
            all = all.and(measure(&mut command)?);
        }
        Ok(all)
    }

    fn remove(&self, store: &str) -> io::Result<()> {
        match fs::remove_file(self.at(store)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn change(&self, store: &str) -> io::Result<Run> {
        let (store, password) = (self.at(store), self.at("password"));
        let name = accounts::name(0);
        let command = Command::new(&self.program);
        let mut command = accounts::set_password(command, &store, &name, &password)?;
        measure(&mut command)
    }
}

fn sample(run: Run, accounts: u32) -> Sample {
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    Sample(vec![
        (WALL, millis(run.wall)),
        (CPU, millis(run.cpu)),
        (EACH, millis(run.cpu) / f64::from(accounts.max(1))),
    ])
}

/// Measures, and prints tables.
///
/// # Errors
/// saslpasswd2 is not there, or fails.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let bench = args.setting.open()?;
    let (hashed, passwords, many) = match bench.extent {
        Extent::Quick => (vec![20, 100], 20, 1_000),
        Extent::Full => (vec![100, 1_000, 10_000], 200, 100_000),
    };
    let hashed = args.hashed.clone().unwrap_or(hashed);
    let passwords = args.passwords.unwrap_or(passwords);
    let many = args.accounts.unwrap_or(many);
    let site = Site {
        folder: bench.folder(),
        program: bench.program("saslpasswd2")?,
    };
    fs::write(site.at("password"), "a new password\n")?;
    let mut report = Report::default();
    let peer = bench.peers.find("sasl2-bin", "saslpasswd2");
    let peer = peer.map_err(|why| report.skipped.push(why)).ok();

    let mut imports = Subject {
        title: "import hashed accounts".into(),
        sizes: "accounts",
        rows: Vec::new(),
        targets: vec![Target {
            ours: IMPORT,
            size: 1_000,
            figure: WALL,
            bound: Bound::Times(50.0, LOOP),
        }],
    };
    for count in hashed {
        accounts::write(&site.at("hashed.csv"), count, Third::Hashes)?;
        let mut contenders = vec![Contender::ours(IMPORT, || {
            Ok(sample(site.import_anew("hashed.csv")?, count))
        })];
        // Ten thousand of theirs take minutes, and show nothing more.
        if let Some(peer) = peer.as_ref().filter(|_| count <= 1_000) {
            contenders.push(Contender::peer(LOOP, || {
                Ok(sample(site.set_each(peer, count)?, count))
            }));
        }
        let rows = turns::take(bench.runs, count.into(), contenders, &mut report.skipped)?;
        imports.rows.extend(rows);
    }
    report.subjects.push(imports);

    accounts::write(&site.at("passwords.csv"), passwords, Third::Password)?;
    let ours = Contender::ours(IMPORT, || {
        Ok(sample(site.import_anew("passwords.csv")?, passwords))
    });
    report.subjects.push(Subject {
        title: "import passwords, which are hashed".into(),
        sizes: "accounts",
        rows: turns::take(
            bench.runs,
            passwords.into(),
            vec![ours],
            &mut report.skipped,
        )?,
        targets: Vec::new(),
    });

    accounts::write(&site.at("all.csv"), many, Third::Hashes)?;
    measure(&mut site.import("all.csv", "many"))?;
    site.change("one")?;
    let mut changes = Subject {
        title: "change a password".into(),
        sizes: "accounts there",
        rows: Vec::new(),
        targets: Vec::new(),
    };
    for (store, size) in [("one", 1), ("many", many)] {
        let ours = Contender::ours("saslpasswd2", || Ok(sample(site.change(store)?, 1)));
        let rows = turns::take(bench.runs, size.into(), vec![ours], &mut report.skipped)?;
        changes.rows.extend(rows);
    }
    report.subjects.push(changes);
    args.setting.print(&report);
    Ok(())
}
