//! `mapctl expand`: where mail for an address ends up, as a tree.

use std::io::{self, BufWriter, Write};

use clap::Args;
use libmaps::policy::expand::include::SiteIncludes;
use libmaps::policy::expand::{Expander, Expansion, Recipient, State};
use libmaps::policy::route::MailerTriple;
use libmaps::sysexits::SysExit;
use serde_json::{Value, json};

use super::name::SiteArgs;
use super::{Failure, Outcome, Style};
use crate::consult::{Consultant, Given};
use crate::forwards::{Forward, forwards};

/// Show where mail for an address ends up: aliases, includes, tables, down to mailer, host and user.
#[derive(Debug, Args)]
pub(crate) struct ExpandArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Show the lookups too.
    #[arg(long)]
    trace: bool,
    /// The address, or several.
    #[arg(required = true)]
    address: Vec<String>,
}

/// Prints a tree for each address; the exit is 67 where a user is unknown and 64 where anything else is wrong,
/// as for `sendmail -bv`.
pub(crate) fn expand(args: &ExpandArgs, style: Style) -> Outcome {
    let failed = |exit, error: String| Failure::Other(exit, error);
    let consultant = Consultant::open(args.site.root.as_deref(), args.site.config.as_deref())
        .map_err(|error| failed(error.exit(), error.to_string()))?;
    let given = Given::default();
    let names = consultant.names(&given);
    let lookup = |error: libmaps::decision::LookupError| failed(error.exit(), error.to_string());
    let aliases = consultant.maps.alias_table();
    let expander = Expander {
        addressing: consultant.addressing(&names, ""),
        aliases: &aliases,
        users: &consultant.users,
        includes: &SiteIncludes {
            site: &consultant.site,
        },
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut exit = SysExit::Ok;
    for address in &args.address {
        let expansion = expander.expand(address.as_bytes()).map_err(lookup)?;
        let forwards = forwards(&consultant.site, &consultant.users, &expansion);
        match style {
            Style::Text => {
                print_tree(&mut out, &expansion)?;
                for forward in &forwards {
                    writeln!(out, "{forward}")?;
                }
            }
            Style::Json => writeln!(out, "{}", object(address, &expansion, &forwards))?,
        }
        if args.trace && style == Style::Text {
            write!(out, "{}", expansion.trace)?;
        }
        if !expansion.unknown().is_empty() {
            exit = SysExit::NoUser;
        } else if !expansion.errors().is_empty() && exit == SysExit::Ok {
            exit = SysExit::Usage;
        }
    }
    out.flush()?;
    Ok(exit)
}

fn print_tree(out: &mut impl Write, expansion: &Expansion) -> io::Result<()> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); expansion.recipients.len()];
    let mut stack = Vec::new();
    for (at, recipient) in expansion.recipients.iter().enumerate() {
        match recipient.from {
            Some(from) => {
                if let Some(list) = children.get_mut(from) {
                    list.push(at);
                }
            }
            None => stack.push((at, 0usize)),
        }
    }
    stack.reverse();
    while let Some((at, depth)) = stack.pop() {
        let Some(recipient) = expansion.recipients.get(at) else {
            continue;
        };
        // An address that was put in the place of another says the same once more.
        let replaced = recipient.state == State::Replaced;
        if !replaced {
            let outcome = words(recipient);
            writeln!(
                out,
                "{:indent$}{recipient}  {outcome}",
                "",
                indent = depth * 2
            )?;
        }
        let below = if replaced { depth } else { depth + 1 };
        let below = children
            .get(at)
            .into_iter()
            .flatten()
            .map(|at| (*at, below));
        let start = stack.len();
        stack.extend(below);
        if let Some(added) = stack.get_mut(start..) {
            added.reverse();
        }
    }
    for error in &expansion.errors {
        writeln!(out, "{error}")?;
    }
    Ok(())
}

fn words(recipient: &Recipient) -> String {
    let owner = match &recipient.owner {
        Some(owner) => format!(" (errors to {})", String::from_utf8_lossy(owner)),
        None => String::new(),
    };
    match &recipient.state {
        State::Deliver => format!("-> {}", triple_words(&recipient.triple)),
        State::Alias => format!("alias{owner}"),
        State::Included => "list".to_owned(),
        State::Replaced => "replaced".to_owned(),
        State::Duplicate => format!("again: {}", triple_words(&recipient.triple)),
        State::Loop => "leads back".to_owned(),
        State::Unknown => "User unknown".to_owned(),
        State::Refused(why) => format!("refused: {why}"),
    }
}

fn triple_words(triple: &MailerTriple) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut words = format!("mailer {}", triple.mailer);
    if !triple.host.is_empty() {
        words.push_str(&format!(", host {}", text(&triple.host)));
    }
    words.push_str(&format!(", user {}", text(&triple.user)));
    words
}

fn triple_object(triple: &MailerTriple) -> Value {
    json!({
        "mailer": triple.mailer,
        "host": String::from_utf8_lossy(&triple.host),
        "user": String::from_utf8_lossy(&triple.user),
    })
}

fn object(address: &str, expansion: &Expansion, forwards: &[Forward]) -> Value {
    let forward = |f: &Forward| json!({"user": f.user, "file": f.file});
    let tree: Vec<Value> = expansion
        .recipients
        .iter()
        .map(|recipient| {
            let place = recipient
                .place
                .as_ref()
                .map(|place| json!({"file": &*place.path, "line": place.line}));
            let owner = recipient.owner.as_ref();
            json!({
                "address": String::from_utf8_lossy(&recipient.address),
                "from": recipient.from,
                "place": place,
                "state": state_word(&recipient.state),
                "owner": owner.map(|owner| String::from_utf8_lossy(owner)),
                "route": triple_object(&recipient.triple),
            })
        })
        .collect();
    json!({
        "address": address,
        "deliver": expansion.deliver().into_iter().map(triple_object).collect::<Vec<_>>(),
        "unknown": expansion.unknown(),
        "errors": expansion.errors(),
        "not_followed": forwards.iter().map(forward).collect::<Vec<_>>(),
        "tree": tree,
    })
}

fn state_word(state: &State) -> &'static str {
    match state {
        State::Deliver => "deliver",
        State::Alias => "alias",
        State::Included => "list",
        State::Replaced => "replaced",
        State::Duplicate => "duplicate",
        State::Loop => "loop",
        State::Unknown => "unknown",
        State::Refused(_) => "refused",
    }
}
