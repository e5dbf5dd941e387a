//! check_mail: may mail come from this sender?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{ReversePath, is_one_token, parse_literal};
use crate::decision::{Found, Membership, Trace};
use crate::site::model::RegexMap;
use crate::table::access::{Item, Tag, With};

use super::canonify::{Canonical, Trouble, canon_addr, is_localhost, rewritten_domain};
use super::facts::{Answer, Facts, Need, Session};
use super::{Flow, Halt, Outcome, Policy, Ruling, Scene, admit, ends_in, rule, tls};

/// Decides at MAIL about [`Session::sender`].
///
/// With FEATURE(delay_checks) the answer is [`Outcome::Delayed`].
///
/// # Errors
/// The fact that is missing.
pub fn check_mail(policy: Policy<'_>, session: &Session, facts: &Facts) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        if scene.site().features.delay_checks.is_some() {
            return Ok(Flow::Stop(Outcome::Delayed));
        }
        basic_check_mail(scene, trace, Sender::AsGiven)
    })
}

/// Which spelling of the sender is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The one in MAIL.
    AsGiven,
    /// What was made of it since (`$f`): with FEATURE(delay_checks) the rules have nothing else.
    Rewritten,
}

/// Basic_check_mail, which check_rcpt calls too.
pub(super) fn basic_check_mail(
    scene: &Scene<'_>,
    trace: &mut Trace,
    judged: Sender,
) -> Result<Flow, Halt> {
    if scene.is_deferred() {
        return Ok(Flow::Continue);
    }
    let flow = tls::require_client(scene, trace)?;
    if flow != Flow::Continue {
        return Ok(flow);
    }
    let ReversePath::Address(sender) = &scene.session.sender else {
        return Ok(Flow::Continue);
    };
    let domain = match judged {
        Sender::AsGiven => Ok(sender.domain().map(|domain| domain.as_bytes().to_vec())),
        // Nobody asks whether it is a real one.
        Sender::Rewritten if scene.site().features.accept_unqualified_senders => Ok(None),
        Sender::Rewritten => rewritten_domain(scene, trace, sender),
    };
    let domain = match domain {
        Ok(domain) => domain,
        Err(Trouble::Refused(why)) => return Ok(Flow::Stop(Outcome::Refuse(why))),
        Err(Trouble::Halt(halt)) => return Err(halt),
    };
    let exempt = match real_domain(scene, trace, domain.as_deref()) {
        Ok(exempt) => exempt,
        Err(refused) => return Ok(refused),
    };
    let canonical = match canon_addr(scene, trace, sender) {
        Ok(canonical) => canonical,
        Err(Trouble::Refused(why)) => return Ok(Flow::Stop(Outcome::Refuse(why))),
        Err(Trouble::Halt(halt)) => return Err(halt),
    };
    if let Some(rhs) = look_up(scene, trace, &canonical)? {
        return Ok(admit(scene, rhs.as_bytes(), trace));
    }
    let flow = match &canonical.domain {
        Some(domain) => resolves(scene, trace, domain)?,
        None => unqualified(scene, trace, exempt),
    };
    match (&canonical.domain, &scene.site().features.badmx) {
        (Some(domain), Some(bad)) if flow == Flow::Continue => bad_mx(scene, trace, domain, bad),
        _ => Ok(flow),
    }
}

/// Whether the daemon lets senders without a domain pass (flag `u`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exempt {
    Yes,
    No,
}

/// `user@localhost`, and with flag `f` `user@host`, come from this host only.
fn real_domain(
    scene: &Scene<'_>,
    trace: &mut Trace,
    domain: Option<&[u8]>,
) -> Result<Exempt, Flow> {
    let session = scene.session;
    if scene.site().features.accept_unqualified_senders {
        return Ok(Exempt::Yes);
    }
    let exempt = if session.daemon_flag("u") {
        Exempt::Yes
    } else {
        Exempt::No
    };
    let Some(name) = domain else {
        return Ok(exempt);
    };
    let single = session.daemon_flag("f") && is_one_token(name);
    let here = exempt == Exempt::No
        && (is_localhost(scene, name) || parse_literal(name).is_some_and(is_this_host));
    if !single && !here || session.client_name.is_empty() {
        return Ok(exempt);
    }
    let local = scene
        .site()
        .classes
        .local_hosts
        .contains(session.client_name.as_bytes());
    trace.class(
        "local-host-names",
        session.client_name.as_bytes(),
        Membership::from(local),
    );
    if local {
        Ok(exempt)
    } else {
        Err(Flow::refuse(
            "5.5.4",
            "553 Real domain name required for sender address",
        ))
    }
}

/// `127.0.0.1` and `::1`, and no other address of the loopback network.
fn is_this_host(address: IpAddr) -> bool {
    address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

/// What the access map says about the sender.
fn look_up(
    scene: &Scene<'_>,
    trace: &mut Trace,
    sender: &Canonical,
) -> Result<Option<crate::rhs::Rhs>, Halt> {
    let Some(access) = scene.policy.maps.access(scene.site()) else {
        return Ok(None);
    };
    let local = sender.local.as_slice();
    let found = match &sender.domain {
        Some(domain) => access.search(
            trace,
            Tag::From,
            With::TagThenBare,
            &[
                Item::Full(local, domain),
                Item::User(local),
                Item::Domain(domain),
            ],
        ),
        None => access.search(trace, Tag::From, With::TagThenBare, &[Item::User(local)]),
    }?;
    Ok(found)
}

/// The sender's domain must exist.
///
/// sendmail resolves before it asks the access map; an entry found there decides whatever DNS said, so DNS is
/// asked only where there is none.
fn resolves(scene: &Scene<'_>, trace: &mut Trace, domain: &[u8]) -> Result<Flow, Halt> {
    let site = scene.site();
    if site.features.accept_unresolvable_domains
        || ends_in(&site.classes.pseudo_domains, domain)
        || domain.eq_ignore_ascii_case(site.host_name.as_bytes())
    {
        return Ok(Flow::Continue);
    }
    let answer = scene.facts.host(domain)?;
    let sender = &scene.session.sender_text;
    let (found, flow) = match answer {
        Answer::Found(_) => (Found::Yes, Flow::Continue),
        Answer::NotFound => (
            Found::Nothing,
            Flow::refuse(
                "5.1.8",
                &format!("553 Domain of sender address {sender} does not exist"),
            ),
        ),
        Answer::Temporary => (
            Found::Text("no answer now".into()),
            Flow::refuse(
                "4.1.8",
                &format!("451 Domain of sender address {sender} does not resolve"),
            ),
        ),
    };
    trace.fact("sender domain resolves", domain, found);
    Ok(flow)
}

/// A sender without a domain comes from this host, or over a daemon with flag `u`.
fn unqualified(scene: &Scene<'_>, trace: &mut Trace, exempt: Exempt) -> Flow {
    let session = scene.session;
    if exempt == Exempt::Yes || session.daemon_flag("u") || session.client_addr.is_empty() {
        return Flow::Continue;
    }
    trace.fact(
        "sender has a domain",
        session.sender_text.as_bytes(),
        Found::Nothing,
    );
    Flow::refuse(
        "5.5.4",
        &format!(
            "553 Domain name required for sender address {}",
            session.sender_text
        ),
    )
}

/// FEATURE(badmx): a mail exchanger that is an address, or has one that the site does not believe.
fn bad_mx(
    scene: &Scene<'_>,
    trace: &mut Trace,
    domain: &[u8],
    bad: &RegexMap,
) -> Result<Flow, Halt> {
    let shown = String::from_utf8_lossy(domain).into_owned();
    let exchangers = match scene.facts.get(Need::BestMx(domain.into()))? {
        Answer::Found(names) => names.as_slice(),
        Answer::NotFound => &[],
        Answer::Temporary => {
            return Ok(Flow::refuse(
                "4.1.2",
                &format!("450 MX lookup failure for {shown}"),
            ));
        }
    };
    for name in exchangers {
        if is_number(name) {
            trace.fact("mail exchanger is a name", name, Found::Nothing);
            return Ok(Flow::refuse(
                "5.1.2",
                &format!("550 Illegal MX record for host {shown}"),
            ));
        }
    }
    for name in exchangers {
        if let Answer::Found(all) = scene.facts.get(Need::Addresses(name.clone()))? {
            for address in all {
                // The rules look at `10.1.2.3.`: their DNS map is one with -a.
                if bad.is_match(&[address, &b"."[..]].concat()) {
                    trace.fact(
                        "mail exchanger has a bad address",
                        name,
                        Found::Text(String::from_utf8_lossy(address).into()),
                    );
                    return Ok(Flow::refuse(
                        "5.1.2",
                        &format!("550 Invalid MX record for host {shown}"),
                    ));
                }
            }
        }
    }
    Ok(Flow::Continue)
}

/// `1.2.3.4.` or nothing but a dot.
fn is_number(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.is_empty()
        || std::str::from_utf8(name).is_ok_and(|n| n.parse::<std::net::Ipv4Addr>().is_ok())
}
