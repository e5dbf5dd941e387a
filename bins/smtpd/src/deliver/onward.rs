//! The users of a message whose copies went on to others, and to whom.

use std::collections::{HashMap, HashSet};

use crate::queue::{Envelope, Progress};

/// Most users whose ways are followed for one; behind them his mailbox is the safe end.
const MAX_STEPS: usize = 1000;

/// Where a list sends a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To a local user.
    User(Vec<u8>),
    /// To another host, a program or a file.
    Elsewhere,
}

/// Users whose copies went on, now or at an earlier attempt: they get nothing themselves, and
/// nobody can count on theirs.
#[derive(Debug, Default)]
pub(super) struct Onward(HashMap<Vec<u8>, Vec<To>>);

impl Onward {
    /// As earlier attempts left them. Of a copy that was there already it is not known who sent
    /// another there.
    pub(super) fn of(envelope: &Envelope, local: &str) -> Self {
        let gone = |progress: &Progress| *progress == Progress::Forwarded;
        let (mut here, elsewhere): (Vec<_>, Vec<_>) =
            envelope.targets.iter().partition(|t| t.mailer == local);
        let passed_on = here.iter().filter(|t| gone(&t.progress));
        let mut onward = Onward(passed_on.map(|t| (t.user.0.clone(), Vec::new())).collect());
        if onward.0.is_empty() {
            return onward;
        }
        // What other copies stand for arrives by these.
        here.extend(elsewhere.into_iter().filter(|t| !gone(&t.progress)));
        for target in here {
            let by = target.controller.as_ref().map(|user| user.as_bytes());
            if let Some(ways) = by.and_then(|user| onward.0.get_mut(user)) {
                ways.push(match target.mailer == local {
                    true => To::User(target.user.0.clone()),
                    false => To::Elsewhere,
                });
            }
        }
        onward
    }

    /// A copy of this user goes on to these.
    pub(super) fn pass_on(&mut self, user: &[u8], to: Vec<To>) {
        self.0.entry(user.to_vec()).or_default().extend(to);
    }

    /// Whether a copy that this user sends on to these ends anywhere but at himself.
    pub(super) fn arrives(&self, user: &[u8], to: &[To]) -> bool {
        let mut seen = HashSet::from([user]);
        let mut left: Vec<&To> = to.iter().collect();
        while let Some(to) = left.pop() {
            let To::User(next) = to else {
                return true;
            };
            if !seen.insert(next) {
                continue;
            }
            match self.0.get(next) {
                None => return true,
                Some(_) if seen.len() > MAX_STEPS => return false,
                Some(ways) => left.extend(ways),
            }
        }
        false
    }
}
