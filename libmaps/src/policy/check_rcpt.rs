//! check_rcpt: may mail go to this recipient, from this client?

use crate::address::Address;
use crate::decision::{Found, Membership, Trace};
use crate::rhs::Rhs;
use crate::site::model::{DelayMode, RegexMap};
use crate::table::access::{Item, Tag, With};
use crate::table::verdict::{Verdict, is_word};

use super::canonify::{
    Canonical, Trouble, canon_addr, mx_is_here, parse_recipient, rejected_route,
};
use super::check_mail::{Sender, basic_check_mail};
use super::check_relay::basic_check_relay;
use super::facts::{Facts, Session};
use super::relay_ok::{Relaying, relay_ok, relays};
use super::{Flow, Halt, Outcome, Policy, Ruling, Scene, ends_in, refusal, rule, starts_in, tls};

/// Decides at RCPT.
///
/// With FEATURE(delay_checks) this runs check_mail and check_relay too.
///
/// # Errors
/// The fact that is missing.
pub fn check_rcpt(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
    recipient: &Address,
) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        if scene.site().features.delay_checks.is_some() {
            delayed_checks(scene, trace, recipient)
        } else {
            basic_check_rcpt(scene, trace, recipient)
        }
    })
}

/// check_rcpt of FEATURE(delay_checks): the recipient first, then whom it comes from.
fn delayed_checks(scene: &Scene<'_>, trace: &mut Trace, recipient: &Address) -> Result<Flow, Halt> {
    trace.enter("checkrcpt");
    match basic_check_rcpt(scene, trace, recipient)? {
        Flow::Continue => {}
        Flow::Done => return accept_with_tls(scene, trace),
        stop @ Flow::Stop(_) => return Ok(stop),
    }
    let mode = scene.site().features.delay_checks.map(|delay| delay.mode);
    if let Some(mode @ (DelayMode::Friend | DelayMode::Hater)) = mode {
        let rhs = friend_or_hater(scene, trace, recipient)?;
        let is = |word| rhs.as_ref().is_some_and(|rhs| is_word(rhs, word));
        let spared = match mode {
            DelayMode::Friend => is("FRIEND"),
            _ => !is("HATER"),
        };
        if spared {
            return accept_with_tls(scene, trace);
        }
    }
    trace.enter("checkmail");
    let flow = basic_check_mail(scene, trace, Sender::Rewritten)?;
    if flow != Flow::Continue {
        return Ok(flow);
    }
    trace.enter("checkrelay");
    let flow = basic_check_relay(scene, trace)?;
    if flow == Flow::Continue && scene.site().features.block_bad_helo {
        return Ok(bad_helo(scene, trace));
    }
    Ok(flow)
}

/// Delay_TLS_Clt: a recipient that needs no further check still needs TLS that is good enough.
fn accept_with_tls(scene: &Scene<'_>, trace: &mut Trace) -> Result<Flow, Halt> {
    trace.enter("tls_client");
    Ok(match tls::require_client(scene, trace)? {
        stop @ Flow::Stop(_) => stop,
        Flow::Continue | Flow::Done => Flow::Done,
    })
}

/// What `Spam:` entries say of the recipient.
fn friend_or_hater(
    scene: &Scene<'_>,
    trace: &mut Trace,
    recipient: &Address,
) -> Result<Option<Rhs>, Halt> {
    let site = scene.site();
    let Some(access) = scene.policy.maps.access(site) else {
        return Ok(None);
    };
    let canonical = match canon_addr(scene, trace, recipient) {
        Ok(canonical) => canonical,
        Err(Trouble::Refused(_)) => return Ok(None),
        Err(Trouble::Halt(halt)) => return Err(halt),
    };
    let local = canonical.local.as_slice();
    let domain = canonical
        .domain
        .as_deref()
        .unwrap_or(site.host_name.as_bytes());
    let items = [
        Item::Full(local, domain),
        Item::Domain(domain),
        Item::User(local),
    ];
    // A bare `user@` stands for users of this host only.
    let asked = if site.classes.local_hosts.contains(domain) {
        &items[..]
    } else {
        items.get(..2).unwrap_or_default()
    };
    Ok(access.search(trace, Tag::Spam, With::TagOnly, asked)?)
}

/// What Rcpt_ok says.
enum Recipient {
    /// It stays here, or is relayed for everybody.
    Ok,
    /// The client has proved that it may relay; nothing else is asked.
    Authenticated,
    /// It is remote.
    Remote,
    /// A map, or the resolver, had no answer when it came to relaying; what the client is told
    /// unless it may relay in any case.
    Unknown(Outcome),
    /// Refused.
    Stop(Flow),
}

/// Basic_check_rcpt.
fn basic_check_rcpt(
    scene: &Scene<'_>,
    trace: &mut Trace,
    recipient: &Address,
) -> Result<Flow, Halt> {
    if scene.is_deferred() {
        return Ok(Flow::Continue);
    }
    let told = rcpt_ok(scene, trace, recipient)?;
    match &told {
        Recipient::Ok => return Ok(Flow::Continue),
        Recipient::Authenticated => return Ok(Flow::Done),
        Recipient::Stop(flow) => return Ok(flow.clone()),
        Recipient::Remote | Recipient::Unknown(_) => {}
    }
    match (relay_ok(scene, trace)?, told) {
        (Relaying::Yes, _) => Ok(Flow::Continue),
        (Relaying::Refused(flow), _) => Ok(flow),
        (Relaying::No, Recipient::Unknown(outcome)) => Ok(Flow::Stop(outcome)),
        (Relaying::No, _) => {
            let text = scene.text(&scene.site().messages.relay);
            trace.fact(
                "nothing allows relaying",
                b"",
                Found::Text(text.as_str().into()),
            );
            Ok(Flow::refuse("5.7.1", &text))
        }
    }
}

/// Rcpt_ok.
fn rcpt_ok(scene: &Scene<'_>, trace: &mut Trace, recipient: &Address) -> Result<Recipient, Halt> {
    let site = scene.site();
    let parsed = if site.features.loose_relay_check {
        canon_addr(scene, trace, recipient)
    } else {
        parse_recipient(scene, trace, recipient)
    };
    let mut recipient = match parsed {
        Ok(canonical) => canonical,
        Err(Trouble::Refused(why)) => return Ok(Recipient::Stop(Flow::Stop(Outcome::Refuse(why)))),
        // The host that `user%host` leads to, by a domain that may be relayed to.
        Err(Trouble::Halt(halt @ Halt::Exchangers(_))) => {
            return Ok(Recipient::Unknown(halt.outcome()?));
        }
        Err(Trouble::Halt(halt)) => return Err(halt),
    };
    if site.features.blocklist_recipients {
        let flow = blocklist(scene, trace, &recipient)?;
        if flow != Flow::Continue {
            return Ok(Recipient::Stop(flow));
        }
    }
    if site.features.promiscuous_relay {
        trace.fact("everybody may relay (promiscuous_relay)", b"", Found::Yes);
        // The rules of block_bad_helo follow whatever ruleset is the last one here.
        if site.features.block_bad_helo && site.features.delay_checks.is_none() {
            let flow = bad_helo(scene, trace);
            if flow != Flow::Continue {
                return Ok(Recipient::Stop(flow));
            }
        }
        return Ok(Recipient::Ok);
    }
    if relay_tls(scene, trace)? || relay_auth(scene, trace) {
        return Ok(Recipient::Authenticated);
    }
    if let Some(pseudo) = rejected_route(scene, &recipient.local) {
        recipient.domain = Some(pseudo.to_vec());
    }
    let Some(domain) = &recipient.domain else {
        trace.fact("recipient is local", &recipient.local, Found::Yes);
        return Ok(Recipient::Ok);
    };
    match destination(scene, trace, &recipient.local, domain) {
        Ok(true) => Ok(Recipient::Ok),
        Ok(false) => Ok(Recipient::Remote),
        Err(halt) => Ok(Recipient::Unknown(halt.outcome()?)),
    }
}

/// Whether mail for this domain is taken from everybody.
fn destination(
    scene: &Scene<'_>,
    trace: &mut Trace,
    local: &[u8],
    domain: &[u8],
) -> Result<bool, Halt> {
    let site = scene.site();
    let (classes, features) = (&site.classes, &site.features);
    if features.relay_entire_domain
        && trace.class(
            "own domain",
            domain,
            Membership::from(ends_in(&classes.local_domains, domain)),
        )
    {
        return Ok(true);
    }
    let here = Membership::from(classes.local_hosts.contains(domain));
    if trace.class("local-host-names", domain, here) {
        return Ok(true);
    }
    let in_class = if features.relay_hosts_only {
        classes.relay_domains.contains(domain)
    } else {
        ends_in(&classes.relay_domains, domain)
    };
    if trace.class("relay-domains", domain, Membership::from(in_class)) {
        return Ok(true);
    }
    if let Some(access) = scene.policy.maps.access(site) {
        let full = site
            .features
            .access
            .as_ref()
            .is_some_and(|access| access.relay_to_full_address);
        let rhs = match (features.relay_hosts_only, full) {
            (false, false) => access.domain(trace, Tag::To, With::TagThenBare, domain)?,
            (false, true) => access.search(
                trace,
                Tag::To,
                With::TagThenBare,
                &[
                    Item::Full(local, domain),
                    Item::Domain(domain),
                    Item::Full(local, b""),
                ],
            )?,
            (true, full) => {
                let mut rhs = None;
                if full {
                    let address = [local, b"@", domain].concat();
                    rhs = access.exact(trace, Tag::To, With::TagOnly, &address)?;
                }
                match rhs {
                    Some(rhs) => Some(rhs),
                    None => access.exact(trace, Tag::To, With::TagThenBare, domain)?,
                }
            }
        };
        if relays(rhs.as_ref()) {
            return Ok(true);
        }
    }
    Ok(features.relay_based_on_mx && mx_is_here(scene, trace, domain)?)
}

/// FEATURE(blocklist_recipients): what the access map says of the recipient.
fn blocklist(scene: &Scene<'_>, trace: &mut Trace, recipient: &Canonical) -> Result<Flow, Halt> {
    let site = scene.site();
    let Some(access) = scene.policy.maps.access(site) else {
        return Ok(Flow::Continue);
    };
    let local = recipient.local.as_slice();
    let with = With::TagThenBare;
    let rhs = match &recipient.domain {
        None => access.search(trace, Tag::To, with, &[Item::User(local)]),
        Some(domain) if site.classes.local_hosts.contains(domain) => access.search(
            trace,
            Tag::To,
            with,
            &[
                Item::Full(local, domain),
                Item::User(local),
                Item::Domain(domain),
            ],
        ),
        Some(domain) => access.search(
            trace,
            Tag::To,
            with,
            &[Item::Full(local, domain), Item::Domain(domain)],
        ),
    }?;
    let Some(rhs) = rhs else {
        return Ok(Flow::Continue);
    };
    let is = |word| is_word(&rhs, word);
    let skip = site
        .features
        .access
        .as_ref()
        .is_some_and(|access| access.skip);
    let spam_words = site
        .features
        .delay_checks
        .is_some_and(|delay| delay.compatible_8_10);
    if spam_words && (is("SPAMFRIEND") || is("SPAMHATER")) {
        return Ok(Flow::Continue);
    }
    Ok(
        match Verdict::parse_with(rhs.as_bytes(), &site.classes.accept_words) {
            Verdict::Ok | Verdict::Relay => Flow::Continue,
            Verdict::Skip if skip => Flow::Continue,
            Verdict::Reject => Flow::refuse("5.2.1", &scene.text(&site.messages.recipient)),
            other => refusal(other),
        },
    )
}

/// RelayTLS: the certificate of the client, if the access map says who may relay with it.
fn relay_tls(scene: &Scene<'_>, trace: &mut Trace) -> Result<bool, Halt> {
    let tls = &scene.session.tls;
    let verified =
        tls.verify.eq_ignore_ascii_case("OK") || tls.verify.eq_ignore_ascii_case("TRUSTED");
    let Some(access) = scene.policy.maps.access(scene.site()) else {
        return Ok(false);
    };
    if !verified || tls.cert_issuer.is_empty() {
        return Ok(false);
    }
    let features = &scene.site().features;
    let exactly = |trace: &mut Trace, tag, part: &Option<RegexMap>, text: &str| {
        let taken = part.as_ref().and_then(|part| part.answer(text.as_bytes()));
        let key = taken.as_deref().unwrap_or(text.as_bytes());
        match key.is_empty() {
            true => Ok(None),
            false => access.exact(trace, tag, With::TagOnly, key),
        }
    };
    let issuer = &features.cert_issuer;
    let rhs = exactly(trace, Tag::CertIssuer, issuer, &tls.cert_issuer)?;
    if relays(rhs.as_ref()) {
        return Ok(true);
    }
    let subject = rhs.is_some_and(|rhs| is_word(&rhs, "SUBJECT"));
    if !subject || tls.cert_subject.is_empty() {
        return Ok(false);
    }
    let part = &features.cert_subject;
    Ok(relays(
        exactly(trace, Tag::CertSubject, part, &tls.cert_subject)?.as_ref(),
    ))
}

/// Whether the client has logged in by a mechanism that the site trusts.
fn relay_auth(scene: &Scene<'_>, trace: &mut Trace) -> bool {
    let Some(login) = &scene.session.login else {
        return false;
    };
    let mechanism = login.mechanism.as_bytes();
    let trusted = scene.site().classes.trusted_mechanisms.contains(mechanism);
    trace.class("trusted mechanisms", mechanism, Membership::from(trusted))
}

/// FEATURE(block_bad_helo): our own names and names without a dot are no HELO of a stranger.
pub(super) fn bad_helo(scene: &Scene<'_>, trace: &mut Trace) -> Flow {
    let (site, session) = (scene.site(), scene.session);
    let logged_in = session
        .login
        .as_ref()
        .is_some_and(|login| !login.authid.is_empty());
    let helo = session.helo.as_bytes();
    let hosts = &site.classes.local_hosts;
    if logged_in
        || session.client_addr == "0"
        || starts_in(&site.classes.relay_domains, session.client_addr.as_bytes())
    {
        return Flow::Continue;
    }
    let ours = hosts.contains(helo) || hosts.contains(&[b"[", helo, b"]"].concat());
    let inner_dot = helo
        .get(1..helo.len().saturating_sub(1))
        .is_some_and(|inner| inner.contains(&b'.'));
    let literal = helo
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case(b"IPv6:"));
    if !ours && (inner_dot || literal && helo.len() > 5) {
        return Flow::Continue;
    }
    trace.fact(
        "HELO name of a stranger (block_bad_helo)",
        helo,
        Found::Nothing,
    );
    Flow::refuse(
        "5.7.1",
        &format!("550 bogus HELO name used: {}", session.helo),
    )
}
