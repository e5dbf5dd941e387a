//! check_compat: may this sender write to this recipient (FEATURE(compat_check))?

use crate::decision::Trace;
use crate::table::access::{Tag, With};

use super::facts::{Facts, Session};
use super::{Flow, Halt, Outcome, Policy, Ruling, Scene, rule};

/// Decides before delivery, by the entry `Compat:sender<@>recipient`; the addresses are without brackets.
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
        compat(scene, trace, bare(sender), bare(recipient))
    })
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
    let text = String::from_utf8_lossy(rhs.as_bytes());
    let after = |word: &str| {
        let head = text.get(..word.len())?;
        let tail = text.get(word.len()..)?.trim_start();
        head.eq_ignore_ascii_case(word).then_some(tail)
    };
    if after("DISCARD").is_some() {
        return Ok(Flow::Stop(Outcome::Discard));
    }
    if let Some(why) = after("TEMP").and_then(|tail| tail.strip_prefix(':')) {
        let text = format!("{why} error from check_compat. Try again later");
        return Ok(Flow::refuse("TEMPFAIL", &text));
    }
    if let Some(why) = after("ERROR").and_then(|tail| tail.strip_prefix(':')) {
        return Ok(Flow::refuse(
            "UNAVAILABLE",
            &format!("{why} error from check_compat"),
        ));
    }
    Ok(Flow::Continue)
}

fn bare(address: &[u8]) -> &[u8] {
    address
        .strip_prefix(b"<")
        .and_then(|inner| inner.strip_suffix(b">"))
        .unwrap_or(address)
}
