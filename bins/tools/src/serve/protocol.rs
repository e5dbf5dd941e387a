//! The two protocols as one question: what is to be said to these octets? No I/O but lookups.

use libmaps::store::socketmap::{MAX_NAME_OCTETS, Reply, Request, netstring};

use super::log;
use super::policy::{self, PolicyService};
use super::site_maps::SiteMaps;

/// Longest key: Postfix's own limit for what a socketmap carries.
const MAX_KEY_OCTETS: usize = 100_000;

/// What is offered at an address.
pub enum Service {
    /// Lookups in the site's maps.
    Socketmap(SiteMaps),
    /// Decisions, for Postfix's check_policy_service.
    Policy(Box<PolicyService>),
}

/// What came of the octets of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// They are no whole request yet.
    More,
    /// A request was answered; it had so many of them.
    Answered {
        /// Octets of the request.
        used: usize,
    },
    /// They are no request; what was said is the last word.
    Closed,
}

impl Service {
    /// What the log calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Service::Socketmap(_) => "socketmap",
            Service::Policy(_) => "policy",
        }
    }

    /// Answers the first request in `octets`, appending to `out`.
    pub fn turn(&self, octets: &[u8], out: &mut Vec<u8>) -> Turn {
        match self {
            Service::Socketmap(maps) => socketmap(maps, octets, out),
            Service::Policy(service) => policy::turn(service, octets, out),
        }
    }

    /// What a client hears for whom there is no place.
    #[must_use]
    pub fn too_many(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Service::Socketmap(_) => Reply::Temp("too many clients".into()).append(&mut out),
            Service::Policy(_) => policy::say(&mut out, policy::TOO_BUSY),
        }
        out
    }
}

fn socketmap(maps: &SiteMaps, octets: &[u8], out: &mut Vec<u8>) -> Turn {
    match netstring::split(octets, MAX_NAME_OCTETS + 1 + MAX_KEY_OCTETS) {
        Ok(None) => Turn::More,
        Ok(Some((carried, used))) => {
            let reply = match Request::parse(carried) {
                Some(request) => maps.answer(&request),
                None => Reply::Perm("expected the name of a map, a blank and a key".into()),
            };
            reply.append(out);
            Turn::Answered { used }
        }
        Err(fault) => {
            log(&format!("socketmap: a client is sent away: {fault}"));
            Reply::Perm(format!("no netstring: {fault}")).append(out);
            Turn::Closed
        }
    }
}
