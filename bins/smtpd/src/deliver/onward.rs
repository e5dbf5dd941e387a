//! The copies of local users that went on to others, and to whom.

use std::collections::{HashMap, HashSet};

use crate::queue::{Envelope, Progress, QueuedTarget};

/// Most copies whose ways are followed for one; behind them its user's mailbox is the safe end.
const MAX_STEPS: usize = 1000;

/// A copy for a local user: his name, and the detail.
pub(super) type Local = (Vec<u8>, Vec<u8>);

/// Where a list sends a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To a local user.
    User(Local),
    /// To another host, a program or a file.
    Elsewhere,
}

/// Copies that went on, now or at an earlier attempt: their users get nothing themselves, and
/// nobody can count on theirs.
#[derive(Debug, Default)]
pub(super) struct Onward(HashMap<Local, Vec<To>>);

/// The copy of a target by the local mailer.
pub(super) fn copy_of(target: &QueuedTarget) -> Local {
    (target.user.0.clone(), target.host.0.clone())
}

impl Onward {
    /// As earlier attempts left them. Where a copy leads is known there only of those that it
    /// brought about, and of users who have one copy: the others lead nowhere.
    pub(super) fn of(envelope: &Envelope, local: &str) -> Self {
        let mut onward = Onward::default();
        let mut only: HashMap<&[u8], Option<Local>> = HashMap::new();
        for target in &envelope.targets {
            if target.mailer == local && target.progress == Progress::Forwarded {
                let copy = copy_of(target);
                onward.0.insert(copy.clone(), Vec::new());
                only.entry(&target.user.0)
                    .and_modify(|only| *only = None)
                    .or_insert(Some(copy));
            }
        }
        for target in &envelope.targets {
            // What it stands for arrives by the copies that it became.
            if target.mailer != local && target.progress == Progress::Forwarded {
                continue;
            }
            let by = target.controller.as_ref().map(|user| user.as_bytes());
            let by = by.and_then(|user| only.get(user)).and_then(Option::as_ref);
            if let Some(ways) = by.and_then(|copy| onward.0.get_mut(copy)) {
                ways.push(match target.mailer == local {
                    true => To::User(copy_of(target)),
                    false => To::Elsewhere,
                });
            }
        }
        onward
    }

    /// A copy goes on to these.
    pub(super) fn pass_on(&mut self, copy: Local, to: Vec<To>) {
        self.0.entry(copy).or_default().extend(to);
    }

    /// Whether a copy that goes on to these ends anywhere but where it is.
    pub(super) fn arrives(&self, copy: &Local, to: &[To]) -> bool {
        let mut seen = HashSet::from([copy]);
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
