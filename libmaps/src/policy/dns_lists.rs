//! dnsbl, enhdnsbl and rhsbl: lists in DNS of clients and senders that are not wanted.

use crate::address::ReversePath;
use crate::decision::{Found, Trace};
use crate::site::model::{DnsList, DnsListAction, DnsListKind, ReplyText};
use crate::table::access::{Item, Tag, With};
use crate::table::verdict::Verdict;

use super::canonify::{Fixed, Trouble, canon_addr};
use super::facts::{Answer, Need};
use super::{Flow, Halt, Outcome, Scene};

/// Most tokens of an enhdnsbl pattern and of an answer it is compared with.
const MAX_TOKENS: usize = 16;

/// Asks the lists in the order of the configuration; the first that objects decides.
pub(super) fn ask(scene: &Scene<'_>, trace: &mut Trace) -> Result<Flow, Halt> {
    for list in &scene.site().features.dns_lists {
        let flow = match list.kind {
            DnsListKind::Dnsbl | DnsListKind::EnhDnsbl => by_address(scene, trace, list)?,
            DnsListKind::Rhsbl => by_sender(scene, trace, list)?,
        };
        if flow != Flow::Continue {
            return Ok(flow);
        }
    }
    Ok(Flow::Continue)
}

fn by_address(scene: &Scene<'_>, trace: &mut Trace, list: &DnsList) -> Result<Flow, Halt> {
    let addr = &scene.session.client_addr;
    let mut octets: Vec<&str> = addr.split('.').collect();
    if octets.len() != 4 || octets.iter().any(|o| o.is_empty() || o.contains(':')) {
        return Ok(Flow::Continue);
    }
    octets.reverse();
    let name = format!("{}.{}", octets.join("."), list.zone);
    let counts = |answer: &[u8]| {
        list.results.is_empty() || list.results.iter().any(|want| matches(want, answer))
    };
    settle(scene, trace, list, &name, addr, counts)
}

/// rhsbl: by the domain of the sender, unless the access map accepts it.
fn by_sender(scene: &Scene<'_>, trace: &mut Trace, list: &DnsList) -> Result<Flow, Halt> {
    let ReversePath::Address(sender) = &scene.session.sender else {
        return Ok(Flow::Continue);
    };
    let canonical = match canon_addr(scene, trace, sender) {
        Ok(canonical) => canonical,
        Err(Trouble::Refused(_)) => return Ok(Flow::Continue),
        Err(Trouble::Halt(halt)) => return Err(halt),
    };
    let (Some(domain), Fixed::Yes) = (&canonical.domain, canonical.fixed) else {
        return Ok(Flow::Continue);
    };
    if let Some(access) = scene.policy.maps.access(scene.site()) {
        let items = [Item::Full(&canonical.local, domain), Item::Domain(domain)];
        if let Some(rhs) = access.search(trace, Tag::Rhs, With::TagThenBare, &items)? {
            let verdict = Verdict::parse_with(rhs.as_bytes(), &scene.site().classes.accept_words);
            if matches!(verdict, Verdict::Ok | Verdict::Relay) {
                return Ok(Flow::Continue);
            }
        }
    }
    let domain = String::from_utf8_lossy(domain);
    let name = format!("{domain}.{}", list.zone);
    settle(scene, trace, list, &name, &domain, |_| true)
}

/// Looks `name` up and says what follows for `who`.
fn settle(
    scene: &Scene<'_>,
    trace: &mut Trace,
    list: &DnsList,
    name: &str,
    who: &str,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<Flow, Halt> {
    let answer = scene.facts.get(Need::Addresses(name.as_bytes().into()))?;
    let found = match answer {
        Answer::Found(all) => {
            let all: Vec<_> = all.iter().map(|a| String::from_utf8_lossy(a)).collect();
            Found::Text(all.join(" ").into())
        }
        Answer::NotFound => Found::Nothing,
        Answer::Temporary => Found::Text("no answer now".into()),
    };
    trace.fact("DNS list", name.as_bytes(), found);
    let text = |text: &ReplyText| reply_text(scene, text, who);
    Ok(match answer {
        Answer::NotFound => Flow::Continue,
        Answer::Temporary => {
            let status = match list.kind {
                DnsListKind::Rhsbl => "4.7.1",
                DnsListKind::Dnsbl | DnsListKind::EnhDnsbl => "4.4.3",
            };
            match &list.on_temporary_failure {
                Some(message) => Flow::refuse(status, &text(message)),
                None => Flow::Continue,
            }
        }
        Answer::Found(all) if !all.iter().any(|answer| counts(answer)) => Flow::Continue,
        Answer::Found(_) => match &list.action {
            DnsListAction::Reject(message) => Flow::refuse("5.7.1", &text(message)),
            DnsListAction::Quarantine => Flow::Stop(Outcome::Quarantine(list.zone.as_str().into())),
            DnsListAction::Discard => Flow::Stop(Outcome::Discard),
        },
    })
}

fn reply_text(scene: &Scene<'_>, text: &ReplyText, who: &str) -> String {
    // `${RHS}` is set by the rule itself, to the domain it asks about.
    scene.text_with(text, |name| (name == "RHS").then_some(who))
}

/// Whether an answer such as `127.0.0.2` fits a pattern: an address, with or without a dot at its end, in which
/// `$-` is one part, `$+` one or more, `$*` any number.
fn matches(pattern: &str, answer: &[u8]) -> bool {
    let pattern: Vec<&str> = tokens(pattern).collect();
    let answer = String::from_utf8_lossy(answer);
    let answer: Vec<&str> = tokens(&answer).collect();
    pattern.len() <= MAX_TOKENS && answer.len() <= MAX_TOKENS && fits(&pattern, &answer)
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.trim()
        .trim_end_matches('.')
        .split_inclusive('.')
        .flat_map(|part| match part.strip_suffix('.') {
            Some("") => [Some("."), None],
            Some(label) => [Some(label), Some(".")],
            None => [Some(part), None],
        })
        .flatten()
}

/// Bounded by [`MAX_TOKENS`] on both sides.
fn fits(pattern: &[&str], answer: &[&str]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return answer.is_empty();
    };
    let least = match *first {
        "$-" => {
            return answer
                .split_first()
                .is_some_and(|(_, more)| fits(rest, more));
        }
        "$+" => 1,
        "$*" => 0,
        word => {
            return answer
                .split_first()
                .is_some_and(|(part, more)| part.eq_ignore_ascii_case(word) && fits(rest, more));
        }
    };
    (least..=answer.len()).any(|taken| answer.get(taken..).is_some_and(|more| fits(rest, more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fit_patterns_as_rules_match_tokens() {
        for (pattern, answer, fit) in [
            ("127.0.0.2.", "127.0.0.2", true),
            ("127.0.0.2", "127.0.0.2", true),
            ("127.0.0.2.", "127.0.0.20", false),
            ("127.0.0.$-.", "127.0.0.9", true),
            ("127.0.$-.", "127.0.0.9", false),
            ("$+", "127.0.0.9", true),
            ("127.$*", "127.0.0.9", true),
            ("10.$+", "127.0.0.9", false),
        ] {
            assert_eq!(
                matches(pattern, answer.as_bytes()),
                fit,
                "{pattern} {answer}"
            );
        }
        let deep = "$*.".repeat(200);
        assert!(!matches(&deep, b"1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1"));
    }
}
