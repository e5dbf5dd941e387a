//! temporary
pub mod ask;
pub mod explain;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style { Text, Json }
#[derive(Debug)]
pub(crate) enum Failure { Output(std::io::Error), Other(libmaps::sysexits::SysExit, String) }
#[derive(Debug, clap::Parser)]
struct Cli { #[arg(long, global = true)] json: bool, #[command(subcommand)] command: Command }
#[derive(Debug, clap::Subcommand)]
enum Command { Ask(ask::AskArgs), Explain(explain::ExplainArgs) }
pub fn run() -> std::process::ExitCode {
    let cli = <Cli as clap::Parser>::parse();
    let style = if cli.json { Style::Json } else { Style::Text };
    let done = match &cli.command {
        Command::Ask(args) => ask::run(args, std::io::stdin().lock(), std::io::stdout().lock()),
        Command::Explain(args) => explain::run(args, style, std::io::stdout().lock()),
    };
    match done { Ok(()) => 0.into(), Err(Failure::Output(e)) => { eprintln!("{e}"); 74.into() } Err(Failure::Other(x, t)) => { eprintln!("mapctl: {t}"); x.into() } }
}
