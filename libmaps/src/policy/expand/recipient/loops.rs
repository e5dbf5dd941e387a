//! Addresses that lead back to themselves.

use super::Run;
use crate::decision::LookupError;
use crate::map::Map;
use crate::policy::expand::{Recipient, State};

impl<M: Map, A: Map> Run<'_, '_, M, A> {
    /// An address that was typed must lead somewhere.
    pub(super) fn check_self_destruct(&mut self, new: usize) {
        let alive = |recipient: &Recipient| {
            !matches!(
                recipient.state,
                State::Alias | State::Replaced | State::Loop | State::Duplicate
            )
        };
        let leads_nowhere = matches!(
            self.out.recipients.get(new).map(|r| &r.state),
            Some(State::Alias | State::Replaced)
        );
        if leads_nowhere && !self.out.recipients.iter().any(alive) {
            let why = "aliasing/forwarding loop broken".to_owned();
            self.set(new, State::Refused(why));
        }
    }

    /// Where a loop is broken, if the recipient closes one: at the first address on the way
    /// back that is a user. A loop of names alone is not broken here.
    pub(super) fn loop_ends_at(&mut self, new: usize) -> Result<Option<usize>, LookupError> {
        let parent = |at: usize| self.out.recipients.get(at).and_then(|r| r.from);
        let Some(top) = std::iter::successors(parent(new), |at| parent(*at))
            .find(|earlier| self.same(*earlier, new))
        else {
            return Ok(None);
        };
        let mut at = Some(new);
        while let Some(here) = at {
            let triple = self.triple(here);
            let kind = self.expander.addressing.mailer(&triple.mailer);
            let flags = kind.map_or("", |kind| kind.flags);
            let ends = if flags.contains('w') {
                std::str::from_utf8(&triple.user).is_ok() && self.find_user(&triple.user)?.is_some()
            } else {
                flags.contains('l') && self.triple(top).mailer == triple.mailer
            };
            if ends {
                return Ok(Some(if self.same(top, here) { top } else { here }));
            }
            at = self.out.recipients.get(here).and_then(|r| r.from);
        }
        Ok(None)
    }

    /// Whether two come to the same.
    pub(super) fn same(&self, left: usize, right: usize) -> bool {
        match (
            self.out.recipients.get(left),
            self.out.recipients.get(right),
        ) {
            (Some(left), Some(right)) => left.triple == right.triple,
            _ => false,
        }
    }
}
