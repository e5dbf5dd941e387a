//! sendmail: the program that others call to send mail, and sendmail's other faces.
//!
//! A message goes into the drop folder ([`crate::drop`]) whether or not a server runs. The
//! set-group-ID bit serves that alone: a call with an option that is not safe, and every mode
//! that sends nothing, runs with the caller's own rights.

pub mod address_list;
pub mod args;
mod collect;
mod daemon;
mod fault;
pub mod options;
mod output;
mod print_queue;
pub mod queue_order;
mod recipients;
mod run_queue;
mod scene;
mod setting;
mod stdio_session;
mod submit;
mod test_mode;
mod values;
mod verify;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use libmaps::sysexits::SysExit;
use tools::report::{help, print_and_end, version};

pub use run_queue::run_once;

use args::{CommandLine, Mode, QueueOf, Refusal, Stream};
use output::Output;
use scene::Scene;

const ABOUT: &str = "Sends the message on standard input; other modes as in sendmail(8).";

/// Runs sendmail; the first argument is the name it was called by.
pub fn sendmail(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| "sendmail".into());
    let rest: Vec<OsString> = args.collect();
    let line = match CommandLine::parse(&program, rest.iter().cloned()) {
        Ok(line) if !is_for_mailq(&program, &line) => line,
        Err(refusal) if !is_mailq(&program) => return refuse(&refusal),
        _ => return mailq(rest),
    };
    let sends = matches!(line.mode, Mode::Submit | Mode::Session | Mode::PrintQueue);
    if (line.needs_own_rights() || !sends)
        && let Err(error) = scene::keep_own_group_only()
    {
        return refuse(&Refusal::new(SysExit::OsErr, error.to_string()));
    }
    match line.mode {
        Mode::Help => {
            return print_and_end("sendmail", &help(ABOUT, options::USAGE, options::OPTIONS));
        }
        Mode::Version => return print_and_end("sendmail", &version("sendmail")),
        Mode::InitAliases => return tools::newaliases::run(alias_args(&line)),
        _ => {}
    }
    run(&line).unwrap_or_else(|refusal| refuse(&refusal))
}

fn is_mailq(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("mailq"))
}

/// Words behind `mailq` are commands to it, and what it says of itself it says alone.
fn is_for_mailq(program: &OsStr, line: &CommandLine) -> bool {
    let of_itself = matches!(line.mode, Mode::Help | Mode::Version);
    is_mailq(program) && (of_itself || !line.operands.is_empty())
}

/// What our mailq has beyond sendmail's.
fn mailq(args: Vec<OsString>) -> ExitCode {
    match scene::keep_own_group_only() {
        Ok(()) => crate::mailq::mailq(args),
        Err(error) => refuse(&Refusal::new(SysExit::OsErr, error.to_string())),
    }
}

fn run(line: &CommandLine) -> Result<ExitCode, Refusal> {
    let (mut stdin, mut stdout) = (io::stdin().lock(), Output::new(io::stdout().lock()));
    if line.identity.is_some() {
        identity(line, &mut stdout)?;
    }
    let done = match line.mode {
        Mode::PrintQueue => {
            let printed = print_queue::run(line, &mut stdout)?;
            return Ok(stdout.end().unwrap_or(printed));
        }
        Mode::Submit => submit::submit(line, &Scene::open(line)?, &mut stdin, &mut stdout),
        Mode::Session => stdio_session::run(&Scene::open(line)?, &mut stdin, &mut stdout),
        Mode::Verify => verify::verify(line, &mut stdout),
        Mode::Test => test_mode::run(line, &mut stdin, &mut stdout),
        // Cron jobs of the packages do this as smmsp; what it would do, the server has done.
        Mode::RunQueue if line.queue_of == QueueOf::Client => Ok(SysExit::Ok),
        Mode::RunQueue => run_queue::run(line, &mut stdout),
        Mode::Daemon => daemon::background(line),
        Mode::Foreground => daemon::foreground(line),
        Mode::HostStatus => Err(Refusal::new(
            SysExit::Unavailable,
            "no status of hosts is kept on disk; mailq shows what waits and why",
        )),
        Mode::InitAliases | Mode::Help | Mode::Version => Ok(SysExit::Ok),
    };
    let exit = done?;
    // Of a message that was taken the exit code tells, whether the caller listens or not.
    let shows = matches!(line.mode, Mode::Verify | Mode::Test) || line.identity.is_some();
    let unwritten = stdout.end().filter(|_| shows);
    Ok(unwritten.unwrap_or_else(|| exit.into()))
}

fn refuse(refusal: &Refusal) -> ExitCode {
    // A caller that has gone still sees the exit code.
    let _ = match refusal.on {
        Stream::Output => writeln!(io::stdout(), "{}", refusal.text),
        Stream::Error => writeln!(io::stderr(), "{}", refusal.text),
    };
    refusal.exit.into()
}

/// The arguments that newaliases understands.
fn alias_args(line: &CommandLine) -> Vec<OsString> {
    let mut args = line.alias_args.clone();
    if let Some(file) = &line.config {
        args.push("-C".into());
        args.push(file.into());
    }
    if let Some(root) = &line.root {
        args.push("--root".into());
        args.push(root.into());
    }
    if line.talk == args::Talk::Verbose {
        args.push("-v".into());
    }
    args
}

/// `-d0`: version and names, which programs read to learn what sendmail this is.
fn identity(line: &CommandLine, out: &mut dyn Write) -> Result<(), Refusal> {
    let site = scene::read_site(line)?;
    let text = format!(
        "Version {}\n\n============ SYSTEM IDENTITY (after readcf) ============\n\
         \x20     (short domain name) $w = {}\n\
         \x20 (canonical domain name) $j = {}\n\
         \x20        (subdomain name) $m = {}\n\
         ========================================================\n\n",
        env!("CARGO_PKG_VERSION"),
        site.short_name,
        site.host_name,
        site.domain
    );
    let _ = out.write_all(text.as_bytes());
    Ok(())
}
