//! The command line of sendmail, read as sendmail reads it.
//!
//! Options end at the first operand. `-q`, `-d` and `-Q` take what is attached to them
//! and nothing else; `-C` at the end means `sendmail.cf`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use libmaps::sysexits::SysExit;
use tools::alias_config::Setting;
use tools::getopt::Opt;

use super::options::OPTIONS;
use super::queue_order::{Order, QueueOrder};
use super::setting::{by_letter, by_name, check_delivery_mode, is_safe};
use super::values;
use crate::drop::submission::SetBy;
use crate::queue::Octets;
use crate::session::{BodyKind, Notify, Ret};

/// A command line that can't be obeyed: what to say and how to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code.
    pub exit: SysExit,
    /// What is said.
    pub text: String,
    /// Where.
    pub on: Stream,
}

/// Where something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, where sendmail tells of errors.
    Output,
    /// Standard error, where it tells of letters that it does not know.
    Error,
}

impl Refusal {
    /// A wrong command line.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Refusal::new(SysExit::Usage, text)
    }

    /// Ends with this code and text.
    #[must_use]
    pub fn new(exit: SysExit, text: impl Into<String>) -> Self {
        Refusal {
            exit,
            text: text.into(),
            on: Stream::Output,
        }
    }

    /// A letter that getopt(3) would complain of.
    #[must_use]
    pub fn getopt(program: &str, text: &str) -> Self {
        Refusal {
            on: Stream::Error,
            ..Refusal::usage(format!("{program}: {text}"))
        }
    }
}

/// What sendmail is to do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// `-bm`: send what stands on standard input.
    #[default]
    Submit,
    /// `-bs`: an SMTP session on standard input and output.
    Session,
    /// `-bv`: say where addresses lead.
    Verify,
    /// `-bp`: list the queue.
    PrintQueue,
    /// `-bi`: build the alias maps.
    InitAliases,
    /// `-bt`: test addresses and rulesets.
    Test,
    /// `-bd`: start the server, which goes to the background.
    Daemon,
    /// `-bD`: be the server.
    Foreground,
    /// `-bh`, `-bH`, and the names `hoststat` and `purgestat`.
    HostStatus,
    /// `-q` without `-bd`: run the queue.
    RunQueue,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// Where the recipients stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecipientsIn {
    /// On the command line.
    #[default]
    Operands,
    /// In the header too (`-t`).
    Header,
}

/// Whether a line with a dot alone ends the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dot {
    /// It does, and a dot before other text is taken off.
    #[default]
    Ends,
    /// It is text (`-i`).
    IsText,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Talk {
    /// Only what goes wrong.
    #[default]
    Quiet,
    /// What happens (`-v`).
    Verbose,
}

/// Which of sendmail's two queues is meant (`-A`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOf {
    /// Nothing was said: both, where both can be meant.
    #[default]
    Both,
    /// The server's (`-Am`).
    Server,
    /// The client's (`-Ac`): the drop folder, which the server takes in by itself.
    Client,
}

/// A command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// What to do.
    pub mode: Mode,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `-C`.
    pub config: Option<PathBuf>,
    /// `-t`.
    pub recipients_in: RecipientsIn,
    /// `-i`.
    pub dot: Dot,
    /// `-v`.
    pub talk: Talk,
    /// `-f` or `-r`.
    pub sender: Option<(Octets, SetBy)>,
    /// `-F`.
    pub full_name: Option<Octets>,
    /// `-B`.
    pub body: Option<BodyKind>,
    /// `-N`.
    pub notify: Option<Notify>,
    /// `-R`.
    pub ret: Option<Ret>,
    /// `-V`.
    pub envid: Option<Box<str>>,
    /// `-h`.
    pub hops: u32,
    /// `-q`.
    pub queue: QueueOrder,
    /// `-A`.
    pub queue_of: QueueOf,
    /// `-o` and `-O` that are options of the site, in order.
    pub settings: Vec<Setting>,
    /// Letters of `-o` and `-O` as given, for newaliases.
    pub alias_args: Vec<OsString>,
    /// Whether `-d0` asks for the names of this host.
    pub identity: Option<ShowIdentity>,
    /// Addresses.
    pub operands: Vec<Octets>,
}

/// `-d0`: version and names of this host are printed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShowIdentity;

impl CommandLine {
    /// Whether the caller asks for anything that a set-group-ID program must not do with
    /// rights that are not the caller's.
    #[must_use]
    pub fn needs_own_rights(&self) -> bool {
        self.root.is_some()
            || self.config.is_some()
            || self.settings.iter().any(|setting| !is_safe(&setting.name))
    }

    /// Reads a command line; `program` is the name that it was called by.
    ///
    /// # Errors
    /// What sendmail would say, and its exit code.
    pub fn parse(
        program: &OsStr,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, Refusal> {
        let mut line = CommandLine {
            mode: mode_of_name(program),
            ..CommandLine::default()
        };
        let called = program.to_string_lossy();
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.peek() {
            let octets = arg.as_bytes();
            let cluster = match octets.strip_prefix(b"-") {
                Some(cluster) if !cluster.is_empty() => cluster.to_vec(),
                _ => break,
            };
            args.next();
            match cluster.strip_prefix(b"-") {
                Some(b"") => break,
                Some(name) => line.take_long(&called, name, &mut args)?,
                None => line.take_cluster(&called, &cluster, &mut args)?,
            }
        }
        line.operands = args.map(|arg| Octets(arg.into_vec())).collect();
        if line.queue.is_asked() && line.mode == Mode::Submit {
            line.mode = Mode::RunQueue;
        }
        Ok(line)
    }

    fn take_long(
        &mut self,
        called: &str,
        text: &[u8],
        args: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Refusal> {
        let (name, attached) = match text.iter().position(|c| *c == b'=') {
            Some(at) => (text.get(..at), text.get(at + 1..)),
            None => (Some(text), None),
        };
        match name.unwrap_or_default() {
            b"root" => {
                let value = attached.map(|v| OsString::from_vec(v.to_vec()));
                let value = value.or_else(|| args.next());
                self.root = Some(value.ok_or_else(|| needs_argument(called, "-root"))?.into());
            }
            b"help" => self.mode = Mode::Help,
            b"version" => self.mode = Mode::Version,
            _ => return Err(illegal(called, b'-')),
        }
        Ok(())
    }

    fn take_cluster(
        &mut self,
        called: &str,
        cluster: &[u8],
        args: &mut std::iter::Peekable<impl Iterator<Item = OsString>>,
    ) -> Result<(), Refusal> {
        let mut rest = cluster;
        while let Some((&letter, after)) = rest.split_first() {
            rest = after;
            let Some(opt) = OPTIONS.iter().find(|o| o.short == Some(letter)) else {
                return Err(illegal(called, letter));
            };
            if opt.arg.is_none() {
                self.take_flag(letter);
                continue;
            }
            let value = match (is_attached_only(opt), rest.is_empty()) {
                (true, _) | (_, false) => rest.to_vec(),
                (false, true) => value_of(called, letter, args)?,
            };
            return self.take_value(letter, value);
        }
        Ok(())
    }

    fn take_flag(&mut self, letter: u8) {
        match letter {
            b't' => self.recipients_in = RecipientsIn::Header,
            b'i' => self.dot = Dot::IsText,
            b'v' => self.talk = Talk::Verbose,
            b'I' => self.mode = Mode::InitAliases,
            // The others are of old and mean nothing here.
            _ => {}
        }
    }

    fn take_value(&mut self, letter: u8, value: Vec<u8>) -> Result<(), Refusal> {
        match letter {
            b'b' => self.mode = mode(&value)?,
            b'q' => self.queue.take(&value)?,
            b'f' | b'r' => {
                if self.sender.is_some() {
                    return Err(Refusal::usage("More than one \"from\" person"));
                }
                let by = if letter == b'r' { SetBy::R } else { SetBy::F };
                self.sender = Some((Octets(value), by));
            }
            b'F' => self.full_name = Some(Octets(value)),
            b'B' => self.body = Some(values::body(&value)?),
            b'N' => self.notify = Some(values::notify(&value)?),
            b'R' => {
                if self.ret.is_some() {
                    return Err(Refusal::usage("Duplicate -R flag"));
                }
                self.ret = Some(values::ret(&value)?);
            }
            b'V' => {
                if self.envid.is_some() {
                    return Err(Refusal::usage("Duplicate -V flag"));
                }
                self.envid = Some(values::envid(&value)?);
            }
            b'h' => self.hops = values::hops(&value)?,
            b'C' => self.config = Some(OsString::from_vec(value).into()),
            b'A' if value == b"c" => self.queue_of = QueueOf::Client,
            b'A' => self.queue_of = QueueOf::Server,
            b'o' | b'O' => self.take_setting(letter, value)?,
            b'e' => self.settings.push(Setting {
                name: b"ErrorMode".to_vec(),
                value,
            }),
            b'd' if value.starts_with(b"0") || value.is_empty() => {
                self.identity = Some(ShowIdentity);
            }
            b'Q' => {
                let text = "quarantine is set and ended by `mailq hold ID` and `mailq release ID`";
                return Err(Refusal::usage(text));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_setting(&mut self, letter: u8, value: Vec<u8>) -> Result<(), Refusal> {
        let setting = if letter == b'O' {
            by_name(&value)?
        } else {
            by_letter(&value)
        };
        let yes = |value: &[u8]| {
            value.is_empty() || matches!(value.first(), Some(b't' | b'T' | b'y' | b'Y' | b'1'))
        };
        match setting.name.as_slice() {
            b"IgnoreDots" => {
                self.dot = if yes(&setting.value) {
                    Dot::IsText
                } else {
                    Dot::Ends
                };
            }
            b"DeliveryMode" => check_delivery_mode(&setting.value)?,
            b"Verbose" if yes(&setting.value) => self.talk = Talk::Verbose,
            _ => {}
        }
        let mut word = vec![b'-', letter];
        word.extend_from_slice(&value);
        self.alias_args.push(OsString::from_vec(word));
        self.settings.push(setting);
        Ok(())
    }
}

/// Options whose argument, if any, is attached.
fn is_attached_only(opt: &Opt) -> bool {
    opt.arg.is_some_and(|arg| arg.starts_with('['))
}

fn value_of(
    called: &str,
    letter: u8,
    args: &mut impl Iterator<Item = OsString>,
) -> Result<Vec<u8>, Refusal> {
    match (args.next(), letter) {
        (Some(value), _) => Ok(value.into_vec()),
        (None, b'C') => Ok(b"sendmail.cf".to_vec()),
        (None, b'b') => Ok(b" ".to_vec()),
        (None, letter) => Err(needs_argument(called, &char::from(letter).to_string())),
    }
}

fn illegal(called: &str, letter: u8) -> Refusal {
    let text = format!("illegal option -- {}", char::from(letter));
    Refusal::getopt(called, &text)
}

fn needs_argument(called: &str, name: &str) -> Refusal {
    Refusal::getopt(called, &format!("option requires an argument -- {name}"))
}

fn mode_of_name(program: &OsStr) -> Mode {
    let name = std::path::Path::new(program).file_name();
    match name.map(OsStr::as_bytes) {
        Some(b"mailq") => Mode::PrintQueue,
        Some(b"newaliases") => Mode::InitAliases,
        Some(b"smtpd") => Mode::Daemon,
        Some(b"hoststat" | b"purgestat") => Mode::HostStatus,
        _ => Mode::Submit,
    }
}

fn mode(value: &[u8]) -> Result<Mode, Refusal> {
    Ok(match value.first() {
        Some(b'm') => Mode::Submit,
        Some(b's') => Mode::Session,
        Some(b'v') => Mode::Verify,
        Some(b'p') => Mode::PrintQueue,
        Some(b'i') => Mode::InitAliases,
        Some(b't') => Mode::Test,
        Some(b'd') => Mode::Daemon,
        Some(b'D') => Mode::Foreground,
        Some(b'h' | b'H') => Mode::HostStatus,
        Some(b'z') => return Err(Refusal::usage("Frozen configurations unsupported")),
        other => {
            let letter = char::from(other.copied().unwrap_or(b' '));
            return Err(Refusal::usage(format!("Invalid operation mode {letter}")));
        }
    })
}

impl CommandLine {
    /// The folder that an option names as the queue's.
    #[must_use]
    pub fn queue_folder(&self) -> Option<PathBuf> {
        let named = self.settings.iter().rev();
        let mut named = named.filter(|setting| setting.name == b"QueueDirectory");
        let value = named.next()?.value.clone();
        Some(OsString::from_vec(value).into())
    }

    /// The order for the queue, where there is one.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.queue.order
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
