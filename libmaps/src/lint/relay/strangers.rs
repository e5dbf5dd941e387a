//! Who is tried: clients, senders and recipients that the site knows nothing of, and those that its widest entries let
//! in.

use crate::address::parse_ip;
use crate::policy::maps::Maps;
use crate::site::Site;
use crate::site::machine::domain_literal;
use crate::site::model::RelayMailFrom;
use crate::table::verdict::Verdict;

use super::Reach;

/// An address of a network for tests of network devices (RFC 2544), which no site lets in on purpose.
const OUTSIDE: &str = "198.18.77.13";
/// An IPv6 address for documentation (RFC 9637).
const OUTSIDE_V6: &str = "IPv6:3fff:0:0:0:0:0:0:4d";
/// Names that are nobody's (RFC 2606 section 2).
const STRANGER: &str = "client.stranger.invalid";
const ELSEWHERE: &str = "elsewhere.invalid";
/// How many entries of one sort are tried.
const ENOUGH: usize = 16;

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) reach: Reach,
}

/// A recipient, and the domain where its mail must not get to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) recipient: String,
    pub(super) domain: String,
}

/// Everything that is tried, the plainest first.
pub(super) struct Forms {
    clients: Vec<Client>,
    senders: Vec<String>,
    targets: Vec<Target>,
}

impl Forms {
    pub(super) fn of(site: &Site, maps: &Maps) -> Self {
        let mut forms = Forms {
            clients: Vec::new(),
            senders: vec!["someone@stranger.invalid".to_owned(), String::new()],
            targets: Vec::new(),
        };
        for address in [OUTSIDE, OUTSIDE_V6] {
            forms.add_client(STRANGER.to_owned(), address, Reach::Anybody, site);
        }
        forms.spell(ELSEWHERE, &site.host_name);
        forms.claim_local(site);
        forms.fit_classes(site);
        forms.fit_entries(site, maps);
        forms
    }

    /// Every attempt: the client changes slowest, so that the plainest of each reason comes first.
    pub(super) fn attempts(&self) -> impl Iterator<Item = (&Client, &String, &Target)> {
        self.clients.iter().flat_map(move |client| {
            self.senders.iter().flat_map(move |sender| {
                self.targets
                    .iter()
                    .map(move |target| (client, sender, target))
            })
        })
    }

    /// Recipients at `domain`, spelled so that they look like ones of `here`.
    fn spell(&mut self, domain: &str, here: &str) {
        for recipient in [
            format!("victim@{domain}"),
            format!("victim%{domain}@{here}"),
            format!("@{here}:victim@{domain}"),
            format!("\"victim@{domain}\"@{here}"),
            format!("\"victim%{domain}\"@{here}"),
            format!("victim@{domain}@{here}"),
            format!("{domain}!victim@{here}"),
            format!("victim%{domain}"),
            format!("{domain}!victim"),
            format!("\"victim@{domain}\""),
            format!("victim@{domain}."),
        ] {
            self.targets.push(Target {
                recipient,
                domain: domain.to_owned(),
            });
        }
    }

    /// Senders that a stranger claims to be: users of this site.
    fn claim_local(&mut self, site: &Site) {
        self.senders.push(format!("postmaster@{}", site.host_name));
        let others = site.classes.local_hosts.sorted().into_iter();
        let others = others
            .filter_map(|host| std::str::from_utf8(host).ok())
            .filter(|host| host.contains('.') && !host.starts_with('[') && *host != site.host_name);
        self.senders
            .extend(others.take(2).map(|host| format!("postmaster@{host}")));
    }

    fn fit_classes(&mut self, site: &Site) {
        let classes = &site.classes;
        let words = |class: &crate::site::model::Class| -> Vec<String> {
            let words = class.sorted().into_iter();
            words
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect()
        };
        let relayed = words(&classes.relay_domains);
        for word in relayed.iter().take(ENOUGH) {
            self.fit_client(word, site);
            self.fit_recipient(word, site);
        }
        // A `%` may be looked at only behind a domain that is relayed to.
        if let Some(domain) = relayed.iter().find(|word| word.contains('.')) {
            self.spell(ELSEWHERE, domain);
        }
        if site.features.relay_entire_domain {
            for word in words(&classes.local_domains).iter().take(ENOUGH) {
                self.fit_client(word, site);
                self.fit_recipient(word, site);
            }
        }
    }

    /// What the widest entries of the access map let in. A map that can't be read to its end is tried as far as it goes.
    fn fit_entries(&mut self, site: &Site, maps: &Maps) {
        let Some(access) = &maps.access else { return };
        let from = site.features.relay_mail_from;
        let mut left = [ENOUGH; 4];
        for entry in access.map().iter() {
            let Ok(entry) = entry else { return };
            if Verdict::parse(entry.rhs.as_bytes()) != Verdict::Relay {
                continue;
            }
            let lhs = String::from_utf8_lossy(entry.lhs.as_bytes()).into_owned();
            let (tag, name) = match lhs.split_once(':') {
                Some((tag @ ("connect" | "to" | "from"), name)) => (tag, name),
                Some((tag, _)) if tag != "ipv6" => continue,
                _ => ("", lhs.as_str()),
            };
            let [clients, recipients, senders, relayed] = &mut left;
            if matches!(tag, "" | "connect") && *clients > 0 && self.fit_client(name, site) {
                *clients -= 1;
            }
            if matches!(tag, "" | "to") && *recipients > 0 && self.fit_recipient(name, site) {
                *recipients -= 1;
            }
            if tag == "to" && *relayed == ENOUGH && name.contains('.') && !name.contains('@') {
                *relayed -= 1;
                self.spell(ELSEWHERE, name.trim_start_matches('.'));
            }
            if tag == "from" && *senders > 0 && from.is_some() {
                let claimed = match name.contains('@') {
                    true => Some(name.to_owned()),
                    false => {
                        (from == Some(RelayMailFrom::Domain)).then(|| format!("anybody@{name}"))
                    }
                };
                if let Some(claimed) = claimed {
                    *senders -= 1;
                    self.senders.push(claimed);
                }
            }
        }
    }

    /// A client that a very wide name or network holds; whether there is one.
    fn fit_client(&mut self, word: &str, site: &Site) -> bool {
        let lower = word.to_ascii_lowercase();
        let bare = lower.strip_prefix("ipv6:").unwrap_or(&lower);
        let (name, address, reach) = if let Some(octet) = first_octet(&lower) {
            (
                STRANGER.to_owned(),
                format!("{octet}.200.77.13"),
                Reach::Network,
            )
        } else if bare.len() < lower.len() {
            // Unique local and link-local addresses are those of somebody's own network.
            if bare.contains(':') || bare.starts_with(['f', 'F']) || bare.is_empty() {
                return false;
            }
            (
                STRANGER.to_owned(),
                format!("IPv6:{bare}:2:3:4:5:6:7:4d"),
                Reach::Network,
            )
        } else if is_top_level(&lower, site) {
            (
                format!("client.stranger.{lower}"),
                OUTSIDE.to_owned(),
                Reach::TopLevel,
            )
        } else {
            return false;
        };
        self.add_client(name, &address, reach, site)
    }

    /// A client, its address as this site spells addresses; whether it is one.
    fn add_client(&mut self, name: String, address: &str, reach: Reach, site: &Site) -> bool {
        let Some(address) = parse_ip(address.as_bytes()) else {
            return false;
        };
        let literal = domain_literal(address, site.options.addresses.compressed_ipv6);
        self.clients.push(Client {
            name,
            address: literal.trim_matches(['[', ']']).to_owned(),
            reach,
        });
        true
    }

    /// A recipient in a top-level domain that is relayed to; whether it is one.
    fn fit_recipient(&mut self, word: &str, site: &Site) -> bool {
        let lower = word.to_ascii_lowercase();
        if !is_top_level(&lower, site) {
            return false;
        }
        let domain = format!("elsewhere.{lower}");
        self.targets.push(Target {
            recipient: format!("victim@{domain}"),
            domain,
        });
        true
    }
}

/// A network of one octet, unless it is private or this host.
fn first_octet(word: &str) -> Option<u8> {
    let octet: u8 = word.parse().ok()?;
    (!matches!(octet, 10 | 127)).then_some(octet)
}

/// Whether a word is a domain of one label that is neither this host nor a name without its domain.
fn is_top_level(word: &str, site: &Site) -> bool {
    let label = !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && word.bytes().any(|b| b.is_ascii_alphabetic());
    label && word != "localhost" && !site.classes.local_hosts.contains(word.as_bytes())
}
