//! Addresses as the mailer writes them: of the envelope, and in the header.
//!
//! The fields are those that sendmail rewrites. A field in which no address changes
//! stays octet for octet as it came, so that signatures over it hold.

use std::sync::Arc;
use std::time::Duration;

use libmaps::decision::LookupError;
use libmaps::policy::facts::Facts;
use libmaps::policy::rewrite::AddressRole;
use libmaps::policy::route::canonify::NoNames;
use libmaps::site::model::Mailer;

use super::text;
use crate::consult::with_names;
use crate::deliver::outcome::Outcome;
use crate::header::{each_field, field_name};
use crate::maps::Snapshot;
use crate::queue::{Envelope, Octets};
use crate::resolver::Asker;
use crate::world::World;

/// Fields with senders.
const SENDER_FIELDS: [&str; 8] = [
    "From",
    "Sender",
    "Reply-To",
    "Errors-To",
    "Disposition-Notification-To",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
];
/// Fields with recipients.
const RECIPIENT_FIELDS: [&str; 7] = [
    "To",
    "Cc",
    "Bcc",
    "Apparently-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];
/// Where a list of addresses is folded.
const LINE_OCTETS: usize = 78;
/// How long the names of hosts in a header may be looked up; then they stay as they are.
const NAMES_PATIENCE: Duration = Duration::from_secs(60);

/// Envelope sender and header as a mailer writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The reverse-path.
    pub(crate) sender: Vec<u8>,
    /// The header.
    pub(crate) header: Vec<u8>,
}

/// A message for a mailer: its sender and header rewritten, and how many octets the header that
/// it came with has, the empty line behind it included.
///
/// # Errors
/// The outcome of a copy where the message or a table can't be read.
pub(crate) async fn written(
    world: &World,
    snapshot: &Snapshot,
    mailer: &Mailer,
    envelope: &Envelope,
    sender: &Octets,
) -> Result<(Rewritten, u64), Outcome> {
    let unreadable = |why: String| Outcome::deferred(why).with_status("4.3.0");
    let text = world.queue.text(envelope);
    let text = text.map_err(|e| unreadable(e.to_string()))?;
    let (header, body_at) = tokio::task::spawn_blocking(move || text::header(text))
        .await
        .map_err(|e| unreadable(e.to_string()))?
        .map_err(|e| unreadable(format!("queue: {e}")))?;
    let rewritten = rewrite(world, snapshot, mailer, &sender.0, &header);
    let rewritten = rewritten.await.map_err(|e| unreadable(e.to_string()))?;
    Ok((rewritten, body_at))
}

/// The header of a message as a mailer of this host writes it, if that is not as it came, and how
/// many octets it came with, the empty line included. Names of hosts in it are not looked up: mail
/// for users here waits for no name server of a stranger's.
///
/// # Errors
/// The outcome of a copy where the message or a table can't be read.
pub(crate) async fn header_here(
    world: &Arc<World>,
    mailer: &Mailer,
    envelope: &Envelope,
) -> Result<Option<(Vec<u8>, u64)>, Outcome> {
    let unreadable = |why: String| Outcome::deferred(why).with_status("4.3.0");
    let text = world.queue.text(envelope);
    let text = text.map_err(|e| unreadable(e.to_string()))?;
    let (snapshot, mailer) = (world.snapshot(), mailer.clone());
    let write = move || -> Result<Option<(Vec<u8>, u64)>, String> {
        let (header, body_at) = text::header(text).map_err(|e| format!("queue: {e}"))?;
        let addressing = snapshot.addressing(&NoNames, "");
        let written = rewrite_header(&header, |role, address| match is_one(address) {
            true => Ok(addressing.rewrite(role, &mailer, address)?.outcome),
            false => Ok(address.to_vec()),
        });
        let written = written.map_err(|e| e.to_string())?;
        Ok((written != header).then_some((written, body_at)))
    };
    let written = tokio::task::spawn_blocking(write).await;
    written
        .map_err(|e| unreadable(e.to_string()))?
        .map_err(unreadable)
}

/// Rewrites the sender and the header for a mailer.
///
/// # Errors
/// When a table can't be read.
async fn rewrite(
    world: &World,
    snapshot: &Snapshot,
    mailer: &Mailer,
    sender: &[u8],
    header: &[u8],
) -> Result<Rewritten, LookupError> {
    let all = |names: &dyn libmaps::policy::route::canonify::HostNames| {
        let addressing = snapshot.addressing(names, "");
        let sender = match sender {
            b"" => Vec::new(),
            sender => {
                addressing
                    .rewrite(AddressRole::EnvelopeSender, mailer, sender)?
                    .outcome
            }
        };
        Ok(Rewritten {
            sender,
            header: rewrite_header(header, |role, address| {
                Ok(addressing.rewrite(role, mailer, address)?.outcome)
            })?,
        })
    };
    let mut facts = Facts::new();
    let rewritten = with_names(world, &Asker::Ours, &mut facts, all);
    match tokio::time::timeout(NAMES_PATIENCE, rewritten).await {
        Ok((rewritten, _)) => rewritten,
        Err(_) => all(&NoNames),
    }
}

/// The header with its addresses rewritten by a rule.
fn rewrite_header(
    header: &[u8],
    rule: impl Fn(AddressRole, &[u8]) -> Result<Vec<u8>, LookupError>,
) -> Result<Vec<u8>, LookupError> {
    let mut out = Vec::with_capacity(header.len() + 256);
    for field in each_field(header) {
        let name = field_name(field).unwrap_or_default();
        let Some(role) = role_of(name) else {
            out.extend_from_slice(field);
            continue;
        };
        let colon = field.iter().position(|c| *c == b':').unwrap_or(0);
        let value = field.get(colon + 1..).unwrap_or_default();
        let rewritten = rewrite_list(value, |address| rule(role, address))?;
        match rewritten {
            Some(list) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                fold(name.len() + 2, &list, &mut out);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(field),
        }
    }
    Ok(out)
}

fn role_of(name: &[u8]) -> Option<AddressRole> {
    let is = |field: &&str| name.eq_ignore_ascii_case(field.as_bytes());
    if SENDER_FIELDS.iter().any(is) {
        Some(AddressRole::HeaderSender)
    } else if RECIPIENT_FIELDS.iter().any(is) {
        Some(AddressRole::HeaderRecipient)
    } else {
        None
    }
}

/// A piece of a list: what stands before the address (`group: `), the address, and what
/// ends it (`;`).
#[derive(Debug, PartialEq, Eq)]
struct Piece<'a> {
    before: &'a [u8],
    address: &'a [u8],
    after: &'a [u8],
}

/// The pieces with their addresses rewritten; nothing if that changes none.
fn rewrite_list(
    value: &[u8],
    mut rule: impl FnMut(&[u8]) -> Result<Vec<u8>, LookupError>,
) -> Result<Option<Vec<Vec<u8>>>, LookupError> {
    let mut changed = false;
    let mut out = Vec::new();
    for piece in pieces(value) {
        let mut text = piece.before.to_vec();
        if !piece.address.is_empty() {
            let written = rule(piece.address)?;
            // A rule can't end a field, nor make an address out of nothing.
            if written == piece.address || written.is_empty() || !is_folded(&written) {
                text.extend_from_slice(piece.address);
            } else {
                changed = true;
                text.extend_from_slice(&written);
            }
        }
        text.extend_from_slice(piece.after);
        if !text.is_empty() {
            out.push(text);
        }
    }
    Ok(changed.then_some(out))
}

/// Whether it is an address, and not words that somebody wrote where one belongs: they would grow
/// together.
fn is_one(text: &[u8]) -> bool {
    let (mut comments, mut quoted) = (0usize, false);
    let (mut words, mut in_word) = (0usize, false);
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        let is_blank = octet.is_ascii_whitespace() && !quoted;
        match octet {
            b'<' if !quoted && comments == 0 => return true,
            b'(' if !quoted => comments += 1,
            b')' if !quoted => comments = comments.saturating_sub(1),
            _ if comments > 0 || is_blank => in_word = false,
            octet => {
                words += usize::from(!in_word);
                in_word = true;
                match octet {
                    b'"' => quoted = !quoted,
                    b'\\' => drop(octets.next()),
                    _ => {}
                }
            }
        }
    }
    words <= 1
}

/// Whether every line end in it is followed by a blank.
fn is_folded(text: &[u8]) -> bool {
    let mut octets = text.iter().peekable();
    while let Some(octet) = octets.next() {
        let next = octets.peek().copied();
        let fine = match octet {
            b'\r' => next == Some(&b'\n'),
            b'\n' => matches!(next, Some(b' ' | b'\t')),
            _ => true,
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Splits a list at commas; those in quotes, comments, brackets don't count.
fn pieces(value: &[u8]) -> Vec<Piece<'_>> {
    let mut all = Vec::new();
    let (mut start, mut before_end) = (0, 0);
    let (mut comments, mut angles, mut quoted, mut in_group) = (0usize, 0usize, false, false);
    // Whether what came so far may be the name of a group.
    let mut phrase = true;
    let mut at = 0;
    while let Some(octet) = value.get(at) {
        match octet {
            b'\\' => at += 1,
            _ if quoted => quoted = *octet != b'"',
            b'(' => comments += 1,
            b')' => comments = comments.saturating_sub(1),
            _ if comments > 0 => {}
            b'"' => quoted = true,
            b'<' => angles += 1,
            b'>' => angles = angles.saturating_sub(1),
            _ if angles > 0 => {}
            b',' => {
                all.push(piece(value, start, before_end, at, b""));
                (start, before_end, phrase) = (at + 1, at + 1, true);
            }
            b';' if in_group => {
                all.push(piece(value, start, before_end, at, b";"));
                (start, before_end, phrase, in_group) = (at + 1, at + 1, true, false);
            }
            // `host::user` of DECnet is no group.
            b':' if phrase && !in_group && value.get(at + 1) != Some(&b':') => {
                before_end = at + 1;
                (phrase, in_group) = (false, true);
            }
            b':' if value.get(at + 1) == Some(&b':') => at += 1,
            b'@' | b'!' | b'%' | b'[' => phrase = false,
            _ => {}
        }
        at += 1;
    }
    all.push(piece(value, start, before_end, value.len(), b""));
    all.retain(|p| !(p.before.is_empty() && p.address.is_empty() && p.after.is_empty()));
    all
}

fn piece<'a>(
    value: &'a [u8],
    start: usize,
    before_end: usize,
    end: usize,
    after: &'static [u8],
) -> Piece<'a> {
    let before = value.get(start..before_end).unwrap_or_default();
    let rest = value
        .get(before_end..end.max(before_end))
        .unwrap_or_default();
    let address = rest.trim_ascii();
    // The blank behind `group:` stays with it.
    let before = match before.trim_ascii_start() {
        [] => &b""[..],
        trimmed => {
            let blanks = usize::from(rest.first() == Some(&b' ') && !address.is_empty());
            let from = before_end - trimmed.len();
            value.get(from..before_end + blanks).unwrap_or(trimmed)
        }
    };
    Piece {
        before,
        address,
        after,
    }
}

/// Joins the pieces with commas; a line that would get too long is folded.
fn fold(indent: usize, list: &[Vec<u8>], out: &mut Vec<u8>) {
    let mut column = indent;
    for (at, text) in list.iter().enumerate() {
        if at > 0 {
            // The `;` of a group has no comma before it.
            let joint: &[u8] = if text.as_slice() == b";" { b"" } else { b"," };
            out.extend_from_slice(joint);
            let first = text.split(|c| *c == b'\r').next().unwrap_or_default();
            if column + first.len() + 2 > LINE_OCTETS {
                out.extend_from_slice(b"\r\n\t");
                column = 8;
            } else if !joint.is_empty() {
                out.push(b' ');
                column += 2;
            }
        }
        out.extend_from_slice(text);
        column = match text.iter().rposition(|c| *c == b'\n') {
            Some(end) => text.len() - end,
            None => column + text.len(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `joe` becomes `joe@me`; all else stays.
    fn rewritten(field: &str) -> String {
        let value = field.split_once(':').unwrap().1;
        let rule = |address: &[u8]| {
            let text = String::from_utf8_lossy(address);
            Ok(match text.contains('@') {
                true => address.to_vec(),
                false => text.replace("joe", "joe@me").into_bytes(),
            })
        };
        match rewrite_list(value.as_bytes(), rule).unwrap() {
            None => "-".into(),
            Some(list) => {
                let mut out = Vec::new();
                fold(4, &list, &mut out);
                String::from_utf8(out).unwrap()
            }
        }
    }

    #[test]
    fn an_address_is_one_word_or_stands_in_brackets() {
        for (text, want) in [
            ("joe", true),
            (" joe@b.example ", true),
            ("joe (Joe \"x Blue)", true),
            ("(Joe) joe", true),
            ("Joe Blue <joe@b>", true),
            ("\"joe blue\"@b", true),
            ("joe\\ blue", true),
            ("box \"|cat\"", false),
            ("a@b@c\r\n\tzoe@", false),
            ("joe at b", false),
        ] {
            assert_eq!(is_one(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn lists() {
        for (field, want) in [
            ("To: a@b, c@d", "-"),
            ("To: joe", "joe@me"),
            (
                "To: joe,\r\n mary@x (Mary, \"of\" x)",
                "joe@me, mary@x (Mary, \"of\" x)",
            ),
            (
                "To: \"Doe, Joe\" <joe>, a@b",
                "\"Doe, Joe@me\" <joe@me>, a@b"
                    .replace("Joe@me", "Joe")
                    .as_str(),
            ),
            ("To: <@a,@b:c@d>, joe", "<@a,@b:c@d>, joe@me"),
            ("To: friends: joe, a@b;, c@d", "friends: joe@me, a@b;, c@d"),
            ("To: undisclosed-recipients:;", "-"),
            ("To: nobody:;, joe", "nobody:;, joe@me"),
            ("To: vax::joe", "vax::joe@me"),
            ("To: ", "-"),
            ("To: ,,joe,", "joe@me"),
        ] {
            assert_eq!(rewritten(field), want, "{field}");
        }
    }

    #[test]
    fn long_lists_are_folded() {
        let list = ["joe"; 30].join(", ");
        let out = rewritten(&format!("To: {list}"));
        assert!(out.split("\r\n").all(|line| line.len() <= LINE_OCTETS));
        assert_eq!(out.replace(",\r\n\t", ", "), ["joe@me"; 30].join(", "));
    }

    #[test]
    fn no_rule_ends_a_field() {
        for (text, fine) in [
            ("a", true),
            ("a\r\n b", true),
            ("a\r\nb", false),
            ("a\r\n", false),
            ("a\nb", false),
            ("a\rb", false),
        ] {
            assert_eq!(is_folded(text.as_bytes()), fine, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_list_is_lost(value in proptest::collection::vec(
            prop_oneof![Just(b','), Just(b';'), Just(b':'), Just(b'<'), Just(b'>'), Just(b'('), Just(b')'),
                Just(b'"'), Just(b'\\'), Just(b' '), Just(b'a'), Just(b'@'), any::<u8>()], 0..40)) {
            let plain = |text: &[u8]| -> Vec<u8> {
                text.iter().copied().filter(|c| !c.is_ascii_whitespace() && *c != b',').collect()
            };
            let mut all = Vec::new();
            for piece in pieces(&value) {
                all.extend_from_slice(piece.before);
                all.extend_from_slice(piece.address);
                all.extend_from_slice(piece.after);
            }
            prop_assert_eq!(plain(&all), plain(&value));
        }
    }
}
