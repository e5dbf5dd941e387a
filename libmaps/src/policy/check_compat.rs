//! check_compat: may this sender write to this recipient (FEATURE(compat_check))?

use std::borrow::Cow;

use crate::address::{is_operator, unquoted};
use crate::decision::Trace;
use crate::table::access::{Tag, With};
use crate::table::verdict::Refusal;
use crate::tokens;

use super::facts::{Facts, Session};
use super::{Flow, Halt, Outcome, Policy, Ruling, Scene, rule};

/// The word of refusals that are for good.
const FOR_GOOD: &str = "UNAVAILABLE";

/// Decides before delivery, by the entry `Compat:sender<@>recipient`. The addresses are those of a
/// copy as they were written, with or without brackets; the null sender is `<>`.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn check_compat(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
    sender: &[u8],
    recipient: &[u8],
) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        compat(scene, trace, &bare(sender), &bare(recipient))
    })
}

/// Whether a refusal of this ruleset is for good: that is so by the word `ERROR`, whatever the reply
/// code behind it. With `TEMP`, or a map that can't be read, the copy waits.
#[must_use]
pub fn is_for_good(refusal: &Refusal) -> bool {
    &*refusal.at == FOR_GOOD
}

fn compat(
    scene: &Scene<'_>,
    trace: &mut Trace,
    sender: &[u8],
    recipient: &[u8],
) -> Result<Flow, Halt> {
    let site = scene.site();
    let Some(access) = scene.policy.maps.access(site) else {
        return Ok(Flow::Continue);
    };
    if !site.features.compat_check || sender.is_empty() || recipient.is_empty() {
        return Ok(Flow::Continue);
    }
    let pair = [sender, b"<@>", recipient].concat();
    let Some(rhs) = access.exact(trace, Tag::Compat, With::TagOnly, &pair)? else {
        return Ok(Flow::Continue);
    };
    Ok(match outcome(rhs.as_bytes()) {
        Outcome::Accept => Flow::Continue,
        outcome => Flow::Stop(outcome),
    })
}

/// What an RHS of `Compat:` says: `DISCARD`, `TEMP:` and `ERROR:` with a reply code and a text;
/// whatever else it is lets the mail pass.
#[must_use]
pub fn outcome(rhs: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(rhs);
    let after = |word: &str| {
        let head = text.get(..word.len())?;
        let tail = text.get(word.len()..)?;
        // The word is a token of its own: DISCARDED is another one.
        let ends = tail.bytes().next().is_none_or(|next| {
            is_operator(next) || next.is_ascii_whitespace() || matches!(next, b'"' | b'(')
        });
        (ends && head.eq_ignore_ascii_case(word)).then_some(tail.trim_start())
    };
    if after("DISCARD").is_some() {
        return Outcome::Discard;
    }
    if let Some(why) = after("TEMP").and_then(|tail| tail.strip_prefix(':')) {
        let text = format!("{why} error from check_compat. Try again later");
        return Outcome::refuse("TEMPFAIL", &text);
    }
    if let Some(why) = after("ERROR").and_then(|tail| tail.strip_prefix(':')) {
        let text = format!("{why} error from check_compat");
        return Outcome::refuse(FOR_GOOD, &text);
    }
    Outcome::Accept
}

/// The address without comments, and without the brackets around it and a name before them.
fn bare(address: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = tokens::tidy(address) else {
        return Cow::Borrowed(address);
    };
    let brackets = |octet: u8| unquoted(&text).find(|(_, o)| *o == octet);
    if let (Some((open, _)), Some((close, _))) = (brackets(b'<'), brackets(b'>'))
        && let Some(inner) = text.get(open + 1..close)
        && !inner.is_empty()
    {
        return Cow::Owned(inner.to_vec());
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decision::Traced;
    use crate::map::{Entry, Map};
    use crate::policy::maps::Maps;
    use crate::site::Site;
    use crate::site::model::{AccessDb, MapSpec};
    use crate::store::memory::MemoryMap;

    /// What becomes of this pair by one entry of the map.
    fn of((lhs, rhs): (&str, &str), sender: &str, recipient: &str) -> Outcome {
        let entry = Entry::new(format!("compat:{lhs}").as_str(), rhs);
        let map: Arc<dyn Map> = Arc::new(MemoryMap::new("access", [entry]));
        let maps = Maps {
            access: Some(Traced::new(map)),
            ..Maps::default()
        };
        let mut site = Site::default();
        site.features.compat_check = true;
        site.features.access = Some(AccessDb {
            map: MapSpec::new("hash", "/etc/mail/access"),
            skip: false,
            lookup_dot_domain: false,
            relay_to_full_address: false,
        });
        let policy = Policy {
            site: &site,
            maps: &maps,
        };
        let (session, facts) = (Session::default(), Facts::new());
        let (sender, recipient) = (sender.as_bytes(), recipient.as_bytes());
        let ruling = check_compat(policy, &session, &facts, sender, recipient);
        ruling.unwrap().outcome
    }

    #[test]
    fn words_are_tokens() {
        for (rhs, want) in [
            ("DISCARD", "discard"),
            ("discard 550 x", "discard"),
            ("DISCARD:550 x", "discard"),
            ("DISCARD.x", "discard"),
            ("DISCARDED", "pass"),
            ("DISCARD-x", "pass"),
            ("ERROR 550 x", "pass"),
            ("ERRORS:550 x", "pass"),
            ("REJECT", "pass"),
            (
                "error : 550 x",
                "550 5.0.0 x error from check_compat for good",
            ),
            (
                "ERROR:451 x",
                "451 5.0.0 x error from check_compat for good",
            ),
            (
                "ERROR:550 5.7.1 x",
                "550 5.7.1 x error from check_compat for good",
            ),
            (
                "TEMP:450 x",
                "450 4.0.0 x error from check_compat. Try again later",
            ),
        ] {
            let got = match of(("a@b.example<@>c", rhs), "<a@b.example>", "c") {
                Outcome::Accept => "pass".to_owned(),
                Outcome::Discard => "discard".to_owned(),
                Outcome::Refuse(refusal) => {
                    let end = if is_for_good(&refusal) {
                        " for good"
                    } else {
                        ""
                    };
                    format!("{}{end}", refusal.reply())
                }
                other => format!("{other:?}"),
            };
            assert_eq!(got, want, "{rhs}");
        }
    }

    #[test]
    fn addresses_are_asked_for_bare() {
        for (lhs, sender, recipient) in [
            ("<><@>c", "<>", "c"),
            ("ann<@>c", "ann", "<c>"),
            ("a@b<@>c@d", "<a@b>", "\"C, c\" <c@d> (c)"),
            ("a@b<@>c", "a@b", "c (see) "),
            ("a@b<@>|/bin/true", "<a@b>", "|/bin/true"),
            ("a@b<@>|/bin/true", "<\"a\"@b>", "\"|/bin/true\""),
            ("a@b<@>case", "<\\a@b>", "\"ca\"s\\e"),
        ] {
            let found = of((lhs, "DISCARD"), sender, recipient);
            assert_eq!(found, Outcome::Discard, "{lhs}");
        }
        for (sender, recipient) in [("", "c"), ("<a@b>", ""), ("<a@b>", "x <c>")] {
            assert_eq!(
                of(("a@b<@>x", "DISCARD"), sender, recipient),
                Outcome::Accept
            );
        }
    }
}
