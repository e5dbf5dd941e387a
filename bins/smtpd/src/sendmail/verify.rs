//! `-bv`: where addresses lead, in sendmail's lines.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use libmaps::decision::Trace;
use libmaps::map::Map;
use libmaps::policy::expand::include::SiteIncludes;
use libmaps::policy::expand::{Expander, Expansion, Recipient, State};
use libmaps::policy::route::canonify::Addressing;
use libmaps::policy::route::parse::Resolved;
use libmaps::sysexits::SysExit;
use tools::consult::{Consultant, Given};
use tools::forwards::forwards;

use super::args::{CommandLine, Refusal};
use super::fault::exit_of;
use super::scene::no_consultant;
use super::submit::say;

/// Prints a line for each recipient that the operands come to; the exit is 67 where a user is
/// unknown, and else that of the first status of a refusal; a temporary one is no fault of the address.
///
/// # Errors
/// When the configuration or a map can't be read, or there is no operand.
pub(super) fn verify(line: &CommandLine, out: &mut dyn Write) -> Result<SysExit, Refusal> {
    if line.operands.is_empty() {
        return Err(Refusal::usage("Recipient names must be specified"));
    }
    let consultant = Consultant::open(line.root.as_deref(), line.config.as_deref())
        .map_err(|error| no_consultant(&error))?;
    let given = Given::default();
    let names = consultant.names(&given);
    let lookup =
        |error: libmaps::decision::LookupError| Refusal::new(error.exit(), error.to_string());
    let aliases = consultant.maps.alias_table();
    let addressing = consultant.addressing(&names, "");
    let expander = Expander {
        addressing,
        aliases: &aliases,
        users: &consultant.users,
        includes: &SiteIncludes {
            site: &consultant.site,
        },
    };
    let (mut exit, mut lines) = (SysExit::Ok, Lines::default());
    for operand in &line.operands {
        let expansion = expander.expand(&operand.0).map_err(lookup)?;
        exit = worse(exit, &expansion);
        lines.add(&addressing, &expansion);
        for forward in forwards(&consultant.site, &consultant.users, &expansion) {
            lines.note(forward.to_string());
        }
    }
    let all = lines.wrong.iter().chain(&lines.deliverable);
    for text in all.chain(&lines.forwards) {
        say(out, text);
    }
    Ok(exit)
}

/// An unknown user outweighs what else is wrong.
fn worse(exit: SysExit, expansion: &Expansion) -> SysExit {
    let codes = expansion.recipients.iter().map(|r| match &r.state {
        State::Unknown => SysExit::NoUser,
        State::Refused(_) if r.triple.is_error() => exit_of(&r.triple.host),
        _ => SysExit::Ok,
    });
    let mut codes = codes.filter(|code| *code != SysExit::Ok);
    let first = codes.next();
    if exit == SysExit::NoUser || first.into_iter().chain(codes).any(|c| c == SysExit::NoUser) {
        return SysExit::NoUser;
    }
    let is_misuse = |r: &Recipient| matches!(r.state, State::Refused(_)) && !r.triple.is_error();
    match (exit, first) {
        (SysExit::Ok, Some(code)) => code,
        (SysExit::Ok, None) if !expansion.errors.is_empty() => SysExit::Usage,
        (SysExit::Ok, None) if expansion.recipients.iter().any(is_misuse) => SysExit::Usage,
        _ => exit,
    }
}

/// Whether mail waits for an `error:` to go away: to sendmail that is a mailer like another.
fn waits(recipient: &Recipient) -> bool {
    let triple = &recipient.triple;
    let is_refused = matches!(recipient.state, State::Refused(_));
    is_refused && triple.is_error() && exit_of(&triple.host) == SysExit::Ok
}

/// What is printed: what is wrong comes first, and each recipient once.
#[derive(Default)]
struct Lines {
    wrong: Vec<String>,
    deliverable: Vec<String>,
    forwards: Vec<String>,
    known: HashSet<(String, Vec<u8>, Vec<u8>)>,
    told: HashSet<String>,
}

impl Lines {
    fn add(&mut self, addressing: &Addressing<'_, Arc<dyn Map>>, expansion: &Expansion) {
        for recipient in &expansion.recipients {
            match &recipient.state {
                State::Unknown => self.complain(format!("{recipient}... User unknown")),
                State::Refused(why) => self.complain(format!("{recipient}... {why}")),
                _ => {}
            }
        }
        for error in &expansion.errors {
            self.complain(error.clone());
        }
        for at in order(expansion) {
            let Some(recipient) = expansion.recipients.get(at) else {
                continue;
            };
            let triple = &recipient.triple;
            let key = (
                triple.mailer.clone(),
                triple.host.clone(),
                triple.user.clone(),
            );
            let is_deliverable = recipient.state == State::Deliver || waits(recipient);
            if is_deliverable && self.known.insert(key) {
                self.deliverable.push(deliverable(addressing, recipient));
            }
        }
    }
}

impl Lines {
    fn note(&mut self, text: String) {
        if self.told.insert(text.clone()) {
            self.forwards.push(text);
        }
    }

    fn complain(&mut self, text: String) {
        if self.told.insert(text.clone()) {
            self.wrong.push(text);
        }
    }
}

/// sendmail reads a list from its end, so what it comes to stands in reverse; each line of an
/// include file is a list of its own.
fn order(expansion: &Expansion) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); expansion.recipients.len()];
    let mut stack = Vec::new();
    for (at, recipient) in expansion.recipients.iter().enumerate() {
        match recipient.from.and_then(|from| children.get_mut(from)) {
            Some(list) => list.push(at),
            None => stack.push(at),
        }
    }
    let mut all = Vec::with_capacity(expansion.recipients.len());
    while let Some(at) = stack.pop() {
        all.push(at);
        // The last of the stack comes first: children in order come out reversed.
        let mut below: Vec<usize> = children.get(at).cloned().unwrap_or_default();
        below.sort_by_key(|child| {
            let place = expansion.recipients.get(*child)?.place.as_ref()?;
            Some(std::cmp::Reverse(place.line))
        });
        stack.extend(below);
    }
    all
}

fn deliverable(addressing: &Addressing<'_, Arc<dyn Map>>, recipient: &Recipient) -> String {
    let triple = &recipient.triple;
    let address = String::from_utf8_lossy(&recipient.address);
    let mailer = match triple.is_error() {
        true => "*error*",
        false => triple.mailer.as_str(),
    };
    let mut text = format!("{address}... deliverable: mailer {mailer}");
    if !triple.host.is_empty() {
        let host = String::from_utf8_lossy(&triple.host);
        let dot = if has_final_dot(addressing, recipient) {
            "."
        } else {
            ""
        };
        text.push_str(&format!(", host {host}{dot}"));
    }
    text.push_str(&format!(", user {}", String::from_utf8_lossy(&triple.user)));
    text
}

/// Whether the rules leave the host with the dot that marks a canonical name, which `-bv` shows.
fn has_final_dot(addressing: &Addressing<'_, Arc<dyn Map>>, recipient: &Recipient) -> bool {
    let mut trace = Trace::new();
    let Ok(Ok(canonical)) = addressing.canonify(&recipient.address, &mut trace) else {
        return false;
    };
    match addressing.parse(canonical, &mut trace) {
        Ok(Resolved::Triple(found)) => found.host.is_some_and(|host| host.ends_with(b".")),
        _ => false,
    }
}
