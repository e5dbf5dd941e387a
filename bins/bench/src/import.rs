//! `bench import`: what it costs to store accounts, and to change one among many.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::accounts::{self, Third};
use crate::measure::{Run, measure};

/// Stores accounts with saslpasswd2 and changes one password among many.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many hashed accounts are imported into a new store.
    #[arg(long, default_value_t = 10_000)]
    hashed: u32,
    /// How many accounts are imported by their passwords.
    #[arg(long, default_value_t = 200)]
    passwords: u32,
    /// How many accounts the store holds in which one password is changed.
    #[arg(long, default_value_t = 100_000)]
    accounts: u32,
    /// How often each is done.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The folder with saslpasswd2 of this workspace; without it, where this program stands.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where to build; a folder of a real file system.
    #[arg(long)]
    folder: Option<PathBuf>,
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
        match fs::remove_file(self.at("new")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => measure(&mut self.import(csv, "new")),
        }
    }

    fn change(&self, store: &str) -> io::Result<Run> {
        let (store, password) = (self.at(store), self.at("password"));
        let name = accounts::name(0);
        let mut command = accounts::set_password(&self.program, &store, &name, &password)?;
        measure(&mut command)
    }
}

/// Measures, and prints a table.
///
/// # Errors
/// saslpasswd2 is not there, or fails.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let folder = match &args.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let site = Site {
        folder: folder.path(),
        program: accounts::programs(args.programs.as_deref())?.join("saslpasswd2"),
    };
    accounts::write(&site.at("hashed.csv"), args.hashed, Third::Hashes)?;
    accounts::write(&site.at("passwords.csv"), args.passwords, Third::Password)?;
    accounts::write(&site.at("all.csv"), args.accounts, Third::Hashes)?;
    fs::write(site.at("password"), "a new password\n")?;
    measure(&mut site.import("all.csv", "many"))?;
    site.change("one")?;
    let mut runs: [Vec<Run>; 4] = Default::default();
    for turn in 1..=args.runs {
        eprintln!("run {turn} of {}", args.runs);
        let [hashed, passwords, one, many] = &mut runs;
        hashed.push(site.import_anew("hashed.csv")?);
        passwords.push(site.import_anew("passwords.csv")?);
        one.push(site.change("one")?);
        many.push(site.change("many")?);
    }
    let [hashed, passwords, one, many] = runs.map(|runs| Run::median(&runs));
    print!("{}", text(args, [hashed, passwords, one, many]));
    Ok(())
}

fn text(args: &Args, runs: [Run; 4]) -> String {
    let [hashed, passwords, one, many] = runs;
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let mut out =
        "\n| saslpasswd2 | wall ms | CPU ms | peak MiB |\n|---|---:|---:|---:|\n".to_owned();
    let rows = [
        (format!("import {} hashed accounts", args.hashed), hashed),
        (format!("import {} passwords", args.passwords), passwords),
        ("change the only password".to_owned(), one),
        (format!("change one of {} passwords", args.accounts), many),
    ];
    for (title, run) in rows {
        let peak = run.peak_octets >> 20;
        let (wall, cpu) = (millis(run.wall), millis(run.cpu));
        out.push_str(&format!("| {title} | {wall:.0} | {cpu:.0} | {peak} |\n"));
    }
    out.push_str(&format!(
        "\na change among {} accounts, beyond hashing and start: {:.0} ms, of CPU {:.0} ms\n\
         hashing: {:.1} ms of CPU an account, {:.1} processors busy\n",
        args.accounts,
        millis(many.wall.saturating_sub(one.wall)),
        millis(many.cpu.saturating_sub(one.cpu)),
        millis(passwords.cpu) / f64::from(args.passwords.max(1)),
        passwords.cpu.as_secs_f64() / passwords.wall.as_secs_f64(),
    ));
    out
}
