//! `mapctl demo`: the tools on a sample site, in a temporary folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use libmaps::store;
use libmaps::sysexits::SysExit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

use super::{Failure, Outcome};
use crate::demo_folder::{AtTheEnd, DemoFolder};

/// Try the tools on a sample site in a temporary folder.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the folder for further experiments.
    #[arg(long)]
    keep: bool,
}

const ACCESS: &str = "\
# who may connect, relay and send
Connect:localhost\tRELAY
Connect:127.0.0.1\tRELAY
Connect:192.168\tRELAY
From:spam.example\tREJECT
From:friend@spam.example\tOK
To:lists.example.org\tRELAY
TLS_Clt:\tENCR:128
";

const MAILERTABLE: &str = "\
lists.example.org\tesmtp:[lists.internal]
.example.org\trelay:hub.example.org
";

const VIRTUSERTABLE: &str = "\
info@example.com\tpostmaster
@old.example.com\t%1@example.com
";

/// So many lines of the rebuild are written before it is killed.
const LINES_BEFORE_THE_KILL: u32 = 200_000;

/// Lays the site out, builds its maps, asks and edits them, kills a rebuild half-way, and shows
/// that the old map still answers.
pub(crate) fn demo(args: &DemoArgs) -> Outcome {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM, SIGHUP] {
        let told = usize::try_from(number).unwrap_or_default();
        flag::register_usize(number, Arc::clone(&signal), told)?;
    }
    let at_the_end = match args.keep {
        true => AtTheEnd::Keep,
        false => AtTheEnd::Remove,
    };
    let shown = show(at_the_end, &signal);
    if let Ok(number @ 1..) = i32::try_from(signal.load(Ordering::Relaxed)) {
        // The folder is gone; this ends the program.
        emulate_default_handler(number)?;
    }
    shown
}

fn show(at_the_end: AtTheEnd, signal: &Arc<AtomicUsize>) -> Outcome {
    let mut demo = Demo::begin(DemoFolder::make("mapctl", at_the_end)?, Arc::clone(signal))?;
    demo.build()?;
    demo.ask()?;
    demo.edit()?;
    demo.kill()?;
    demo.end()?;
    Ok(SysExit::Ok)
}

struct Demo {
    folder: DemoFolder,
    program: PathBuf,
    out: io::Stdout,
    /// The number of a signal that came.
    signal: Arc<AtomicUsize>,
}

impl Demo {
    fn begin(folder: DemoFolder, signal: Arc<AtomicUsize>) -> Result<Self, Failure> {
        let mut demo = Demo {
            folder,
            program: std::env::current_exe()?,
            out: io::stdout(),
            signal,
        };
        demo.say("A sample site:")?;
        for (name, text) in [
            ("access", ACCESS),
            ("mailertable", MAILERTABLE),
            ("virtusertable", VIRTUSERTABLE),
        ] {
            fs::write(demo.at(name), text)?;
            let path = demo.at(name);
            demo.line(&format!(
                "  {} ({} lines)",
                path.display(),
                text.lines().count()
            ))?;
        }
        Ok(demo)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        match self.signal.load(Ordering::Relaxed) {
            0 => writeln!(self.out, "{text}"),
            _ => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("\n{text}"))
    }

    /// This program under another name: `makemap`, `editmap`.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0(program)
            .args(args)
            .current_dir(self.folder.path());
        command
    }

    /// Shows a command line as typed, runs it, and shows what it printed and its exit code.
    fn run(&mut self, program: &str, args: &[&str], input: Option<&str>) -> Result<(), Failure> {
        let redirection = input.map_or(String::new(), |file| format!(" < {file}"));
        self.line(&format!("  $ {program} {}{redirection}", args.join(" ")))?;
        let mut command = self.command(program, args);
        if let Some(file) = input {
            command.stdin(File::open(self.at(file))?);
        }
        let output = command.output()?;
        for text in [output.stdout, output.stderr] {
            for line in String::from_utf8_lossy(&text).lines() {
                self.line(&format!("    {line}"))?;
            }
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => self.line(&format!("    (exit {code})"))?,
            None => self.line("    (killed)")?,
        }
        Ok(())
    }

    fn build(&mut self) -> Result<(), Failure> {
        self.say("Its maps are built:")?;
        for name in ["access", "mailertable", "virtusertable"] {
            self.run("makemap", &["hash", name], Some(name))?;
        }
        self.run("mapctl", &["info", "hash:access"], None)
    }

    fn ask(&mut self) -> Result<(), Failure> {
        self.say("They answer:")?;
        let keys = [
            "query",
            "hash:access",
            "Connect:192.168",
            "From:spam.example",
        ];
        self.run("mapctl", &keys, None)?;
        self.run("mapctl", &["query", "hash:access", "Connect:10"], None)?;
        let keys = ["query", "--json", "hash:virtusertable", "@old.example.com"];
        self.run("mapctl", &keys, None)
    }

    fn edit(&mut self) -> Result<(), Failure> {
        self.say("One entry is edited; the map as it was is compared with the new one:")?;
        fs::copy(self.at("access.db"), self.at("before.db"))?;
        let args = ["-u", "hash", "access", "From:spam.example", "DISCARD"];
        self.run("editmap", &args, None)?;
        self.run("mapctl", &["diff", "hash:before", "hash:access"], None)
    }

    fn kill(&mut self) -> Result<(), Failure> {
        self.say("A rebuild is killed half-way:")?;
        let mut child = self
            .command("makemap", &["hash", "access"])
            .stdin(Stdio::piped())
            .spawn()?;
        let fed = feed(&mut child);
        let draft = self.at(".access.db.draft").exists();
        child.kill()?;
        let status = child.wait()?;
        fed?;
        let text = format!(
            "  makemap hash access, killed after {LINES_BEFORE_THE_KILL} lines: {status}; \
             a draft was {}",
            if draft { "there" } else { "not yet made" }
        );
        self.line(&text)?;
        self.line("  The old map still answers:")?;
        self.run(
            "mapctl",
            &["query", "hash:access", "From:spam.example"],
            None,
        )?;
        self.line("  and the next build clears the remains away:")?;
        self.run("makemap", &["hash", "access"], Some("access"))?;
        self.run(
            "mapctl",
            &["query", "hash:access", "From:spam.example"],
            None,
        )?;
        let left = left_over(self.folder.path())?;
        self.line(&format!("  Hidden files left in the folder: {left}"))?;
        let map = store::open(&self.at("access.db"))?;
        let entries = map.iter().try_fold(0, |n, entry| entry.map(|_| n + 1))?;
        self.line(&format!("  Entries in the map: {entries}"))?;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let path = self.folder.path();
        if self.folder.at_the_end() == AtTheEnd::Keep {
            let text = format!("The folder is left for you: {}", path.display());
            self.say(&text)?;
        } else {
            fs::remove_dir_all(path)?;
            self.say("The folder is removed (mapctl demo --keep leaves it).")?;
        }
        self.say("To try next:")?;
        for line in [
            "makemap hash access < access        build a map of your own",
            "makemap -u hash access              dump it",
            "mapctl query hash:access KEY        ask it",
            "mapctl convert OLD.db hash:NEW      from Berkeley DB, without libdb",
        ] {
            self.line(&format!("  {line}"))?;
        }
        Ok(())
    }
}

/// Writes lines to the child, and keeps its input open.
fn feed(child: &mut Child) -> io::Result<()> {
    let Some(input) = &mut child.stdin else {
        return Ok(());
    };
    let mut text = Vec::new();
    for n in 0..LINES_BEFORE_THE_KILL {
        writeln!(text, "From:host{n}.spam.example\tREJECT")?;
    }
    input.write_all(&text)
}

fn left_over(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        count += usize::from(hidden(&name));
    }
    Ok(count)
}

fn hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
