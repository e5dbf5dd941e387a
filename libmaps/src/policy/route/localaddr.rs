//! `localaddr` (ruleset 5): a second look at local names that no alias took.
//!
//! `user+detail` is tried as `user+*` and then as `user`; what is left may go to
//! LUSER_RELAY, MAIL_HUB or LOCAL_RELAY.

use crate::decision::{LookupError, Trace};
use crate::map::{Map, StoreError};
use crate::policy::route::canonify::{Addressing, Host, Mailbox};
use crate::policy::route::parse::{MAX_LEVELS, Resolved, Step, Triple};
use crate::site::Site;
use crate::site::users::Users;
use crate::tokens::{self, tidy, tokens};

/// What ruleset 5 is told beside the name.
pub(crate) struct LocalName<'a> {
    /// The name, as the mailer would get it.
    pub(crate) user: &'a [u8],
    /// `$h`: the host of its triple; `+detail` on the second round.
    pub(crate) host: &'a [u8],
    /// `${Host}`, for FEATURE(preserve_luser_host): `@host` of the address as it came.
    pub(crate) kept_host: &'a mut Vec<u8>,
}

impl<M: Map> Addressing<'_, M> {
    /// Where a local name goes instead, asked by itself; nothing if it stays as it is.
    ///
    /// # Errors
    /// When the list of users can't be read.
    pub fn resolve_local(
        &self,
        user: &[u8],
        users: &Users,
        trace: &mut Trace,
    ) -> Result<Option<Resolved>, LookupError> {
        let name = LocalName {
            user,
            host: b"",
            kept_host: &mut Vec::new(),
        };
        self.localaddr(name, users, trace)
    }

    /// Where a local name goes instead; nothing if it stays as it is.
    pub(crate) fn localaddr(
        &self,
        name: LocalName<'_>,
        users: &Users,
        trace: &mut Trace,
    ) -> Result<Option<Resolved>, LookupError> {
        let features = &self.site.features;
        let user = tidy(name.user).unwrap_or_default();
        if user.is_empty() {
            return Ok(None);
        }
        if features.preserve_luser_host && self.site.relays.luser.is_some() {
            keep_host(name.host, name.kept_host);
        }
        let local = |host: &[u8], user: Vec<u8>, stays_here: bool| {
            Ok(Some(Resolved::Triple(Triple {
                mailer: self.site.mailers.local.clone().into(),
                host: (!host.is_empty()).then(|| host.to_vec()),
                user: Mailbox::new(user, None),
                stays_here,
            })))
        };
        if !features.preserve_local_plus_detail {
            if let Some(plain) = any_detail(&user) {
                return local(name.host, plain.to_vec(), false);
            }
            if let Some((plain, detail)) = tokens::split_after_one(&user, b'+') {
                let host = tokens::concat(&[b"+", detail]);
                return local(&host, tokens::concat(&[plain, b"+*"]), false);
            }
        }
        let relay = self.relay_for(&user, name.kept_host, users)?;
        let Some(Relay { spec, user }) = relay else {
            if features.preserve_local_plus_detail {
                return Ok(None);
            }
            return match name.host.strip_prefix(b"+") {
                Some(detail) => local(detail, user, true),
                None => Ok(None),
            };
        };
        let user = match name.host.strip_prefix(b"+") {
            Some(detail) if !features.preserve_local_plus_detail => {
                with_detail(&user, detail, features.preserve_luser_host)
            }
            _ => user,
        };
        self.by_relay(&spec, user, trace)
    }

    /// LUSER_RELAY for names that are no users, else MAIL_HUB, else LOCAL_RELAY.
    fn relay_for(
        &self,
        user: &[u8],
        kept_host: &[u8],
        users: &Users,
    ) -> Result<Option<Relay>, LookupError> {
        let relays = &self.site.relays;
        let spec = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            tidy(text.as_bytes())
                .ok()
                .filter(|text| !tokens::is_empty(text))
        };
        let mut user = user.to_vec();
        if let Some(luser) = spec(&relays.luser) {
            let (plain, detail) = match tokens::split_after_one(&user, b'+') {
                Some((plain, detail)) if self.site.features.preserve_local_plus_detail => {
                    (plain, tokens::concat(&[b"+", detail]))
                }
                _ => (&user[..], Vec::new()),
            };
            let plain = tokens::spell(plain, self.blank());
            let plain = tokens::strip_quotes(&plain);
            if find_user(users, FullNames::of(self.site), &plain)?.is_some() {
                // The name is written as it was looked for.
                user = tokens::concat(&[&plain, &detail]);
            } else {
                let user = match self.site.features.preserve_luser_host {
                    true => tokens::concat(&[&user, kept_host]),
                    false => user,
                };
                return Ok(Some(Relay { spec: luser, user }));
            }
        }
        let next = spec(&relays.mail_hub).or_else(|| spec(&relays.local));
        Ok(next.map(|spec| Relay { spec, user }))
    }

    fn by_relay(
        &self,
        spec: &[u8],
        user: Vec<u8>,
        trace: &mut Trace,
    ) -> Result<Option<Resolved>, LookupError> {
        let mut all = tokens(spec);
        let first = all.next();
        let colon = all.next().filter(|token| token.is(b':'));
        let mailer = first.filter(|token| colon.is_some() && !token.is(b'['));
        let bare = mailer.is_some_and(|mailer| {
            mailer.text.eq_ignore_ascii_case(b"local") || mailer.text.eq_ignore_ascii_case(b"error")
        });
        let mailbox = if bare {
            Mailbox::new(user, None)
        } else {
            let host = match (mailer, colon) {
                (Some(_), Some(colon)) => spec.get(colon.end..).unwrap_or_default(),
                _ => spec,
            };
            match tokens::split_after_one(&user, b'@') {
                Some((user, host)) if self.site.features.preserve_luser_host => {
                    Mailbox::new(user, Some(Host::plain(host)))
                }
                _ => Mailbox::new(user, Some(Host::plain(tokens::trim(host)))),
            }
        };
        match self.pass_on(spec, mailbox, MAX_LEVELS, trace)? {
            Step::Done(Resolved::Error(mut refusal)) => {
                refusal.text = without_quotes(&refusal.text);
                Ok(Some(Resolved::Error(refusal)))
            }
            Step::Done(resolved) => Ok(Some(resolved)),
            Step::Go(_) => Ok(None),
        }
    }
}

/// The text of a refusal, as a macro holds it: without quotes, and what they kept together stands
/// apart from the word before.
fn without_quotes(text: &[u8]) -> Vec<u8> {
    let words: Vec<_> = tokens(text)
        .map(|token| tokens::strip_quotes(token.text))
        .collect();
    let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
    tokens::concat(&words)
}

/// Where a name goes, and as which name.
struct Relay {
    spec: Vec<u8>,
    user: Vec<u8>,
}

/// Whether users are looked for among full names, too (option MatchGECOS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FullNames {
    Ignored,
    /// With this octet or `_` for a blank.
    Matched {
        blank: u8,
    },
}

impl FullNames {
    /// What the site has.
    pub(crate) fn of(site: &Site) -> Self {
        let addresses = &site.options.addresses;
        match addresses.match_gecos {
            true => FullNames::Matched {
                blank: addresses.blank(),
            },
            false => FullNames::Ignored,
        }
    }
}

/// The user of this name, as sendmail finds him: exactly, else in lower case, else by his full name.
pub(crate) fn find_user(
    users: &Users,
    full_names: FullNames,
    name: &[u8],
) -> Result<Option<String>, LookupError> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Ok(None);
    };
    let unreadable =
        |error| LookupError::Store(StoreError::io("/etc/passwd".as_ref(), "read", error));
    let lower = name.to_ascii_lowercase();
    for name in [name, &lower] {
        if users.has(name).map_err(unreadable)? {
            return Ok(Some(name.to_owned()));
        }
        if name == lower {
            break;
        }
    }
    let FullNames::Matched { blank } = full_names else {
        return Ok(None);
    };
    let full_name = lower.replace([char::from(blank), '_'], " ");
    match full_name.contains(' ') {
        true => users.by_full_name(&full_name).map_err(unreadable),
        false => Ok(None),
    }
}

/// What stands before `+*` at the end.
fn any_detail(user: &[u8]) -> Option<&[u8]> {
    let plain = user.strip_suffix(b"+*")?;
    (!plain.is_empty()).then_some(tokens::trim(plain))
}

/// Puts a detail back: behind the user, before the host where one was kept.
fn with_detail(user: &[u8], detail: &[u8], keep_host: bool) -> Vec<u8> {
    match tokens::split_after_one(user, b'@') {
        Some((user, host)) if keep_host => tokens::concat(&[user, b"+", detail, b"@", host]),
        _ => tokens::concat(&[user, b"+", detail]),
    }
}

/// Remembers the host of an address, unless `$h` holds a detail.
fn keep_host(host: &[u8], kept: &mut Vec<u8>) {
    if host.is_empty() || host.starts_with(b"+") {
        return;
    }
    let name = tokens::split_first(host, b'@').map_or(host, |(_, name)| name);
    *kept = [b"@", name].concat();
}
