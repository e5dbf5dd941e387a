//! check_relay: may this client connect? And greet_pause: how long is it kept waiting?

use crate::decision::{Decision, Found, Trace};
use crate::site::model::Control;
use crate::table::access::{Item, Tag, With};
use crate::table::verdict::is_word;

use super::facts::{Counted, Facts, Resolve, Session};
use super::{Flow, Halt, Outcome, Policy, Ruling, Scene, admit, dns_lists, rule, starts_in};

/// Decides when a client connects.
///
/// With FEATURE(delay_checks) the answer is [`Outcome::Delayed`], unless a control that is not delayed refuses.
///
/// # Errors
/// The fact that is missing.
pub fn check_relay(policy: Policy<'_>, session: &Session, facts: &Facts) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        if scene.site().features.delay_checks.is_none() {
            return basic_check_relay(scene, trace);
        }
        let features = &scene.site().features;
        for (kind, control) in [
            (Kind::Rate, features.ratecontrol),
            (Kind::Connections, features.conncontrol),
        ] {
            if let Some(control) = control.filter(|control| control.at_once) {
                let flow = controlled(scene, trace, kind, control)?;
                if flow != Flow::Continue {
                    return Ok(flow);
                }
            }
        }
        Ok(Flow::Stop(Outcome::Delayed))
    })
}

/// Basic_check_relay, which check_rcpt calls too.
pub(super) fn basic_check_relay(scene: &Scene<'_>, trace: &mut Trace) -> Result<Flow, Halt> {
    let site = scene.site();
    if scene.is_deferred() {
        return Ok(Flow::Continue);
    }
    let session = scene.session;
    let name = if site.features.use_client_ptr {
        &session.client_ptr
    } else {
        &session.client_name
    };
    if let Some(rhs) = scene.look_up_host(
        trace,
        Tag::Connect,
        With::TagThenBare,
        name,
        &session.client_addr,
    )? {
        return Ok(match admit(scene, rhs.as_bytes(), trace) {
            // `$@`, not `$#`: the client may go on, and with delay_checks the checks end here anyway.
            Flow::Done => Flow::Continue,
            flow => flow,
        });
    }
    for (kind, control) in [
        (Kind::Rate, site.features.ratecontrol),
        (Kind::Connections, site.features.conncontrol),
    ] {
        if let Some(control) = control.filter(|control| !control.at_once) {
            let flow = controlled(scene, trace, kind, control)?;
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
    }
    let flow = dns_lists::ask(scene, trace)?;
    if flow != Flow::Continue {
        return Ok(flow);
    }
    Ok(reverse_dns(scene, trace))
}

/// FEATURE(require_rdns).
fn reverse_dns(scene: &Scene<'_>, trace: &mut Trace) -> Flow {
    let (site, session) = (scene.site(), scene.session);
    if !site.features.require_rdns
        || starts_in(&site.classes.relay_domains, session.client_addr.as_bytes())
    {
        return Flow::Continue;
    }
    let addr = &session.client_addr;
    trace.fact(
        "reverse DNS (require_rdns)",
        addr.as_bytes(),
        Found::Text(session.client_resolve.as_str().into()),
    );
    match session.client_resolve {
        Resolve::Ok => Flow::Continue,
        Resolve::Fail => Flow::refuse("5.7.1", &format!("550 Fix reverse DNS for {addr}")),
        Resolve::Temp => Flow::refuse(
            "4.1.8",
            &format!("451 Client IP address {addr} does not resolve"),
        ),
        Resolve::Forged => {
            Flow::refuse("4.1.8", &format!("451 Possibly forged hostname for {addr}"))
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rate,
    Connections,
}

/// RateControl and ConnControl: the access map holds the limit of each address or network.
fn controlled(
    scene: &Scene<'_>,
    trace: &mut Trace,
    kind: Kind,
    control: Control,
) -> Result<Flow, Halt> {
    let Some(access) = scene.policy.maps.access(scene.site()) else {
        return Ok(Flow::Continue);
    };
    let session = scene.session;
    let (tag, now, text) = match kind {
        Kind::Rate => (
            Tag::ClientRate,
            session.client_rate,
            "Connection rate limit exceeded.",
        ),
        Kind::Connections => (
            Tag::ClientConn,
            session.client_connections,
            "Too many open connections.",
        ),
    };
    let what = match (kind, session.counted) {
        (Kind::Rate, Counted::Here) => "connections in the window",
        (Kind::Rate, Counted::OnAllHosts) => "connections in the window, on all hosts",
        (Kind::Connections, Counted::Here) => "open connections",
        (Kind::Connections, Counted::OnAllHosts) => "open connections, on all hosts",
    };
    let items = [
        Item::Address(session.client_addr.as_bytes()),
        Item::Exact(b""),
    ];
    let Some(rhs) = access.search(trace, tag, With::TagOnly, &items)? else {
        return Ok(Flow::Continue);
    };
    let limit = leading_number(rhs.as_bytes());
    trace.fact(
        what,
        session.client_addr.as_bytes(),
        Found::Text(now.to_string().into()),
    );
    if is_word(&rhs, "0") || limit >= i64::from(now) {
        return Ok(Flow::Continue);
    }
    let code = if control.terminate { 421 } else { 452 };
    Ok(Flow::refuse("4.3.2", &format!("{code} {text}")))
}

/// The number at the start of a text, as strtol(3) reads it; 0 if there is none.
pub(super) fn leading_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits
        .iter()
        .take_while(|octet| octet.is_ascii_digit())
        .fold(0i64, |value, octet| {
            value
                .saturating_mul(10)
                .saturating_add(i64::from(octet - b'0'))
        });
    if negative { -value } else { value }
}

/// greet_pause: milliseconds to wait before the greeting; a client that talks before is refused.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn greet_pause(policy: Policy<'_>, session: &Session, facts: &Facts) -> Ruling<u64> {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    let mut trace = Trace::new();
    let Some(pause) = policy.site.features.greet_pause else {
        return Ok(Decision::new(0, trace));
    };
    let default = pause.milliseconds.unwrap_or(0);
    if !pause.asks_access {
        return Ok(Decision::new(default, trace));
    }
    let found = scene.look_up_host(
        &mut trace,
        Tag::GreetPause,
        With::TagOnly,
        &session.client_name,
        &session.client_addr,
    );
    let pause = match found {
        Ok(Some(rhs)) => u64::try_from(leading_number(rhs.as_bytes())).unwrap_or(0),
        Ok(None) => default,
        Err(_) => 0,
    };
    Ok(Decision::new(pause, trace))
}
