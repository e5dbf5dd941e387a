//! The site's decisions as a Postfix policy service (SMTPD_POLICY_README of Postfix).
//!
//! A request is lines `name=value` and an empty line; the answer is `action=...` and an
//! empty line. What sendmail's rulesets would refuse is refused with their reply, what they
//! would discard or quarantine is discarded or put on hold. What they let pass is `DUNNO`:
//! Postfix's own restrictions that follow still count. Only with `policy_context=permit` in
//! Postfix's configuration it is `OK`, for addresses that can be read in one way only.

mod decide;
mod internal_form;
mod request;

pub use decide::{Judged, Judgement, MOMENTS, PolicyService, Verbosity};
pub use request::PolicyRequest;
use request::Reading;

use super::protocol::{Conversation, Service, Turn};

/// The action for a client for whom there is no place.
const TOO_BUSY: &str = "451 4.3.2 The policy service is too busy";
/// The action where the request can't be understood: not an answer that lets mail in.
const CONFUSED: &str = "451 4.3.5 The policy service did not understand the request";

impl Service for PolicyService {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn begin(&self) -> Box<dyn Conversation + '_> {
        Box::new(Talk {
            service: self,
            reading: Reading::default(),
        })
    }

    fn too_many(&self) -> Vec<u8> {
        let mut out = Vec::new();
        say(&mut out, TOO_BUSY);
        out
    }
}

/// A client, and how far its next request was read.
struct Talk<'a> {
    service: &'a PolicyService,
    reading: Reading,
}

impl Conversation for Talk<'_> {
    fn turn(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Turn {
        match self.reading.go_on(octets) {
            Ok(None) => Turn::More,
            Ok(Some((request, used))) => {
                say(out, &self.service.action(&request));
                Turn::Answered { used }
            }
            Err(fault) => {
                self.service
                    .report(&format!("policy: a client is sent away: {fault}"));
                say(out, CONFUSED);
                Turn::Closed
            }
        }
    }
}

/// Appends an answer.
fn say(out: &mut Vec<u8>, action: &str) {
    let line = action.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = line.collect();
    out.extend_from_slice(format!("action={line}\n\n").as_bytes());
}
