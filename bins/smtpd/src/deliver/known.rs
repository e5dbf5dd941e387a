//! The copies of a message, to tell which are there already.

use std::collections::{HashMap, HashSet};

use libmaps::address::in_brackets;

use super::compat::written;
use super::onward::{Local, copy_of};
use crate::queue::{Envelope, Octets, Progress, QueuedTarget, RoutedBy};
use crate::world::World;

/// What makes two copies the same: the triple, and for programs and files the user with
/// whose rights they run.
type Key = (String, Octets, Octets, Option<String>);

/// What the name of a user means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Him, wherever his file leads.
    User,
    /// `\name`: his mailbox.
    Mailbox,
}

/// Copies that no second one is made of.
pub(super) struct Known {
    /// Their places in the envelope.
    places: HashMap<Key, usize>,
    /// Addresses of those that were delivered: by the tables of today they may lead elsewhere.
    delivered: HashSet<Octets>,
    /// Copies to which their own users lead. That of a hub does not: `joe` becomes `joe@hub`, who
    /// may go to a smart host.
    led_to: HashSet<Key>,
    /// Copies that failed, with the recipients for whom they did: what others come to is theirs
    /// to be tried, and to be told of.
    failed: HashSet<(Key, usize)>,
    /// Copies that are for a mailbox because `\name` was written.
    mailboxes: HashSet<Local>,
    /// Copies of users who were named, and their mailboxes too.
    both: HashSet<Local>,
}

impl Known {
    /// All copies of a message.
    pub(super) fn of(world: &World, envelope: &Envelope) -> Self {
        // A user who forwards his mail has no second copy. Another host may get one that it was
        // to get before its copy became others.
        let is_gone = |target: &QueuedTarget| {
            target.progress == Progress::Forwarded && is_away(world, &target.mailer)
        };
        let has_failed =
            |t: &QueuedTarget| matches!(t.progress, Progress::Failed { .. } | Progress::Told);
        let mut known = Known::where_(envelope, |_, t| !is_gone(t) && !has_failed(t));
        let failed = envelope.targets.iter().filter(|t| has_failed(t));
        known.failed = failed.map(|t| (key(t), t.recipient)).collect();
        known
    }

    /// Those that were delivered or still will be, but for these: what others stand for is no
    /// reason to do without a copy, since they may be about to lead back to it.
    pub(super) fn alive_but(envelope: &Envelope, but: &HashSet<usize>) -> Self {
        Known::where_(envelope, |at, target| {
            let is_alive = matches!(
                target.progress,
                Progress::Waiting | Progress::Done | Progress::Sent
            );
            is_alive && !but.contains(&at)
        })
    }

    fn where_(envelope: &Envelope, wanted: impl Fn(usize, &QueuedTarget) -> bool) -> Self {
        let mut known = Known {
            places: HashMap::new(),
            delivered: HashSet::new(),
            led_to: HashSet::new(),
            failed: HashSet::new(),
            mailboxes: HashSet::new(),
            both: HashSet::new(),
        };
        for (at, target) in envelope.targets.iter().enumerate() {
            if !wanted(at, target) {
                continue;
            }
            known.places.insert(key(target), at);
            if is_led_to(envelope, target) {
                known.led_to.insert(key(target));
            }
            if matches!(target.progress, Progress::Done | Progress::Sent) {
                known.delivered.extend(addresses(envelope, target));
            }
        }
        known
    }

    /// A copy is known to be where its user leads by himself.
    pub(super) fn note_led_to(&mut self, target: &QueuedTarget) {
        self.led_to.insert(key(target));
    }

    /// Adds a copy to the envelope if it is new.
    pub(super) fn add(&mut self, envelope: &mut Envelope, target: QueuedTarget) {
        if self.take(envelope, &target, envelope.targets.len()) {
            envelope.targets.push(target);
        }
    }

    /// As [`add`](Self::add) for a copy by the local mailer: a user who is named and whose mailbox
    /// is has one copy, which goes both ways.
    pub(super) fn add_local(
        &mut self,
        envelope: &mut Envelope,
        target: QueuedTarget,
        means: Means,
    ) {
        let (copy, there) = (copy_of(&target), self.places.get(&key(&target)).copied());
        match (there, means) {
            (None, Means::User) => {}
            (None, Means::Mailbox) => {
                self.mailboxes.insert(copy);
            }
            (Some(_), Means::Mailbox) if self.mailboxes.contains(&copy) => {}
            (Some(_), Means::Mailbox) => {
                self.both.insert(copy);
            }
            (Some(there), Means::User) => {
                if self.mailboxes.remove(&copy)
                    && let Some(there) = envelope.targets.get_mut(there)
                {
                    // His file counts after all.
                    there.controller.clone_from(&target.controller);
                    self.both.insert(copy);
                }
            }
        }
        self.add(envelope, target);
    }

    /// Whether a copy is for its user's mailbox, whatever his file says besides.
    pub(super) fn is_for_both(&self, copy: &Local) -> bool {
        self.both.contains(copy)
    }

    /// Whether a copy that will stand at this place is new; it is known from then on.
    pub(super) fn take(
        &mut self,
        envelope: &mut Envelope,
        target: &QueuedTarget,
        at: usize,
    ) -> bool {
        let key = key(target);
        if let Some(there) = self.places.get(&key) {
            let written = envelope.targets.get(*there).map(|t| written(envelope, t));
            if let Some(there) = envelope.targets.get_mut(*there)
                && (there.recipient, &there.routed_by) != (target.recipient, &target.routed_by)
            {
                // The first of them is whom it is for.
                there.written = written;
                there.routed_by = match self.led_to.contains(&key) {
                    true => RoutedBy::User,
                    false => RoutedBy::Shared,
                };
            }
            return false;
        }
        // A list that is expanded once more does not try it again.
        if self.failed.contains(&(key.clone(), target.recipient)) {
            return false;
        }
        let is_delivered = |address: &Octets| self.delivered.contains(address);
        if !runs_as(&target.mailer) && addresses(envelope, target).iter().any(is_delivered) {
            return false;
        }
        self.places.insert(key, at);
        true
    }
}

/// Whether a mailer runs with the rights of whoever named the program or file.
pub(super) fn runs_as(mailer: &str) -> bool {
    matches!(mailer, "prog" | "*file*")
}

/// Whether a mailer takes mail away from this host, or is one that nobody knows.
pub(super) fn is_away(world: &World, mailer: &str) -> bool {
    let here = ["prog", "*file*", "discard", "error"];
    !here.contains(&mailer) && mailer != world.site.mailers.local
}

/// Whether an address led to a copy that is its user.
fn is_led_to(envelope: &Envelope, target: &QueuedTarget) -> bool {
    match &target.routed_by {
        RoutedBy::Unknown | RoutedBy::Shared => false,
        RoutedBy::User => true,
        RoutedBy::Recipient => {
            let recipient = envelope.recipients.get(target.recipient);
            recipient.is_some_and(|r| r.address == target.user)
        }
        RoutedBy::Address(address) => is_user(&address.0, &target.user),
    }
}

/// Whether an address, as it was written, is no other than this user.
pub(super) fn is_user(address: &[u8], user: &Octets) -> bool {
    address == user.0 || address == in_brackets(&user.0)
}

fn key(target: &QueuedTarget) -> Key {
    let controller = target.controller.clone();
    (
        target.mailer.clone(),
        target.host.clone(),
        target.user.clone(),
        controller.filter(|_| runs_as(&target.mailer)),
    )
}

/// The addresses that a copy is known by: what it was written as, and its user where that is
/// an address too.
fn addresses(envelope: &Envelope, target: &QueuedTarget) -> Vec<Octets> {
    let mut all = Vec::new();
    let is_user = matches!(
        target.routed_by,
        RoutedBy::Unknown | RoutedBy::Shared | RoutedBy::User
    );
    if is_user || target.user.0.contains(&b'@') {
        all.push(target.user.clone());
    }
    match &target.routed_by {
        RoutedBy::Unknown | RoutedBy::Shared | RoutedBy::User => {}
        RoutedBy::Recipient => {
            let recipient = envelope.recipients.get(target.recipient);
            all.extend(recipient.map(|r| r.address.clone()));
        }
        RoutedBy::Address(address) => all.push(address.clone()),
    }
    all
}
