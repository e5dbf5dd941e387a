//! Relay_ok: may this client relay at all?

use crate::address::ReversePath;
use crate::decision::{Found, Membership, Trace};
use crate::rhs::Rhs;
use crate::site::model::RelayMailFrom;
use crate::table::access::{Item, Tag, With};
use crate::table::verdict::Verdict;

use super::canonify::{Canonical, Trouble, canon_addr, host_name};
use super::check_rcpt::bad_helo;
use super::facts::{Answer, Facts, Need, Resolve, Session};
use super::{Flow, Halt, Policy, Scene, ends_in, starts_in};

/// What Relay_ok says.
pub(super) enum Relaying {
    /// The client may relay.
    Yes,
    /// Nothing allows it.
    No,
    /// Refused, with a text of its own.
    Refused(Flow),
}

/// Whether a client may relay whoever the sender is: by its address, or by the name that this
/// resolves to, as it stands there. A map that can't be read allows nothing.
#[must_use]
pub fn client_may_relay(policy: Policy<'_>, session: &Session) -> bool {
    let name = session.client_name.as_bytes();
    let mut facts = Facts::new();
    facts.add(Need::Host(name.into()), Answer::NotFound);
    let scene = Scene {
        policy,
        session,
        facts: &facts,
    };
    let mut trace = Trace::new();
    by_address(&scene, &mut trace).unwrap_or(false)
        || session.client_resolve == Resolve::Ok && by_name(&scene, &mut trace).unwrap_or(false)
}

/// Relay_ok: by address, then by sender where the site wants that, then by name.
pub(super) fn relay_ok(scene: &Scene<'_>, trace: &mut Trace) -> Result<Relaying, Halt> {
    if by_address(scene, trace)? || by_sender(scene, trace)? {
        return Ok(Relaying::Yes);
    }
    let session = scene.session;
    let refused = match session.client_resolve {
        Resolve::Ok => None,
        Resolve::Temp => Some((
            "4.4.0",
            format!(
                "450 Relaying temporarily denied. Cannot resolve PTR record for {}",
                session.client_addr
            ),
        )),
        Resolve::Forged => Some((
            "5.7.1",
            format!(
                "550 Relaying denied. IP name possibly forged {}",
                session.client_name
            ),
        )),
        Resolve::Fail => Some((
            "5.7.1",
            format!(
                "550 Relaying denied. IP name lookup failed {}",
                session.client_name
            ),
        )),
    };
    if let Some((status, text)) = refused {
        trace.fact(
            "client address resolves",
            session.client_addr.as_bytes(),
            Found::Text(session.client_resolve.as_str().into()),
        );
        return Ok(Relaying::Refused(Flow::refuse(status, &text)));
    }
    if by_name(scene, trace)? {
        return Ok(Relaying::Yes);
    }
    // Without delay_checks the rules of block_bad_helo end up at the end of Relay_ok.
    let features = &scene.site().features;
    if features.block_bad_helo && features.delay_checks.is_none() {
        let flow = bad_helo(scene, trace);
        if flow != Flow::Continue {
            return Ok(Relaying::Refused(flow));
        }
    }
    Ok(Relaying::No)
}

fn by_address(scene: &Scene<'_>, trace: &mut Trace) -> Result<bool, Halt> {
    let site = scene.site();
    let addr = scene.session.client_addr.as_bytes();
    let here = matches!(
        addr,
        b"" | b"0" | b"127.0.0.1" | b"IPv6:0:0:0:0:0:0:0:1" | b"IPv6:::1"
    );
    if here {
        trace.fact("client is this host", addr, Found::Yes);
        return Ok(true);
    }
    let in_class = Membership::from(starts_in(&site.classes.relay_domains, addr));
    if trace.class("relay-domains", addr, in_class) {
        return Ok(true);
    }
    if let Some(access) = scene.policy.maps.access(site) {
        let rhs = access.address(trace, Tag::Connect, With::TagThenBare, addr)?;
        if relays(rhs.as_ref()) {
            return Ok(true);
        }
    }
    let literal = [b"[", addr, b"]"].concat();
    let own = site.classes.local_hosts.contains(&literal);
    if own {
        trace.class("local-host-names", &literal, Membership::In);
    }
    Ok(own)
}

/// relay_local_from and relay_mail_from: whoever claims the right sender may relay.
fn by_sender(scene: &Scene<'_>, trace: &mut Trace) -> Result<bool, Halt> {
    let site = scene.site();
    let features = &site.features;
    if !features.relay_local_from && features.relay_mail_from.is_none() {
        return Ok(false);
    }
    let ReversePath::Address(sender) = &scene.session.sender else {
        return Ok(false);
    };
    let sender = match canon_addr(scene, trace, sender) {
        Ok(canonical) => canonical,
        Err(Trouble::Refused(_)) => return Ok(false),
        Err(Trouble::Halt(halt)) => return Err(halt),
    };
    let Canonical {
        local,
        domain: Some(domain),
        ..
    } = &sender
    else {
        return Ok(false);
    };
    if features.relay_local_from && site.classes.local_hosts.contains(domain) {
        return Ok(trace.class("local-host-names", domain, Membership::In));
    }
    let (Some(relay_mail_from), Some(access)) =
        (features.relay_mail_from, scene.policy.maps.access(site))
    else {
        return Ok(false);
    };
    let full = Item::Full(local, domain);
    let by_domain = if features.relay_hosts_only {
        Item::Exact(domain)
    } else {
        Item::Domain(domain)
    };
    let rhs = match relay_mail_from {
        RelayMailFrom::Address => access.search(trace, Tag::From, With::TagOnly, &[full]),
        RelayMailFrom::Domain => access.search(trace, Tag::From, With::TagOnly, &[full, by_domain]),
    }?;
    Ok(relays(rhs.as_ref()))
}

fn by_name(scene: &Scene<'_>, trace: &mut Trace) -> Result<bool, Halt> {
    let (site, session) = (scene.site(), scene.session);
    let (classes, features) = (&site.classes, &site.features);
    let mut name = session.client_name.as_bytes().to_vec();
    if name.is_empty() {
        return Ok(false);
    }
    if !ends_in(&classes.pseudo_domains, &name)
        && let Some(canonical) = host_name(scene, trace, &name)?
    {
        name = canonical;
    }
    while name.last() == Some(&b'.') {
        name.pop();
    }
    if features.relay_entire_domain
        && trace.class(
            "own domain",
            &name,
            Membership::from(ends_in(&classes.local_domains, &name)),
        )
    {
        return Ok(true);
    }
    if classes.local_hosts.contains(&name) {
        return Ok(trace.class("local-host-names", &name, Membership::In));
    }
    let in_class = if features.relay_hosts_only {
        classes.relay_domains.contains(&name)
    } else {
        ends_in(&classes.relay_domains, &name)
    };
    if trace.class("relay-domains", &name, Membership::from(in_class)) {
        return Ok(true);
    }
    let Some(access) = scene.policy.maps.access(site) else {
        return Ok(false);
    };
    let rhs = if features.relay_hosts_only {
        access.exact(trace, Tag::Connect, With::TagThenBare, &name)?
    } else {
        access.domain(trace, Tag::Connect, With::TagThenBare, &name)?
    };
    Ok(relays(rhs.as_ref()))
}

/// Whether an entry's RHS is RELAY.
pub(super) fn relays(rhs: Option<&Rhs>) -> bool {
    rhs.is_some_and(|rhs| Verdict::parse(rhs.as_bytes()) == Verdict::Relay)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decision::Traced;
    use crate::lhs::Lhs;
    use crate::map::Entry;
    use crate::policy::maps::Maps;
    use crate::site::Site;
    use crate::site::model::{AccessDb, MapSpec};
    use crate::store::memory::MemoryMap;

    #[test]
    fn clients_that_may_relay_do_so_by_address_or_by_a_name_that_is_theirs() {
        let mut site = Site::default();
        site.classes.relay_domains.insert(b"192.0.2");
        site.classes.relay_domains.insert(b"own.example");
        site.features.access = Some(AccessDb {
            map: MapSpec::new("hash", "/etc/mail/access"),
            skip: false,
            lookup_dot_domain: false,
            relay_to_full_address: false,
        });
        let entries = [
            ("connect:198.51.100", "RELAY"),
            ("connect:no.example", "OK"),
        ];
        let entries = entries.map(|(lhs, rhs)| Entry::new(Lhs::folded(lhs.as_bytes()), rhs));
        let maps = Maps {
            access: Some(Traced::new(Arc::new(MemoryMap::new("access", entries)) as _)),
            ..Maps::default()
        };
        let policy = Policy {
            site: &site,
            maps: &maps,
        };
        for (addr, name, resolve, may) in [
            ("127.0.0.1", "localhost", Resolve::Ok, true),
            ("192.0.2.7", "[192.0.2.7]", Resolve::Fail, true),
            ("198.51.100.7", "[198.51.100.7]", Resolve::Fail, true),
            ("203.0.113.7", "mx.own.example", Resolve::Ok, true),
            ("203.0.113.7", "mx.own.example", Resolve::Forged, false),
            ("203.0.113.7", "mx.no.example", Resolve::Ok, false),
            ("203.0.113.7", "", Resolve::Temp, false),
        ] {
            let session = Session {
                client_addr: addr.into(),
                client_name: name.into(),
                client_resolve: resolve,
                ..Session::default()
            };
            assert_eq!(client_may_relay(policy, &session), may, "{addr} {name}");
        }
    }
}
