//! `bench smtp`: the server beside sendmail and Postfix, each taking mail on this machine.
//!
//! Every server has a folder of its own, on one file system, and a free port of the
//! loopback net; one that is a peer lives in namespaces of its own and ends with them. All
//! are asked by the same client. What each of them does for a message that it answers with
//! 250: ours writes to its journal and syncs it, once for all that come while the sync
//! before is under way; Postfix writes a file and syncs it; sendmail writes two files and
//! syncs them and their folder (SuperSafe, its default). None of them delivers: our
//! messages and sendmail's wait for a queue run, Postfix's are held.

mod accept;
mod client;
mod growth;
mod idle;
mod ours;
mod postfix;
mod recipients;
mod relay;
mod sendmail;
mod server;
mod sink;
mod site;
mod tls;

use std::io;

use crate::report::{Figure, Report};
use crate::setting::{Bench, Extent, Setting};

/// Messages or answers a second.
const RATE: Figure = Figure::more("a second");
/// What the server used of processors for each.
const CPU: Figure = Figure::less("server's CPU us each");

/// Has the server and its peers take mail.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Measure this part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Messages accepted over connections that stay.
    Accept,
    /// Messages accepted over a connection each.
    New,
    /// Connections that say EHLO and QUIT.
    Connect,
    /// Memory of sessions that wait.
    Idle,
    /// Answers to RCPT.
    Recipients,
    /// Messages passed on to another host.
    Relay,
    /// More sessions, larger messages.
    Growth,
}

/// Measures a part.
type Measure = fn(&Bench, &mut Report) -> io::Result<()>;

/// Measures, and prints tables.
///
/// # Errors
/// Our own server does not start or does not answer.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let bench = args.setting.open()?;
    site::many_files()?;
    let mut report = Report::default();
    let parts: [(Part, Measure); 7] = [
        (Part::Accept, accept::reused),
        (Part::New, accept::new_each),
        (Part::Connect, accept::connections),
        (Part::Idle, idle::run),
        (Part::Recipients, recipients::run),
        (Part::Relay, relay::run),
        (Part::Growth, growth::run),
    ];
    for (part, measure) in parts {
        if args.only.is_none_or(|only| only == part) {
            measure(&bench, &mut report)?;
        }
    }
    args.setting.print(&report);
    Ok(())
}

/// How long a turn takes, in milliseconds.
fn turn_millis(bench: &Bench) -> u64 {
    match bench.extent {
        Extent::Quick => 300,
        Extent::Full => 2_000,
    }
}
