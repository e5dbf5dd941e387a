//! Whole searches by the socketmap protocol: what sendmail's rules make of an address, as
//! Postfix can use it.
//!
//! Postfix asks a socketmap for whole addresses only, never for a domain or a name alone.
//! These maps search as the rules do, so that catch-alls, details, `%1` and parent domains
//! count there, too.
//!
//! | name | key | value |
//! |---|---|---|
//! | `search-virtusertable` | an address of ours | what stands for it; nothing for `error:` of 5yz |
//! | `search-aliases` | a local address | its alias, where that is a list of addresses |
//! | `search-mailertable` | an address or a domain that is not ours | `transport:nexthop` of Postfix's transport(5) |

use std::sync::Arc;

use libmaps::address::split_detail;
use libmaps::decision::{LookupError, Trace};
use libmaps::policy::maps::Maps;
use libmaps::site::Site;
use libmaps::site::model::Class;
use libmaps::store::socketmap::Reply;
use libmaps::table::aliases::{Separator, addresses};
use libmaps::table::mailertable::MailerSpec;
use libmaps::table::verdict::Refusal;
use libmaps::table::virtusertable::Rewrite;

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    VirtUserTable,
    Aliases,
    MailerTable,
}

impl Search {
    /// The names of all of them.
    pub(super) const ALL: [(&'static str, Search); 3] = [
        ("search-aliases", Search::Aliases),
        ("search-mailertable", Search::MailerTable),
        ("search-virtusertable", Search::VirtUserTable),
    ];

    /// Whether the site has what is searched.
    pub(super) fn is_there(self, site: &Site) -> bool {
        match self {
            Search::VirtUserTable => site.features.virtusertable.is_some(),
            Search::Aliases => !site.alias_files().is_empty(),
            Search::MailerTable => site.features.mailertable.is_some(),
        }
    }

    /// The reply for a key.
    pub(super) fn answer(self, site: &Arc<Site>, maps: &Maps, key: &[u8]) -> Reply {
        let key = key.to_ascii_lowercase();
        let found = match self {
            Search::VirtUserTable => virtual_user(site, maps, &key),
            Search::Aliases => alias(site, maps, &key),
            Search::MailerTable => transport(site, maps, &key),
        };
        found.unwrap_or_else(|error| Reply::Temp(error.to_string()))
    }
}

fn virtual_user(site: &Site, maps: &Maps, key: &[u8]) -> Result<Reply, LookupError> {
    let Some((local, domain)) = parts(key) else {
        return Ok(Reply::NotFound);
    };
    let classes = &site.classes;
    let ours = classes.local_hosts.contains(domain)
        || match site.features.virtuser_entire_domain {
            true => has_domain_of(&classes.virtual_hosts, domain),
            false => classes.virtual_hosts.contains(domain),
        };
    let table = maps.route_tables().virtusertable;
    let Some(table) = table.filter(|_| ours) else {
        return Ok(Reply::NotFound);
    };
    Ok(match table.rewrite(local, domain, &mut Trace::new())? {
        None => Reply::NotFound,
        // `error:nouser` without a text is a refusal, too.
        Some(Rewrite::Address(address)) if is_error(&address) => Reply::NotFound,
        Some(Rewrite::Address(address)) => Reply::Ok(address),
        Some(Rewrite::Refused { status, text }) => refused(&status, &text),
    })
}

fn is_error(rhs: &[u8]) -> bool {
    let head = rhs.get(..6);
    rhs.is_empty() || head.is_some_and(|head| head.eq_ignore_ascii_case(b"error:"))
}

/// Whether the domain or a parent of it is in the class.
fn has_domain_of(class: &Class, domain: &[u8]) -> bool {
    let dots = domain
        .iter()
        .enumerate()
        .filter(|(_, octet)| **octet == b'.');
    let parents = dots.filter_map(|(at, _)| domain.get(at + 1..));
    std::iter::once(domain)
        .chain(parents)
        .any(|name| class.contains(name))
}

/// For good: there is no such user. For now: nobody can tell.
fn refused(status: &[u8], text: &[u8]) -> Reply {
    let lossy = |octets| String::from_utf8_lossy(octets).into_owned();
    let refusal = Refusal::new(&lossy(status), &lossy(text));
    match refusal.is_temporary() {
        true => Reply::Temp(refusal.reply().lines.join(" ")),
        false => Reply::NotFound,
    }
}

/// A program, a file or a list of a file is for a local delivery agent, and no address. An alias
/// of both can't be said: without the one or the other mail would be lost, so it has to wait.
///
/// `user+detail` is tried as `user+*` and as `user` too, as rule set 5 does; whoever asks a
/// socket does not do that.
fn alias(site: &Site, maps: &Maps, key: &[u8]) -> Result<Reply, LookupError> {
    let name = match parts(key) {
        Some((local, domain)) if site.classes.local_hosts.contains(domain) => local,
        Some(_) => return Ok(Reply::NotFound),
        None => key,
    };
    let table = maps.alias_table();
    let plain = split_detail(name).map(|(plain, _)| plain);
    let plain = plain.filter(|_| !site.features.preserve_local_plus_detail);
    let names = [
        Some(name.to_vec()),
        plain.map(|plain| [plain, b"+*"].concat()),
        plain.map(<[u8]>::to_vec),
    ];
    for name in names.into_iter().flatten() {
        if let Some(targets) = table.targets(&name, &mut Trace::new())? {
            return Ok(list(&name, &targets));
        }
    }
    Ok(Reply::NotFound)
}

/// The members of an alias. A copy that its own user keeps, `\name`, is the name itself: an alias
/// that leads to itself is at its end there.
fn list(name: &[u8], targets: &[u8]) -> Reply {
    let mut members: Vec<&[u8]> = Vec::new();
    let (mut kept, mut for_agents) = (0, 0);
    for target in addresses(targets, Separator::Comma) {
        let bare = target.strip_prefix(b"\"").unwrap_or(target);
        let of_include = bare.get(..9);
        let plain = bare
            .strip_prefix(b"\\")
            .map(|p| p.strip_suffix(b"\"").unwrap_or(p));
        match bare.first() {
            Some(b'\\') if plain.is_some_and(|plain| plain.eq_ignore_ascii_case(name)) => {
                kept += 1;
                members.push(name);
            }
            Some(b'|' | b'/' | b'\\') => for_agents += 1,
            _ if of_include.is_some_and(|head| head.eq_ignore_ascii_case(b":include:")) => {
                for_agents += 1;
            }
            _ => members.push(target),
        }
    }
    match (members.len(), for_agents) {
        (all, 0) if all == kept => Reply::NotFound,
        (_, 0) if kept == 0 => Reply::Ok(targets.to_vec()),
        (_, 0) => Reply::Ok(members.join(&b", "[..])),
        (0, _) => Reply::NotFound,
        _ => Reply::Temp("an alias of addresses and of programs, files or lists".into()),
    }
}

/// sendmail's mailers for SMTP are Postfix's transport `smtp`; others keep their names. Mail for a
/// host of ours never comes to the table.
fn transport(site: &Site, maps: &Maps, key: &[u8]) -> Result<Reply, LookupError> {
    let domain = match parts(key) {
        Some((_, domain)) => domain,
        None if key.contains(&b'.') => key,
        None => return Ok(Reply::NotFound),
    };
    let table = maps.route_tables().mailertable;
    let Some(table) = table.filter(|_| !site.classes.local_hosts.contains(domain)) else {
        return Ok(Reply::NotFound);
    };
    let Some(rhs) = table.find(domain, &mut Trace::new())? else {
        return Ok(Reply::NotFound);
    };
    Ok(match MailerSpec::parse(&rhs) {
        MailerSpec::Nowhere => Reply::NotFound,
        MailerSpec::Error { status, text } => bounce(status.unwrap_or_default(), text),
        MailerSpec::Local(b"") => Reply::Ok(b"local:".to_vec()),
        MailerSpec::Local(_) | MailerSpec::Mailer { user: Some(_), .. } => {
            Reply::Temp("an entry of another user, which transport(5) can't name".into())
        }
        MailerSpec::Host(host) => Reply::Ok([b"relay:", &nexthop(host)[..]].concat()),
        MailerSpec::Mailer { mailer, host, .. } => {
            let smtp: [&[u8]; 5] = [b"smtp", b"esmtp", b"smtp8", b"dsmtp", b"relay"];
            let transport = match smtp.iter().any(|name| mailer.eq_ignore_ascii_case(name)) {
                true => &b"smtp"[..],
                false => mailer,
            };
            Reply::Ok([transport, b":", &nexthop(host)[..]].concat())
        }
    })
}

/// Postfix's error(8): the service `error` bounces, `retry` defers.
fn bounce(status: &[u8], text: &[u8]) -> Reply {
    let lossy = |octets| String::from_utf8_lossy(octets).into_owned();
    let reply = Refusal::new(&lossy(status), &lossy(text)).reply();
    let (service, unnamed) = match reply.is_temporary() {
        true => ("retry", "4.0.0"),
        false => ("error", "5.0.0"),
    };
    let status = reply
        .status
        .map_or_else(|| unnamed.to_owned(), |s| s.to_string());
    let text = reply.lines.join(" ");
    Reply::Ok(format!("{service}:{status} {text}").into_bytes())
}

/// sendmail's list of hosts that are tried in order has colons between them, Postfix's (from 3.5 on)
/// commas; there a colon is what stands before a port. In brackets it is part of an IPv6 address.
fn nexthop(hosts: &[u8]) -> Vec<u8> {
    let mut depth = 0_u32;
    let each = hosts.iter().map(|octet| {
        match octet {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (octet, depth) {
            (b':', 0) => b',',
            _ => *octet,
        }
    });
    each.collect()
}

/// Local part and domain of an address, at its last `@`.
fn parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = key.iter().rposition(|octet| *octet == b'@')?;
    let (local, domain) = (key.get(..at)?, key.get(at + 1..)?);
    (!local.is_empty() && !domain.is_empty()).then_some((local, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_a_row_are_postfix_s() {
        for (hosts, want) in [
            ("hub", "hub"),
            ("[hub]", "[hub]"),
            ("hub1:hub2:[hub3]", "hub1,hub2,[hub3]"),
            ("[IPv6:2001:db8::1]:hub2", "[IPv6:2001:db8::1],hub2"),
            ("", ""),
        ] {
            assert_eq!(nexthop(hosts.as_bytes()), want.as_bytes());
        }
    }
}
