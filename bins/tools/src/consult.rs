//! A site as programs that explain ask it: configuration, maps, hosts and users of one moment.
//!
//! Names are looked up where `service.switch` says: in `/etc/hosts`, and with
//! `dns` by the system's resolver. Answers can also be given with a request, which
//! is how a session is explained that never happened.

use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;

use libmaps::address::parse_literal;
use libmaps::decision::Decision;
use libmaps::map::{Map, StoreError};
use libmaps::policy::facts::{Answer, Facts, Need, settle};
use libmaps::policy::maps::Maps;
use libmaps::policy::route::canonify::{Addressing, HostNames};
use libmaps::policy::route::tables::RouteTables;
use libmaps::policy::{Policy, Ruling};
use libmaps::site::load::{SiteError, load};
use libmaps::site::{Diagnostic, Hosts, ServiceSwitch, Site, Users};
use libmaps::sysexits::SysExit;

/// A site with all that its decisions rest on.
pub struct Consultant {
    /// The configuration.
    pub site: Site,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
    /// Its maps.
    pub maps: Maps,
    /// The maps that route, as tables.
    pub tables: RouteTables<Arc<dyn Map>>,
    /// Its users.
    pub users: Users,
    hosts: Hosts,
    switch: ServiceSwitch,
}

/// Why a site can't be consulted.
#[derive(Debug)]
pub enum ConsultError {
    /// The configuration can't be read.
    Site(SiteError),
    /// The configuration is wrong; the findings say where.
    Faults(Vec<Diagnostic>),
    /// A map can't be opened.
    Store(StoreError),
    /// A system file can't be read.
    Io(io::Error),
}

impl ConsultError {
    /// The exit code of a program that ends because of this error.
    #[must_use]
    pub fn exit(&self) -> SysExit {
        match self {
            ConsultError::Site(error) => error.exit(),
            ConsultError::Io(_) => SysExit::NoInput,
            ConsultError::Faults(_) => SysExit::Config,
            ConsultError::Store(error) => error.exit(),
        }
    }
}

impl std::fmt::Display for ConsultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConsultError::Site(error) => write!(f, "{error}"),
            ConsultError::Store(error) => write!(f, "{error}"),
            ConsultError::Io(error) => write!(f, "{error}"),
            ConsultError::Faults(faults) => {
                for (i, fault) in faults.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{fault}")?;
                }
                Ok(())
            }
        }
    }
}

impl Consultant {
    /// Reads the site below `root` (none: the system's), from `file` or its default place, and opens its maps.
    ///
    /// # Errors
    /// When anything can't be read, or the configuration has errors.
    pub fn open(root: Option<&Path>, file: Option<&Path>) -> Result<Self, ConsultError> {
        let loaded = load(root, file).map_err(ConsultError::Site)?;
        if loaded.has_errors() {
            return Err(ConsultError::Faults(loaded.errors().cloned().collect()));
        }
        let site = loaded.site;
        let maps = Maps::open(&site).map_err(ConsultError::Store)?;
        Ok(Consultant {
            tables: maps.route_tables(),
            maps,
            users: Users::of(&site).map_err(ConsultError::Io)?,
            hosts: Hosts::of(&site).map_err(ConsultError::Io)?,
            switch: ServiceSwitch::of(&site).map_err(ConsultError::Io)?,
            diagnostics: loaded.diagnostics,
            site,
        })
    }

    /// Runs a ruleset, looking up what it needs; `given` is asked first.
    pub fn settle<T>(
        &self,
        given: &Given,
        facts: &mut Facts,
        ruleset: impl Fn(Policy<'_>, &Facts) -> Ruling<T>,
    ) -> Decision<T> {
        let policy = Policy {
            site: &self.site,
            maps: &self.maps,
        };
        settle(
            facts,
            |need| self.resolve(given, need),
            |facts| ruleset(policy, facts),
        )
    }

    /// How addresses are read and routed here.
    #[must_use]
    pub fn addressing<'a>(
        &'a self,
        names: &'a dyn HostNames,
        daemon_flags: &'a str,
    ) -> Addressing<'a, Arc<dyn Map>> {
        Addressing {
            site: &self.site,
            tables: &self.tables,
            names,
            daemon_flags,
        }
    }

    /// Names as this site resolves them, for [`addressing`](Self::addressing).
    #[must_use]
    pub fn names<'a>(&'a self, given: &'a Given) -> Names<'a> {
        Names {
            consultant: self,
            given,
        }
    }

    /// The answer to one question.
    #[must_use]
    pub fn resolve(&self, given: &Given, need: &Need) -> Answer {
        if let Some(answer) = given.answer(need) {
            return answer;
        }
        let Ok(name) = std::str::from_utf8(need.name()) else {
            return Answer::NotFound;
        };
        match need {
            Need::Host(host) => match parse_literal(host) {
                Some(address) => found(self.hosts.name_of(address)),
                None => match self.hosts.canonical(name, &self.site.domain) {
                    Some(canonical) => found(Some(canonical)),
                    None if self.switch.asks_dns() => by_resolver(name, |_| name.to_owned()),
                    None => Answer::NotFound,
                },
            },
            Need::Addresses(_) if self.switch.asks_dns() => addresses_of(name),
            // The system's resolver knows no MX records; they count only where they are given.
            _ => Answer::NotFound,
        }
    }
}

/// Host names for the rulesets that route.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    consultant: &'a Consultant,
    given: &'a Given,
}

impl HostNames for Names<'_> {
    fn canonical(&self, host: &[u8]) -> Option<Vec<u8>> {
        match self
            .consultant
            .resolve(self.given, &Need::Host(host.into()))
        {
            Answer::Found(names) => names.first().map(|name| name.to_ascii_lowercase()),
            Answer::NotFound | Answer::Temporary => None,
        }
    }
}

/// Answers that come with a request instead of from a resolver.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `NAME TYPE`, folded, with TYPE one of `host`, `a`, `mx`; the answers, none for "not found", `TEMP` for
    /// "nobody can tell".
    answers: Vec<(String, Vec<String>)>,
}

impl Given {
    /// Adds an answer to `question`, which is `NAME TYPE`.
    ///
    /// # Errors
    /// When the type is none of `host`, `a`, `mx`.
    pub fn add(&mut self, question: &str, answers: Vec<String>) -> Result<(), String> {
        let question = question.trim().to_ascii_lowercase();
        match question.rsplit_once(' ') {
            Some((_, "host" | "a" | "mx")) => {
                self.answers.push((question, answers));
                Ok(())
            }
            _ => Err(format!("dns: {question}: expected NAME and host, a or mx")),
        }
    }

    fn answer(&self, need: &Need) -> Option<Answer> {
        let kind = match need {
            Need::Host(_) => "host",
            Need::Addresses(_) => "a",
            Need::BestMx(_) => "mx",
            _ => return None,
        };
        let name = String::from_utf8_lossy(need.name()).to_ascii_lowercase();
        let question = format!("{} {kind}", name.trim_end_matches('.'));
        let (_, answers) = self.answers.iter().find(|(asked, _)| *asked == question)?;
        Some(match answers.as_slice() {
            [] => Answer::NotFound,
            [temp] if temp == "TEMP" => Answer::Temporary,
            all => Answer::Found(all.iter().map(|text| text.as_bytes().into()).collect()),
        })
    }
}

fn found(name: Option<impl AsRef<str>>) -> Answer {
    match name {
        Some(name) => Answer::Found(vec![name.as_ref().as_bytes().into()]),
        None => Answer::NotFound,
    }
}

/// The addresses of a name, as dotted text, by the system's resolver.
pub(crate) fn addresses_of(name: &str) -> Answer {
    by_resolver(name, |address| address.ip().to_string())
}

/// Asks the system's resolver.
fn by_resolver(name: &str, text: impl Fn(std::net::SocketAddr) -> String) -> Answer {
    match (name.trim_end_matches('.'), 0u16).to_socket_addrs() {
        Ok(addresses) => {
            let mut all: Vec<Box<[u8]>> = addresses
                .map(|address| text(address).into_bytes().into())
                .collect();
            all.dedup();
            if all.is_empty() {
                Answer::NotFound
            } else {
                Answer::Found(all)
            }
        }
        // The resolver's own words are the only place where std tells the two apart.
        Err(error) if error.to_string().contains("Temporary failure") => Answer::Temporary,
        Err(_) => Answer::NotFound,
    }
}
