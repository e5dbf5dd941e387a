//! `-bm`: the message on standard input goes into the drop folder.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use libmaps::site::Site;
use libmaps::sysexits::SysExit;
use libmaps::table::aliases::Separator;

use super::address_list::{Listed, addresses};
use super::args::{CommandLine, RecipientsIn, Refusal, Talk};
use super::collect::{Bits, Collected, Collector};
use super::fault::Fault;
use super::recipients::HeaderText;
use super::scene::Scene;
use crate::drop::DropId;
use crate::drop::file::DropWriter;
use crate::drop::submission::{Faulty, MAX_RECIPIENTS, Sender, Submission, Wanted};
use crate::header::header_limit;
use crate::queue::Octets;
use crate::queue::is_full;
use crate::session::BodyKind;

/// Octets read at once.
const PIECE_OCTETS: usize = 64 * 1024;
/// How long `-v` waits for the server to take the message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends what stands on `input`. Of a recipient whose address is wrong the caller is told, and
/// the sender by a notice of the server's: the message is dropped with what is wrong.
///
/// # Errors
/// Why nothing was sent.
pub(super) fn submit(
    line: &CommandLine,
    scene: &Scene,
    input: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<SysExit, Refusal> {
    let mut recipients = Recipients::new(&scene.site);
    let mut separator = match scene.site.options.addresses.old_style_headers {
        true => Separator::Blank,
        false => Separator::Comma,
    };
    let said = match recipients.mode {
        ErrorMode::Print => Said::Aloud,
        ErrorMode::Quiet | ErrorMode::Mail | ErrorMode::MailAndSucceed => Said::Not,
    };
    for operand in &line.operands {
        separator = separator.after(&operand.0);
        recipients.add(addresses(&operand.0, separator), said, out);
    }
    let from_header = line.recipients_in == RecipientsIn::Header;
    if line.operands.is_empty() && !from_header {
        return Err(Refusal::usage("Recipient names must be specified"));
    }
    let sender = sender(line, &scene.site)?;
    if recipients.is_empty() && !from_header {
        // A program that is still writing is not cut off.
        let _ = io::copy(input, &mut io::sink());
        return match recipients.exit {
            SysExit::Ok => Err(Refusal::usage("Recipient names must be specified")),
            exit => Ok(exit),
        };
    }
    let collected = collect(line, scene, input)?;
    if from_header {
        // Of these sendmail tells in every mode.
        let listed = collected.header.recipients(separator);
        recipients.add(listed, Said::Aloud, out);
    }
    if recipients.is_empty() && recipients.exit == SysExit::Ok {
        say(out, "No recipient addresses found in header");
    }
    recipients.fail_too_many_hops(line.hops, out);
    if !recipients.faulty.is_empty() && collected.header.is_report() {
        // A notice that a program sends on to a wrong address must not make another for the
        // user whose program it is, and so on. The exit alone tells of it, in every mode.
        if let Some((_, fault)) = recipients.faulty.drain(..).next() {
            recipients.exit = fault.exit;
        }
    }
    if recipients.is_empty() {
        return Ok(recipients.exit);
    }
    if recipients.good.len() + recipients.faulty.len() > MAX_RECIPIENTS {
        let text = format!("more than {MAX_RECIPIENTS} recipients");
        return Err(Refusal::new(SysExit::Unavailable, text));
    }
    let submission = Submission {
        sender,
        faulty: recipients.faulty(line),
        full_name: line.full_name.clone().map(clean_name),
        body: line.body.or(collected.body),
        ret: line.ret,
        envid: line.envid.clone(),
        smtputf8: recipients.good.iter().any(|a| !a.is_ascii()),
        hops: line.hops,
        ..Submission::to(recipients.wanted(line))
    };
    let checked = submission.check();
    checked.map_err(|fault| Refusal::new(SysExit::DataErr, fault.to_string()))?;
    let finished = collected.writer.finish(&submission);
    let id = finished.map_err(|e| not_dropped(scene, &e))?;
    if line.talk == Talk::Verbose && !recipients.good.is_empty() {
        let fate = fate_of(&id, &scene.folder);
        for address in &recipients.good {
            let address = String::from_utf8_lossy(address);
            say(out, &format!("{address}... {fate}"));
        }
    }
    Ok(recipients.exit)
}

/// Writes a line for the caller, who may have gone.
pub(super) fn say(out: &mut dyn Write, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// What comes of a wrong address (option ErrorMode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorMode {
    /// It is told on standard output, and to the sender by mail.
    Print,
    /// By the exit code alone.
    Quiet,
    /// By mail, and by the exit code.
    Mail,
    /// By mail alone.
    MailAndSucceed,
}

impl ErrorMode {
    fn of(site: &Site) -> Self {
        match site.options.delivery.error_mode.bytes().next() {
            Some(b'q') => ErrorMode::Quiet,
            // To write to a terminal of somebody's is not ours.
            Some(b'm' | b'w') => ErrorMode::Mail,
            Some(b'e') => ErrorMode::MailAndSucceed,
            _ => ErrorMode::Print,
        }
    }
}

/// Whether what is wrong is said on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Aloud,
    Not,
}

/// Recipients, each once, and what came of looking at them.
struct Recipients<'a> {
    site: &'a Site,
    mode: ErrorMode,
    good: Vec<Vec<u8>>,
    /// Those that are told of by mail.
    faulty: Vec<(Vec<u8>, Fault)>,
    seen: HashSet<Vec<u8>>,
    exit: SysExit,
}

impl<'a> Recipients<'a> {
    fn new(site: &'a Site) -> Self {
        Recipients {
            site,
            mode: ErrorMode::of(site),
            good: Vec::new(),
            faulty: Vec::new(),
            seen: HashSet::new(),
            exit: SysExit::Ok,
        }
    }

    /// Whether there is nobody to send to and nothing to tell of.
    fn is_empty(&self) -> bool {
        self.good.is_empty() && self.faulty.is_empty()
    }

    fn add(&mut self, all: Vec<Listed>, said: Said, out: &mut dyn Write) {
        for element in all {
            let (address, fault) = match element {
                Listed::Address(address) => {
                    let fault = Fault::of(self.site, &address);
                    (address, fault)
                }
                Listed::Unbalanced(text, sign) => (text, Some(Fault::unbalanced(sign))),
            };
            if !self.seen.insert(address.clone()) {
                continue;
            }
            let Some(fault) = fault else {
                self.good.push(address);
                continue;
            };
            if said == Said::Aloud {
                let address = String::from_utf8_lossy(&address);
                say(out, &format!("{address}... {}", fault.text));
            }
            self.fail(address, fault);
        }
    }

    fn fail(&mut self, address: Vec<u8>, fault: Fault) {
        if self.mode != ErrorMode::MailAndSucceed {
            self.exit = fault.exit;
        }
        if self.mode != ErrorMode::Quiet {
            self.faulty.push((address, fault));
        }
    }

    /// MaxHopCount: a message that goes round in circles goes to nobody.
    fn fail_too_many_hops(&mut self, hops: u32, out: &mut dyn Write) {
        let max = self.site.options.limits.max_hops;
        if max <= 0 || i64::from(hops) <= max || self.is_empty() {
            return;
        }
        let fault = Fault::too_many_hops(hops, max);
        say(out, &fault.text);
        for address in std::mem::take(&mut self.good) {
            self.fail(address, fault.clone());
        }
        self.exit = fault.exit;
    }

    fn wanted(&self, line: &CommandLine) -> Vec<Wanted> {
        let wanted = |address: &Vec<u8>| Wanted {
            address: Octets(address.clone()),
            notify: line.notify,
            orcpt: None,
        };
        self.good.iter().map(wanted).collect()
    }

    fn faulty(&self, line: &CommandLine) -> Vec<Faulty> {
        let faulty = |(address, fault): &(Vec<u8>, Fault)| {
            Faulty::fitting(address, line.notify, &fault.status, &fault.text)
        };
        self.faulty.iter().map(faulty).collect()
    }
}

/// Who the message is to be from.
fn sender(line: &CommandLine, site: &Site) -> Result<Sender, Refusal> {
    let Some((written, by)) = &line.sender else {
        return Ok(Sender::Own);
    };
    let address = match addresses(&written.0, Separator::Comma).as_slice() {
        [] => Vec::new(),
        [Listed::Unbalanced(text, sign)] => {
            return Err(refused(text, &Fault::unbalanced(*sign)));
        }
        // Blanks are not allowed in an address; sendmail puts a dot there (BlankSub).
        [Listed::Address(only)] => only
            .iter()
            .map(|c| if *c == b' ' { b'.' } else { *c })
            .collect(),
        _ => return Err(Refusal::usage("More than one \"from\" person")),
    };
    if !address.is_empty()
        && let Some(fault) = Fault::of(site, &address)
    {
        return Err(refused(&address, &fault));
    }
    Ok(Sender::Set {
        address: Octets(address),
        by: *by,
    })
}

fn refused(address: &[u8], fault: &Fault) -> Refusal {
    let address = String::from_utf8_lossy(address);
    Refusal::new(fault.exit, format!("{address}... {}", fault.text))
}

/// A name of one line, cut to a sensible length.
fn clean_name(name: Octets) -> Octets {
    let mut text = String::from_utf8_lossy(&name.0).into_owned();
    text.retain(|c| !c.is_control());
    while text.len() > crate::drop::submission::MAX_NAME_OCTETS {
        text.pop();
    }
    Octets(text.into_bytes())
}

/// A message that was read to its end.
struct Message {
    writer: DropWriter,
    header: HeaderText,
    body: Option<BodyKind>,
}

/// Most octets of a header.
pub(super) fn max_header(site: &Site) -> usize {
    let max = site.options.limits.max_headers_octets.0.unwrap_or(0);
    header_limit(usize::try_from(max).unwrap_or(usize::MAX))
}

fn collect(line: &CommandLine, scene: &Scene, input: &mut dyn Read) -> Result<Message, Refusal> {
    let limits = &scene.site.options.limits;
    let max_header = max_header(&scene.site);
    let max = limits.max_message_octets.0;
    let mut message = Message {
        writer: DropWriter::create(&scene.folder).map_err(|e| not_dropped(scene, &e))?,
        header: HeaderText::default(),
        body: None,
    };
    let mut collector = Collector::new(line.dot, Bits::of(&scene.site, line.body));
    let (mut piece, mut text) = (vec![0u8; PIECE_OCTETS], Vec::new());
    loop {
        let got = match input.read(&mut piece) {
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let text = format!("standard input: {e}");
                return Err(Refusal::new(SysExit::IoErr, text));
            }
        };
        text.clear();
        let collected = match got {
            0 => {
                collector.finish(&mut text);
                Collected::End
            }
            got => collector.push(piece.get(..got).unwrap_or_default(), &mut text),
        };
        let mut read = message.header.push(&text, max_header);
        if collected == Collected::End {
            read = read.and_then(|()| message.header.finish(max_header));
        }
        read.map_err(|_| {
            let text = format!("Headers too large ({max_header} max)");
            Refusal::new(SysExit::Unavailable, text)
        })?;
        if !text.is_ascii() {
            message.body = Some(BodyKind::EightBitMime);
        }
        let pushed = message.writer.push(&text);
        pushed.map_err(|e| not_dropped(scene, &e))?;
        if let Some(max) = max
            && message.writer.octets() > max
        {
            let text = format!("Message exceeds maximum fixed size ({max})");
            return Err(Refusal::new(SysExit::Unavailable, text));
        }
        if collected == Collected::End {
            return Ok(message);
        }
    }
}

/// Why a message could not be put into the drop folder, in sendmail's words.
pub(super) fn not_dropped(scene: &Scene, error: &io::Error) -> Refusal {
    let shown = scene.folder.display();
    let cause = tools::alias_config::reason(error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let why = match scene.site.root {
                Some(_) => " (--root gives up the group's right)",
                None => "",
            };
            let text = format!(
                "can not write to {shown}: {cause}{why}\nProgram mode requires special privileges, e.g., root or TrustedUser."
            );
            Refusal::new(SysExit::Config, text)
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let text = format!(
                "can not write to {shown}: {cause}; the server makes this folder when it starts"
            );
            Refusal::new(SysExit::OsFile, text)
        }
        _ if is_full(error) => Refusal::new(SysExit::TempFail, format!("{shown}: {cause}")),
        _ => Refusal::new(SysExit::IoErr, format!("{shown}: {cause}")),
    }
}

/// What became of a dropped message: the server has taken it, refused it, or there is none.
fn fate_of(id: &DropId, folder: &Path) -> String {
    let end = Instant::now() + PATIENCE;
    while id.complete(folder).exists() {
        if Instant::now() >= end {
            return format!("queued ({id}; no server has taken it yet)");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if id.refused(folder).exists() {
        return format!("refused by the server; see its log about {id}");
    }
    format!("Sent ({id} Message accepted for delivery)")
}
