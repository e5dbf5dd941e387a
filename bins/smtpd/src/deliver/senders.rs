//! Envelope senders as the local mailer writes them, found once for all copies of a message.
//!
//! That may take DNS, and the name servers of a sender's domain are a stranger's: nobody waits for
//! them in a place that others need. Those of one domain have a share of the places of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libmaps::policy::rewrite::AddressRole;
use tokio::sync::OnceCell;

use super::headers::Headers;
use super::lanes::{ComeAgain, Lanes, Place};
use crate::consult::local_form;
use crate::maps::Snapshot;
use crate::queue::Octets;
use crate::resolver::Asker;
use crate::world::World;

/// Senders that are asked after at one time, of one domain, and room for those that wait.
static ASKING: Lanes = Lanes::new(100, 20, 1000);

/// Sends away what waits for a place: the server ends.
pub(super) fn send_away() {
    ASKING.send_away();
}

/// The senders of one attempt: the message's, and the owners of lists.
#[derive(Debug, Default)]
pub(super) struct Senders {
    /// And its headers.
    pub(super) headers: Headers,
    found: Mutex<HashMap<Octets, Arc<OnceCell<String>>>>,
}

impl Senders {
    /// The form of this sender.
    ///
    /// # Errors
    /// When others of his domain have been asked after for so long.
    pub(super) async fn form(
        &self,
        world: &World,
        sender: &Octets,
        patience: Duration,
    ) -> Result<String, ComeAgain> {
        if sender.0.is_empty() {
            return Ok(String::new());
        }
        let cell = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(found.entry(sender.clone()).or_default())
        };
        let ask = async || {
            let snapshot = world.snapshot();
            let _place = turn(&snapshot, sender, patience).await?;
            let role = AddressRole::EnvelopeSender;
            let address = local_form(world, &Asker::Ours, &snapshot, role, &sender.0).await;
            Ok(String::from_utf8_lossy(&address).into_owned())
        };
        cell.get_or_try_init(ask).await.cloned()
    }
}

/// A place for asking after a sender, which those of one domain share.
///
/// # Errors
/// When others of his domain have been asked after for so long.
pub(super) async fn turn(
    snapshot: &Snapshot,
    sender: &Octets,
    patience: Duration,
) -> Result<Option<Place>, ComeAgain> {
    let shown = sender.shown();
    let domain = shown.rsplit_once('@').map_or("", |(_, domain)| domain);
    // Of our own domains DNS tells nothing new.
    let here = &snapshot.site.classes.local_hosts;
    match domain.is_empty() || here.contains(domain.as_bytes()) {
        true => Ok(None),
        false => {
            let lane = crate::relay::lane_of(domain);
            Ok(Some(ASKING.enter(&lane, 1, patience).await?))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use libmaps::map::{Entry, MapClass};
    use libmaps::store::disk::System;
    use libmaps::store::publish::{Options, Publisher};

    use super::super::copy::{Kind, deliver};
    use super::*;
    use crate::deliver::outcome::{Fate, Outcome};
    use crate::queue::{Envelope, QueuedTarget};

    #[tokio::test(flavor = "multi_thread")]
    async fn name_servers_of_strangers_hold_up_no_mailbox() {
        // It never answers.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        let port = silent.local_addr().unwrap().port();
        let resolver = format!("nameserver [127.0.0.1]:{port}\noptions timeout:30 attempts:1\n");
        write("etc/resolv.conf", &resolver);
        write("etc/mail/service.switch", "hosts files dns\n");
        let world = World::of_test(root.path(), Arc::new(System));
        // Nor do those of whom the header names.
        let text = b"To: y@slow.example, z@other.example\r\n\r\nx\r\n";
        let stored = Envelope {
            id: "one".into(),
            size_octets: text.len() as u64,
            ..Envelope::default()
        };
        let mut spool = world.queue.spool("one");
        spool.push(text).unwrap();
        let body = spool.finish().unwrap();
        world.queue.add(stored.clone(), body).await.unwrap();
        let copy = |user: &str, sender: &str| {
            let envelope = Envelope {
                sender: Octets::from(sender),
                ..stored.clone()
            };
            let target = QueuedTarget {
                mailer: world.site.mailers.local.clone(),
                user: Octets::from(user),
                ..QueuedTarget::default()
            };
            let world = Arc::clone(&world);
            async move {
                let (senders, patience) = (Senders::default(), Duration::from_secs(10));
                deliver(&world, &envelope, &target, Kind::File, &senders, patience).await
            }
        };
        let slow: Vec<_> = (0..20)
            .map(|n| tokio::spawn(copy(&format!("u{n}"), &format!("x@slow{n}.example"))))
            .collect();
        let mut packet = [0; 1500];
        let listening = silent.try_clone().unwrap();
        let asked = tokio::task::spawn_blocking(move || listening.recv(&mut packet));
        asked.await.unwrap().unwrap();
        let user_unknown = |outcome: &Outcome| outcome.fate == Fate::Failed;
        for n in 0..20 {
            let outcome = copy(&format!("v{n}"), "ann@mx.test.example").await;
            assert!(outcome.as_ref().is_ok_and(user_unknown), "{outcome:?}");
        }
        assert!(slow.iter().all(|slow| !slow.is_finished()));
        slow.iter().for_each(tokio::task::JoinHandle::abort);
        drop(silent);
    }

    #[tokio::test]
    async fn a_domain_that_became_ours_takes_no_place() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        let publish = |word: &str| {
            let replica = root.path().join("etc/mail/class-w.ldap.db");
            let mut map =
                Publisher::create(&replica, Options::new(MapClass::Hash, "test")).unwrap();
            map.put(Entry::new(word, word)).unwrap();
            map.publish().unwrap();
        };
        let mc = "define(`confDOMAIN_NAME', `mx.test.example')dnl\n\
                  define(`confLDAP_DEFAULT_SPEC', `-h localhost -b dc=x')dnl\n\
                  define(`confCW_FILE', `@LDAP')dnl\nFEATURE(`use_cw_file')dnl\n\
                  define(`ALIAS_FILE', `/etc/mail/aliases')dnl\nMAILER(`local')dnl\n";
        write("etc/mail/sendmail.mc", mc);
        write("etc/mail/class-w.ldap", "host localhost\nbase dc=x\n");
        publish("old-own.example");
        let world = World::of_test(root.path(), Arc::new(System));
        publish("new-own.example");
        let mut places = Vec::new();
        let lane = crate::relay::lane_of("new-own.example");
        while let Ok(place) = ASKING.enter(&lane, 1, Duration::ZERO).await {
            places.push(place);
        }
        let sender = Octets::from("ann@new-own.example");
        let senders = Senders::default();
        let form = senders.form(&world, &sender, Duration::ZERO).await;
        assert_eq!(form.as_deref(), Ok("ann@new-own.example"));
    }

    #[tokio::test]
    async fn a_sender_is_found_once() {
        let root = tempfile::tempdir().unwrap();
        let world = World::of_test(root.path(), Arc::new(System));
        let (senders, ann) = (Senders::default(), Octets::from("ann"));
        for _ in 0..2 {
            let form = senders.form(&world, &ann, Duration::ZERO).await;
            assert_eq!(form.as_deref(), Ok("ann"));
        }
        let none = Octets::default();
        let none = senders.form(&world, &none, Duration::ZERO);
        assert_eq!(none.await.as_deref(), Ok(""));
        assert_eq!(senders.found.lock().unwrap().len(), 1);
    }
}
