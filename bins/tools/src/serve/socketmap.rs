//! The socketmap service.

use libmaps::store::socketmap::{MAX_NAME_OCTETS, Reply, Request, netstring};

use super::protocol::{Conversation, Service, Turn};
use super::site_maps::SiteMaps;

/// Longest key: Postfix's own limit for what a socketmap carries.
const MAX_KEY_OCTETS: usize = 100_000;

impl Service for SiteMaps {
    fn name(&self) -> &'static str {
        "socketmap"
    }

    fn begin(&self) -> Box<dyn Conversation + '_> {
        Box::new(self)
    }

    fn too_many(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Reply::Temp("too many clients".into()).append(&mut out);
        out
    }
}

impl Conversation for &SiteMaps {
    fn turn(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Turn {
        match netstring::split(octets, MAX_NAME_OCTETS + 1 + MAX_KEY_OCTETS) {
            Ok(None) => Turn::More,
            Ok(Some((carried, used))) => {
                let reply = match Request::parse(carried) {
                    Some(request) => self.answer(&request),
                    None => Reply::Perm("expected the name of a map, a blank and a key".into()),
                };
                reply.append(out);
                Turn::Answered { used }
            }
            Err(fault) => {
                self.report(&format!("socketmap: a client is sent away: {fault}"));
                Reply::Perm(format!("no netstring: {fault}")).append(out);
                Turn::Closed
            }
        }
    }
}
