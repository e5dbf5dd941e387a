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

/// What becomes of a copy whose list leads on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It goes on.
    Elsewhere,
    /// It stays with its user.
    Here,
    /// It goes on, and leads back to these, which went on before: a loop ends in the mailboxes of
    /// the users whom it meets again, whatever else their lists name.
    With(HashSet<Local>),
}

/// Copies that went on, now or at an earlier attempt: their users get nothing themselves, and
/// nobody can count on theirs.
#[derive(Debug, Default)]
pub(super) struct Onward {
    /// Where each of them leads.
    to: HashMap<Local, Vec<To>>,
    /// Which of them lead to a user.
    by: HashMap<Local, Vec<Local>>,
}

/// The copy of a target by the local mailer.
pub(super) fn copy_of(target: &QueuedTarget) -> Local {
    (target.user.0.clone(), target.host.0.clone())
}

impl Onward {
    /// As earlier attempts left them. Earlier releases did not write down where a copy led: then
    /// that is known only of those that it brought about, and of users who have one copy.
    pub(super) fn of(envelope: &Envelope, local: &str) -> Self {
        let mut onward = Onward::default();
        let mut only: HashMap<&[u8], Option<Local>> = HashMap::new();
        for target in &envelope.targets {
            if target.mailer == local && target.progress == Progress::Forwarded {
                let copy = copy_of(target);
                let to = target.onward.iter();
                let to = to.map(|(user, detail)| To::User((user.0.clone(), detail.0.clone())));
                onward.pass_on(copy.clone(), to.collect());
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
            if let Some(copy) = by {
                let to = match target.mailer == local {
                    true => To::User(copy_of(target)),
                    false => To::Elsewhere,
                };
                onward.pass_on(copy.clone(), vec![to]);
            }
        }
        onward
    }

    /// A copy goes on to these.
    pub(super) fn pass_on(&mut self, copy: Local, to: Vec<To>) {
        for to in &to {
            if let To::User(next) = to {
                self.by.entry(next.clone()).or_default().push(copy.clone());
            }
        }
        self.to.entry(copy).or_default().extend(to);
    }

    /// A copy that went on stays with its user after all.
    pub(super) fn stays(&mut self, copy: &Local) {
        self.to.remove(copy);
    }

    /// Whether a copy went on.
    pub(super) fn went_on(&self, copy: &Local) -> bool {
        self.to.contains_key(copy)
    }

    /// What becomes of a copy that goes on to these.
    pub(super) fn ending(&self, copy: &Local, to: &[To]) -> Ending {
        if to.is_empty() {
            return Ending::Elsewhere;
        }
        let before: HashSet<&Local> = to
            .iter()
            .filter_map(|to| match to {
                To::User(next) => Some(next).filter(|next| self.went_on(next)),
                To::Elsewhere => None,
            })
            .collect();
        if before.is_empty() {
            return Ending::Elsewhere;
        }
        let Some(leading) = self.leading_to(copy) else {
            return Ending::Here;
        };
        let met = before.intersection(&leading).copied().cloned();
        let met: HashSet<Local> = met.collect();
        match met.is_empty() {
            false => Ending::With(met),
            true if self.arrives(copy, to) => Ending::Elsewhere,
            true => Ending::Here,
        }
    }

    /// The copies that went on and lead to this one; `None` where they are too many to follow.
    fn leading_to<'a>(&'a self, copy: &'a Local) -> Option<HashSet<&'a Local>> {
        let mut leading = HashSet::from([copy]);
        let mut left = vec![copy];
        while let Some(next) = left.pop() {
            for by in self.by.get(next).into_iter().flatten() {
                if self.went_on(by) && leading.insert(by) {
                    left.push(by);
                }
            }
            if leading.len() > MAX_STEPS {
                return None;
            }
        }
        Some(leading)
    }

    /// Whether a copy that goes on to these ends anywhere but where it is.
    fn arrives(&self, copy: &Local, to: &[To]) -> bool {
        let mut seen = HashSet::from([copy]);
        let mut left: Vec<&To> = to.iter().collect();
        while let Some(to) = left.pop() {
            let To::User(next) = to else {
                return true;
            };
            if !seen.insert(next) {
                continue;
            }
            match self.to.get(next) {
                None => return true,
                Some(_) if seen.len() > MAX_STEPS => return false,
                Some(ways) => left.extend(ways),
            }
        }
        false
    }
}
