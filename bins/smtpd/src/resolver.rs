//! Names and addresses: the hosts file and DNS, in the order of `service.switch`.

pub(crate) mod lookups;
mod provider;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use libmaps::policy::facts::{Answer, Need};
use libmaps::site::Site;
use libmaps::site::hosts::{Hosts, Service, ServiceSwitch};

use crate::session::{Peer, Resolve, bracketed};

pub use lookups::Asker;
use provider::Connected;

/// Most records of one answer that are looked at.
const MAX_RECORDS: usize = 100;
/// Longest wait for one record, from when there is a place for the lookup.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names longer than this are no domain names (RFC 1035 section 2.3.4).
const MAX_NAME_OCTETS: usize = 255;

/// Looks names up.
pub struct Resolver {
    hosts: Hosts,
    order: Vec<Service>,
    domain: String,
    dns: Option<Dns>,
    aliases: Aliases,
}

/// What becomes of a name in an address that is an alias in DNS (DontExpandCnames).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aliases {
    Followed,
    Kept,
}

/// DNS, in two ways: with a cache, and past it.
struct Dns {
    cached: hickory_resolver::Resolver<Connected>,
    /// The library answers for the reverse names of 127/8 itself; sendmail asks.
    direct: NameServerPool<Connected>,
}

impl Dns {
    async fn find(&self, name: Name, kind: RecordType) -> Result<Vec<Record>, NetError> {
        if kind != RecordType::PTR {
            let found = self.cached.lookup(name, kind).await?;
            return Ok(found.answers().to_vec());
        }
        let query = Query::query(name, kind);
        let answer = self.direct.lookup(query, DnsRequestOptions::default());
        Ok(answer.first_answer().await?.answers.clone())
    }
}

/// Why a resolver could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// A file could not be read.
    #[error("{what}: {source}")]
    File {
        /// Which one.
        what: &'static str,
        /// The system's own error.
        source: std::io::Error,
    },
    /// DNS could not be set up.
    #[error("resolver: {0}")]
    Dns(#[from] NetError),
}

impl Resolver {
    /// The resolver of a site: its hosts file, its `service.switch`, and `/etc/resolv.conf`
    /// below its root where that stands there, else the system's.
    ///
    /// # Errors
    /// When one of them can't be read or makes no sense.
    pub fn of(site: &Site) -> Result<Self, ResolverError> {
        let file = |what| move |source| ResolverError::File { what, source };
        let switch = ServiceSwitch::of(site).map_err(file("service.switch"))?;
        let hosts = match Hosts::of(site) {
            Ok(hosts) => hosts,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Hosts::default(),
            Err(e) => return Err(file("hosts")(e)),
        };
        let dns = if switch.asks_dns() {
            let text = site.read_or_system(Path::new("/etc/resolv.conf"));
            let text = match text {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    b"nameserver 127.0.0.1\n".to_vec()
                }
                Err(e) => return Err(file("resolv.conf")(e)),
            };
            Some(dns_of(site, &text)?)
        } else {
            None
        };
        Ok(Resolver {
            hosts,
            order: switch.hosts,
            domain: site.domain.clone(),
            dns,
            aliases: match site.options.delivery.dont_expand_cnames {
                true => Aliases::Kept,
                false => Aliases::Followed,
            },
        })
    }

    /// The client's name, and whether it is to be believed.
    pub async fn peer(&self, addr: IpAddr, port: u16) -> Peer {
        let asker = Asker::client(addr);
        let name = match self.name_of(&asker, addr).await {
            Ok(Some(name)) => name,
            Ok(None) => return Peer::nameless(addr, port, Resolve::Fail),
            Err(Unknown) => return Peer::nameless(addr, port, Resolve::Temp),
        };
        let resolve = match self.addresses_for(&asker, &name).await {
            Ok((all, _)) if all.contains(&addr) => Resolve::Ok,
            Ok(_) => Resolve::Forged,
            Err(Unknown) => Resolve::Temp,
        };
        if resolve == Resolve::Temp {
            return Peer::nameless(addr, port, Resolve::Temp);
        }
        Peer {
            addr,
            port,
            name,
            resolve,
        }
    }

    /// As in all searches, a service that can't tell keeps none after it from being asked.
    async fn name_of(&self, asker: &Asker, addr: IpAddr) -> Result<Option<String>, Unknown> {
        let mut nobody = Ok(None);
        for service in &self.order {
            match service {
                Service::Files => {
                    if let Some(name) = self.hosts.name_of(addr) {
                        return Ok(Some(name.to_owned()));
                    }
                }
                Service::Dns => {
                    let name = Name::from(addr);
                    let Ok(found) = self.records(asker, name, RecordType::PTR).await else {
                        nobody = Err(Unknown);
                        continue;
                    };
                    let name = found.into_iter().find_map(|data| match data {
                        RData::PTR(ptr) => Some(text_of(&ptr.0)),
                        _ => None,
                    });
                    if name.is_some() {
                        return Ok(name);
                    }
                }
                Service::Other(_) => {}
            }
        }
        nobody
    }

    /// The addresses of a name with the service that knew them, for a delivery; none if there
    /// is no such name.
    ///
    /// # Errors
    /// [`Unknown`] when nobody can tell.
    pub async fn addresses_from(&self, name: &str) -> Result<(Vec<IpAddr>, Service), Unknown> {
        self.addresses_for(&Asker::Ours, name).await
    }

    async fn addresses_for(
        &self,
        asker: &Asker,
        name: &str,
    ) -> Result<(Vec<IpAddr>, Service), Unknown> {
        let mut nobody = Ok((Vec::new(), Service::Dns));
        for service in &self.order {
            match service {
                Service::Files => {
                    let all = self.hosts.addresses(name);
                    if !all.is_empty() {
                        return Ok((all, Service::Files));
                    }
                }
                Service::Dns => {
                    let Some(name) = dns_name(name.as_bytes()) else {
                        continue;
                    };
                    let (v4, v6) = tokio::join!(
                        self.records(asker, name.clone(), RecordType::A),
                        self.records(asker, name, RecordType::AAAA)
                    );
                    match of_both_families(v4, v6) {
                        Ok(all) if all.is_empty() => {}
                        Ok(all) => return Ok((all, Service::Dns)),
                        Err(Unknown) => nobody = Err(Unknown),
                    }
                }
                Service::Other(_) => {}
            }
        }
        nobody
    }

    /// Whether DNS is asked at all.
    #[must_use]
    pub fn asks_dns(&self) -> bool {
        self.dns.is_some()
    }

    /// The mail exchangers of a domain with their preferences, for a delivery; none where it has none, or
    /// where DNS is not asked. An empty name is the null MX (RFC 7505).
    ///
    /// # Errors
    /// [`Unknown`] when nobody can tell.
    pub async fn exchangers(&self, domain: &str) -> Result<Vec<(u16, String)>, Unknown> {
        let Some(name) = dns_name(domain.as_bytes()) else {
            return Ok(Vec::new());
        };
        let records = self.records(&Asker::Ours, name, RecordType::MX).await?;
        Ok(exchangers_of(records))
    }

    /// Answers a ruleset's question.
    pub async fn answer(&self, asker: &Asker, need: &Need) -> Answer {
        let found = match need {
            Need::Host(name) => self.canonical(asker, name).await,
            Need::Addresses(name) => self.plain_addresses(asker, name).await,
            Need::BestMx(name) => self.best_mx(asker, name).await,
            _ => Err(Unknown),
        };
        match found {
            Ok(all) if all.is_empty() => Answer::NotFound,
            Ok(all) => Answer::Found(all),
            Err(Unknown) => Answer::Temporary,
        }
    }

    /// The canonical name of a host or mail domain, or the name of an address literal.
    async fn canonical(&self, asker: &Asker, name: &[u8]) -> Result<Vec<Box<[u8]>>, Unknown> {
        let text = String::from_utf8_lossy(name);
        if let Some(addr) = libmaps::address::parse_literal(name) {
            let found = self.name_of(asker, addr).await?;
            return Ok(found.into_iter().map(|n| n.into_bytes().into()).collect());
        }
        let mut nobody = Ok(Vec::new());
        for service in &self.order {
            match service {
                Service::Files => {
                    if let Some(found) = self.hosts.canonical(&text, &self.domain) {
                        return Ok(vec![found.into_bytes().into()]);
                    }
                }
                Service::Dns => {
                    let Some(name) = dns_name(name) else { continue };
                    match self.canonical_by_dns(asker, name).await {
                        Ok(Some(found)) => return Ok(vec![found.into_bytes().into()]),
                        Ok(None) => {}
                        Err(Unknown) => nobody = Err(Unknown),
                    }
                }
                Service::Other(_) => {}
            }
        }
        nobody
    }

    /// A name with an MX, A or AAAA record is canonical; a CNAME leads to another, unless DontExpandCnames says that it is
    /// as good.
    async fn canonical_by_dns(&self, asker: &Asker, name: Name) -> Result<Option<String>, Unknown> {
        let (mx, v4, v6) = tokio::join!(
            self.records(asker, name.clone(), RecordType::MX),
            self.records(asker, name.clone(), RecordType::A),
            self.records(asker, name.clone(), RecordType::AAAA)
        );
        let mut unknown = false;
        for found in [mx, v4, v6] {
            match found {
                Ok(records) if records.is_empty() => {}
                Ok(records) => {
                    return Ok(Some(canonical_of(&name, &records, self.aliases)));
                }
                Err(Unknown) => unknown = true,
            }
        }
        if unknown { Err(Unknown) } else { Ok(None) }
    }

    async fn plain_addresses(&self, asker: &Asker, name: &[u8]) -> Result<Vec<Box<[u8]>>, Unknown> {
        let Some(name) = dns_name(name) else {
            return Ok(Vec::new());
        };
        let records = self.records(asker, name, RecordType::A).await?;
        let text = |data: &RData| Some(address_of(data)?.to_string().into_bytes().into());
        Ok(records.iter().filter_map(text).collect())
    }

    async fn best_mx(&self, asker: &Asker, name: &[u8]) -> Result<Vec<Box<[u8]>>, Unknown> {
        let Some(name) = dns_name(name) else {
            return Ok(Vec::new());
        };
        let all = exchangers_of(self.records(asker, name, RecordType::MX).await?);
        let best = all.iter().map(|(preference, _)| *preference).min();
        Ok(all
            .into_iter()
            .filter(|(preference, _)| Some(*preference) == best)
            .map(|(_, host)| host.into_bytes().into())
            .collect())
    }

    /// The records; empty if there are none for certain.
    async fn records(
        &self,
        asker: &Asker,
        name: Name,
        kind: RecordType,
    ) -> Result<Vec<RData>, Unknown> {
        let Some(dns) = &self.dns else {
            return Ok(Vec::new());
        };
        let _place = asker.enter(&name).await?;
        let found = tokio::time::timeout(PATIENCE, dns.find(name, kind));
        match found.await.map_err(|_| Unknown)? {
            Ok(records) => Ok(records
                .into_iter()
                .take(MAX_RECORDS)
                .map(|record| record.data)
                .collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(
                    none.response_code,
                    ResponseCode::NoError | ResponseCode::NXDomain
                ) =>
            {
                Ok(Vec::new())
            }
            Err(_) => Err(Unknown),
        }
    }
}

/// The canonical name of one that has these records: of a chain of aliases the last.
fn canonical_of(name: &Name, records: &[RData], aliases: Aliases) -> String {
    let target = records.iter().rev().find_map(|data| match data {
        RData::CNAME(target) if aliases == Aliases::Followed => Some(text_of(&target.0)),
        _ => None,
    });
    target.unwrap_or_else(|| text_of(name))
}

/// Nobody can tell at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

fn dns_of(site: &Site, resolv_conf: &[u8]) -> Result<Dns, NetError> {
    let (text, ports) = without_ports(resolv_conf);
    let (config, mut options) = hickory_resolver::system_conf::parse_resolv_conf(text)?;
    // Names in mail are complete: no search list is tried.
    let mut servers = config.name_servers().to_vec();
    for server in &mut servers {
        if let Some((_, port)) = ports.iter().find(|(addr, _)| *addr == server.ip) {
            server.connections.iter_mut().for_each(|c| c.port = *port);
        }
    }
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let timeouts = &site.options.timeouts;
    if options.timeout > timeouts.resolver_retrans.0 && !timeouts.resolver_retrans.0.is_zero() {
        options.timeout = timeouts.resolver_retrans.0;
    }
    if site.options.given("Timeout.resolver.retry").is_some() {
        let attempts = timeouts.resolver_retry.clamp(1, 10);
        options.attempts = usize::try_from(attempts).unwrap_or(1);
    }
    options.timeout = options
        .timeout
        .clamp(Duration::from_millis(100), Duration::from_secs(30));
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    let servers = config.name_servers().to_vec();
    let context = Arc::new(PoolContext::new(options.clone(), TlsConfig::new()?));
    let direct = NameServerPool::from_config(servers, context, Connected::default());
    let mut builder = hickory_resolver::Resolver::builder_with_config(config, Connected::default());
    *builder.options_mut() = options;
    let cached = builder.build()?;
    Ok(Dns { cached, direct })
}

/// `nameserver [address]:port`, as some systems know it, with the ports taken out.
fn without_ports(resolv_conf: &[u8]) -> (String, Vec<(IpAddr, u16)>) {
    let mut ports = Vec::new();
    let mut out = String::new();
    for line in String::from_utf8_lossy(resolv_conf).lines() {
        let server = line.strip_prefix("nameserver").map(str::trim);
        let with_port = server.and_then(|s| {
            let (addr, port) = s.strip_prefix('[')?.split_once("]:")?;
            Some((addr.parse::<IpAddr>().ok()?, port.trim().parse().ok()?))
        });
        match with_port {
            Some((addr, port)) => {
                ports.push((addr, port));
                out.push_str(&format!("nameserver {addr}\n"));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    (out, ports)
}

fn dns_name(name: &[u8]) -> Option<Name> {
    if name.len() > MAX_NAME_OCTETS {
        return None;
    }
    let text = std::str::from_utf8(name).ok()?;
    let mut name = Name::from_ascii(text)
        .or_else(|_| Name::from_utf8(text))
        .ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn exchangers_of(records: Vec<RData>) -> Vec<(u16, String)> {
    let exchanger = |data| match data {
        RData::MX(mx) => Some((mx.preference, text_of(&mx.exchange))),
        _ => None,
    };
    records.into_iter().filter_map(exchanger).collect()
}

fn text_of(name: &Name) -> String {
    let text = name.to_ascii();
    text.trim_end_matches('.').to_owned()
}

/// The addresses of the A and AAAA records. What one family has counts even if nobody can
/// tell about the other; that there is none is only known from both.
fn of_both_families(
    v4: Result<Vec<RData>, Unknown>,
    v6: Result<Vec<RData>, Unknown>,
) -> Result<Vec<IpAddr>, Unknown> {
    let all: Vec<IpAddr> = [&v4, &v6]
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(address_of)
        .collect();
    if all.is_empty() {
        v4.and(v6)?;
    }
    Ok(all)
}

fn address_of(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// An address as policy writes it: `192.0.2.1`, `IPv6:2001:db8::1`.
#[must_use]
pub fn policy_text(addr: IpAddr) -> String {
    bracketed(addr).trim_matches(['[', ']']).to_owned()
}

#[cfg(test)]
mod tests;
