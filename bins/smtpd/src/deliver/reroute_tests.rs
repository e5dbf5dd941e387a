use std::fs;
use std::path::Path;

use libmaps::store::disk::System;

use super::super::expand::{Ready, expand};
use super::*;
use crate::queue::{KeptName, QueuedRecipient};
use crate::tables;

/// A world with these users, aliases, and lines of the configuration; tables are empty.
fn world(root: &Path, aliases: &str, mc: &str) -> Arc<World> {
    fs::create_dir_all(root.join("etc/mail")).unwrap();
    let mc = format!(
        "define(`confDOMAIN_NAME', `mx.test.example')dnl\nFEATURE(`no_default_msa')dnl\n\
         define(`ALIAS_FILE', `/etc/mail/aliases')dnl\nFEATURE(`mailertable')dnl\n\
         FEATURE(`virtusertable')dnl\nVIRTUSER_DOMAIN(`virt.example')dnl\n{mc}\
         MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
    );
    fs::write(root.join("etc/mail/sendmail.mc"), mc).unwrap();
    fs::write(root.join("etc/mail/aliases"), aliases).unwrap();
    table(root, "mailertable", "");
    table(root, "virtusertable", "");
    World::of_test(root, Arc::new(System))
}

fn table(root: &Path, name: &str, text: &str) {
    let path = root.join("etc/mail").join(name);
    fs::write(&path, text).unwrap();
    tables::build_table(&path).unwrap();
}

fn aliases(root: &Path, text: &str) {
    let path = root.join("etc/mail/aliases");
    fs::write(&path, text).unwrap();
    tables::build_aliases(&path).unwrap();
}

fn to(addresses: &[&str]) -> Envelope {
    let recipient = |address: &&str| QueuedRecipient {
        address: Octets::from(*address),
        ..QueuedRecipient::default()
    };
    Envelope {
        id: "test".into(),
        sender: Octets::from("joe@a.example"),
        recipients: addresses.iter().map(recipient).collect(),
        ..Envelope::default()
    }
}

/// Another attempt.
async fn attempt(world: &Arc<World>, envelope: &mut Envelope) -> Ready {
    envelope.tries += 1;
    expand(world, envelope).await
}

/// Mailer, host and user of the copies, and how far they are.
fn copies(envelope: &Envelope) -> Vec<String> {
    let shown = |t: &QueuedTarget| {
        let progress = match &t.progress {
            Progress::Waiting => String::new(),
            Progress::Failed { status, .. } => format!(" {status}"),
            other => format!(" {other:?}"),
        };
        let (host, user) = (t.host.shown(), t.user.shown());
        format!("{} {host} {user}{progress}", t.mailer)
    };
    envelope.targets.iter().map(shown).collect()
}

fn sorted(envelope: &Envelope) -> Vec<String> {
    let mut all = copies(envelope);
    all.sort();
    all
}

#[tokio::test]
async fn tables_that_changed_are_followed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world(root, "bob: x@old.example\n", "");
    let mut envelope = to(&["bob", "y@far.example", "info@virt.example"]);
    attempt(&world, &mut envelope).await;
    let before = [
        "esmtp old.example x@old.example",
        "esmtp far.example y@far.example",
        "esmtp virt.example info@virt.example",
    ];
    assert_eq!(copies(&envelope), before);
    let ready = attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), before);
    assert_eq!(ready.targets, Targets::AsStored);

    aliases(root, "bob: x@new.example\n");
    table(root, "mailertable", "far.example\tesmtp:[192.0.2.1]\n");
    table(root, "virtusertable", "info@virt.example\tz@new.example\n");
    let ready = attempt(&world, &mut envelope).await;
    let after = [
        "esmtp new.example x@new.example",
        "esmtp [192.0.2.1] y@far.example",
        "esmtp new.example z@new.example",
    ];
    assert_eq!(copies(&envelope), after);
    assert_eq!(ready.targets, Targets::New);
    // And back.
    aliases(root, "bob: x@old.example\n");
    table(root, "mailertable", "");
    table(root, "virtusertable", "");
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), before);
}

#[tokio::test]
async fn what_two_share_moves_with_neither() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let before = "ann1: x@old.example\nbob1: x@old.example\n\
                  all: v1, v2, w@far.example\nv1: z@old.example\nv2: z@old.example\n";
    let world = world(root, before, "");
    let mut envelope = to(&["ann1", "bob1", "all"]);
    attempt(&world, &mut envelope).await;
    let both = [
        "esmtp far.example w@far.example",
        "esmtp old.example x@old.example",
        "esmtp old.example z@old.example",
    ];
    assert_eq!(sorted(&envelope), both);
    for (old, new) in [
        ("bob1: x", "bob1: y"),
        ("ann1: x", "ann1: y"),
        ("v1: z", "v1: y"),
    ] {
        aliases(root, &before.replace(old, new));
        attempt(&world, &mut envelope).await;
        assert_eq!(sorted(&envelope), both, "{new}");
    }
    table(root, "mailertable", "old.example\tesmtp:[192.0.2.1]\n");
    attempt(&world, &mut envelope).await;
    let moved = [
        "esmtp [192.0.2.1] x@old.example",
        "esmtp [192.0.2.1] z@old.example",
        "esmtp far.example w@far.example",
    ];
    assert_eq!(sorted(&envelope), moved);
}

#[tokio::test]
async fn a_copy_becomes_others_once() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world(root, "two: ann, z@far.example\n", "");
    let mut envelope = to(&["info@virt.example"]);
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), ["esmtp virt.example info@virt.example"]);
    table(root, "virtusertable", "info@virt.example\ttwo\n");
    let want = [
        "esmtp virt.example info@virt.example Forwarded",
        "local  ann",
        "esmtp far.example z@far.example",
    ];
    for _ in 0..2 {
        attempt(&world, &mut envelope).await;
        let mut found = copies(&envelope);
        found[1..].sort_by_key(|copy| !copy.starts_with("local"));
        assert_eq!(found, want);
    }
    // A member that leads back is not taken for what was passed on.
    table(root, "virtusertable", "");
    aliases(root, "two: ann\n");
    table(root, "mailertable", "far.example\tesmtp:[192.0.2.1]\n");
    attempt(&world, &mut envelope).await;
    let found = copies(&envelope);
    assert!(
        found.contains(&"esmtp [192.0.2.1] z@far.example".into()),
        "{found:?}"
    );
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn what_was_delivered_is_not_delivered_by_another_way() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let list = "all: x@far.example, info@virt.example, w@far.example\n";
    let world = world(root, list, "");
    let mut envelope = to(&["all", "late@virt.example"]);
    attempt(&world, &mut envelope).await;
    let place = |envelope: &Envelope, user: &str| {
        let mut all = envelope.targets.iter();
        all.position(|t| t.user.shown() == user).unwrap()
    };
    let (x, w) = (
        place(&envelope, "x@far.example"),
        place(&envelope, "w@far.example"),
    );
    envelope.targets[x].progress = Progress::Done;
    envelope.targets[w].progress = Progress::Told;
    table(root, "mailertable", "far.example\tesmtp:[192.0.2.1]\n");
    let entries = "info@virt.example\tx@far.example\nlate@virt.example\tw@far.example\n";
    table(root, "virtusertable", entries);
    attempt(&world, &mut envelope).await;
    // The sender has heard that w was not reached; who writes to him in another name hears too.
    let want = [
        "esmtp [192.0.2.1] w@far.example",
        "esmtp far.example w@far.example Told",
        "esmtp far.example x@far.example Done",
        "esmtp virt.example info@virt.example Forwarded",
    ];
    assert_eq!(sorted(&envelope), want);
}

#[tokio::test]
async fn what_tables_refuse_fails_or_waits() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world(root, "none: \"\"\n", "");
    let mut envelope = to(&["x@gone.example", "y@later.example", "z@virt.example"]);
    attempt(&world, &mut envelope).await;
    let entries = "gone.example\terror:5.1.2:550 no more\nlater.example\terror:4.3.0:450 not yet\n";
    table(root, "mailertable", entries);
    table(root, "virtusertable", "z@virt.example\tnobody-here\n");
    let ready = attempt(&world, &mut envelope).await;
    let want = [
        "esmtp gone.example x@gone.example 5.1.2",
        "esmtp later.example y@later.example",
        "esmtp virt.example z@virt.example 5.1.1",
    ];
    assert_eq!(copies(&envelope), want);
    assert_eq!(ready.held, Held::from([1]));
    assert_eq!(envelope.targets[1].status, "4.3.0");
    table(root, "mailertable", "");
    let ready = attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), want, "outcomes stand");
    assert!(ready.held.is_empty());
}

#[tokio::test]
async fn an_address_that_names_a_way_keeps_its_meaning() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let before = world(root, "", "");
    let ways = [
        "u%victim.example@far.example",
        "victim.example!u@far.example",
        "\"u@victim.example\"@far.example",
    ];
    let mut envelope = to(&[ways[0], ways[1], ways[2], "ann@far.example"]);
    attempt(&before, &mut envelope).await;
    let stored = copies(&envelope);
    drop(before);
    // The domain moves here.
    let after = world(root, "", "LOCAL_DOMAIN(`far.example')dnl\n");
    attempt(&after, &mut envelope).await;
    let found = copies(&envelope);
    assert_eq!(found[..3], stored[..3]);
    assert_eq!(found[3], "local  ann");
    // Other hosts may take them as they are.
    drop(after);
    let hub = world(root, "", "define(`SMART_HOST', `hub.example')dnl\n");
    let mut envelope = to(&[ways[0]]);
    attempt(&hub, &mut envelope).await;
    assert_eq!(
        copies(&envelope),
        [format!("relay hub.example {}", ways[0])]
    );
    table(root, "mailertable", "far.example\tesmtp:[192.0.2.1]\n");
    attempt(&hub, &mut envelope).await;
    assert_eq!(
        copies(&envelope),
        [format!("esmtp [192.0.2.1] {}", ways[0])]
    );
}

#[tokio::test]
async fn the_names_that_a_recipient_was_accepted_by_stand() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), "", "");
    let mut envelope = to(&["u@nick.example"]);
    envelope.recipients[0].names = vec![KeptName {
        host: Octets::from("nick.example"),
        name: Some(Octets::from("partner.example")),
    }];
    attempt(&world, &mut envelope).await;
    let want = ["esmtp partner.example u@partner.example"];
    assert_eq!(copies(&envelope), want);
    let ready = attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), want);
    assert_eq!(ready.targets, Targets::AsStored);
    // A queue of an earlier release does not say what a copy came from.
    envelope.targets[0].routed_by = RoutedBy::Unknown;
    table(
        root.path(),
        "mailertable",
        "partner.example\tesmtp:[192.0.2.1]\n",
    );
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), ["esmtp [192.0.2.1] u@partner.example"]);
}

#[tokio::test]
async fn tables_that_lead_back_to_who_forwards_lose_nothing() {
    let forwards = |root: &Path| {
        let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
        fs::create_dir_all(root.join("home/ann")).unwrap();
        fs::write(root.join("home/ann/.forward"), "x@virt.example\n").unwrap();
        let row = |name: &str| format!("{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n");
        fs::write(root.join("etc/passwd"), row("ann") + &row("bob")).unwrap();
    };
    let waits = |envelope: &Envelope| -> Vec<String> {
        let waiting = copies(envelope).into_iter();
        waiting
            .filter(|copy| !copy.ends_with("Forwarded"))
            .collect()
    };
    // The copy that was forwarded, that which another recipient has too, and one of a list.
    for (to_whom, entry, want) in [
        (&["ann"][..], "ann", &["local  ann"][..]),
        (&["x@virt.example", "ann"], "ann", &["local  ann"]),
        (&["ann", "x@virt.example"], "ann", &["local  ann"]),
        (&["ann"], "both", &["local  ann", "local  bob"]),
    ] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("etc")).unwrap();
        forwards(root);
        let world = world(root, "both: ann, bob\n", "");
        let mut envelope = to(to_whom);
        attempt(&world, &mut envelope).await;
        assert_eq!(waits(&envelope), ["esmtp virt.example x@virt.example"]);
        table(root, "virtusertable", &format!("x@virt.example\t{entry}\n"));
        for _ in 0..2 {
            attempt(&world, &mut envelope).await;
            let mut found = waits(&envelope);
            found.sort();
            assert_eq!(found, want, "{to_whom:?} {entry}");
        }
    }
}

#[tokio::test]
async fn a_mailer_that_is_no_more_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), "", "");
    let mut envelope = to(&["u@far.example", "ann"]);
    attempt(&world, &mut envelope).await;
    envelope.targets[0].mailer = "uucp-gone".into();
    let local = envelope.targets[1].clone();
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope)[0], "esmtp far.example u@far.example");
    assert_eq!(envelope.targets[1], local);
}

#[tokio::test]
async fn a_copy_of_an_earlier_release_stays_with_its_hub() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mc = "define(`LUSER_RELAY', `relay:hub.internal')dnl\n\
              define(`SMART_HOST', `relay:smart.example')dnl\n";
    let before = world(root, "two: joe, jim\n", mc);
    let mut envelope = to(&["joe", "two", "x@far.example"]);
    attempt(&before, &mut envelope).await;
    for target in &mut envelope.targets {
        target.routed_by = RoutedBy::default();
    }
    let stored = [
        "relay hub.internal joe@hub.internal",
        "relay hub.internal jim@hub.internal",
        "relay smart.example x@far.example",
    ];
    assert_eq!(copies(&envelope), stored);
    attempt(&before, &mut envelope).await;
    assert_eq!(copies(&envelope), stored);
    drop(before);
    // Only what is certain moves: who has one copy, as the same user.
    let mc = mc
        .replace("hub.internal", "new.internal")
        .replace("smart.example", "new.example");
    let after = world(root, "two: joe, jim\n", &mc);
    attempt(&after, &mut envelope).await;
    let moved = [stored[0], stored[1], "relay new.example x@far.example"];
    assert_eq!(copies(&envelope), moved);
    table(
        root,
        "mailertable",
        "far.example\terror:5.1.2:550 no more\n",
    );
    attempt(&after, &mut envelope).await;
    assert_eq!(copies(&envelope), moved);
}

#[tokio::test]
async fn a_shared_copy_moves_only_by_a_user_that_led_to_it() {
    let smart = "define(`SMART_HOST', `relay:smart.example')dnl\n";
    let hub = format!("{smart}define(`MAIL_HUB', `relay:hub.internal')dnl\n");
    for (to_whom, mc, want) in [
        (
            &["joe", "staff"][..],
            &hub[..],
            &["bob@hub.internal", "joe@hub.internal"][..],
        ),
        (
            &["staff", "joe"],
            &hub,
            &["bob@hub.internal", "joe@hub.internal"],
        ),
        (&["twice"], &hub, &["joe@hub.internal"]),
        (
            &["a@far.example", "b@far.example"],
            smart,
            &["box@hub.internal"],
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let aliases = "staff: joe, bob\ntwice: one, two\none: joe\ntwo: joe\n";
        let world = world(root, aliases, mc);
        table(root, "mailertable", "far.example\trelay:box@hub.internal\n");
        let mut envelope = to(to_whom);
        let want: Vec<String> = want
            .iter()
            .map(|user| format!("relay hub.internal {user}"))
            .collect();
        for _ in 0..2 {
            attempt(&world, &mut envelope).await;
            assert_eq!(sorted(&envelope), want, "{to_whom:?}");
        }
    }
}

#[tokio::test]
async fn who_comes_to_a_copy_that_failed_has_one_of_his_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world(root, "late: x@far.example\n", "");
    table(root, "virtusertable", "old@virt.example\tx@far.example\n");
    let mut envelope = to(&["old@virt.example"]);
    attempt(&world, &mut envelope).await;
    table(
        root,
        "virtusertable",
        "old@virt.example\terror:5.1.1:550 gone\n",
    );
    // As one whose table could not be read before.
    envelope.recipients.extend(to(&["late"]).recipients);
    for _ in 0..2 {
        attempt(&world, &mut envelope).await;
        let want = [
            "esmtp far.example x@far.example 5.1.1",
            "esmtp far.example x@far.example",
        ];
        assert_eq!(copies(&envelope), want);
    }
}

#[tokio::test]
async fn a_member_that_failed_is_not_tried_for_the_same_list_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world(root, "all: x@far.example, y@later.example\n", "");
    table(
        root,
        "mailertable",
        "later.example\terror:4.3.0:450 not yet\n",
    );
    let mut envelope = to(&["all"]);
    attempt(&world, &mut envelope).await;
    assert_eq!(envelope.recipients[0].expanded, crate::queue::Expanded::No);
    envelope.targets[0].progress = Progress::Told;
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope), ["esmtp far.example x@far.example Told"]);
}

#[tokio::test]
async fn with_soft_bounce_what_tables_refuse_waits() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mc = "define(`confSOFT_BOUNCE', `True')dnl\n";
    let world = world(root, "some: ann, w@gone.example\n", mc);
    let mut envelope = to(&["x@gone.example", "two@virt.example"]);
    attempt(&world, &mut envelope).await;
    table(
        root,
        "mailertable",
        "gone.example\terror:5.1.2:550 no more\n",
    );
    table(root, "virtusertable", "two@virt.example\tsome\n");
    let late = to(&["y@gone.example", "some"]);
    envelope.recipients.extend(late.recipients);
    for _ in 0..2 {
        let ready = attempt(&world, &mut envelope).await;
        let want = [
            "esmtp gone.example x@gone.example",
            "esmtp virt.example two@virt.example",
            "local  ann",
        ];
        assert_eq!(copies(&envelope), want);
        assert_eq!(ready.held, Held::from([0, 1]));
        assert_eq!(envelope.targets[0].status, "4.1.2");
        for open in &envelope.recipients[2..] {
            assert_eq!(open.expanded, crate::queue::Expanded::No);
        }
    }
    table(root, "mailertable", "");
    attempt(&world, &mut envelope).await;
    assert_eq!(copies(&envelope)[0], "esmtp gone.example x@gone.example");
    assert!(
        envelope
            .recipients
            .iter()
            .all(|r| r.expanded == crate::queue::Expanded::Yes)
    );
}

#[tokio::test]
async fn a_copy_that_moves_forgets_what_the_old_host_said() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let world = world(root, "", "");
    let mut envelope = to(&["x@far.example"]);
    attempt(&world, &mut envelope).await;
    envelope.targets[0].status = "4.4.1".into();
    envelope.targets[0].last = "Connection timed out with far.example.".into();
    table(root, "mailertable", "far.example\tesmtp:[192.0.2.1]\n");
    attempt(&world, &mut envelope).await;
    let copy = &envelope.targets[0];
    assert_eq!(copies(&envelope), ["esmtp [192.0.2.1] x@far.example"]);
    assert_eq!((copy.status.as_str(), copy.last.as_str()), ("", ""));
    assert!(copy.remote.is_none());
}

#[test]
fn every_copy_is_the_first_one_in_its_turn() {
    for count in [1, 2, 3, 10, 100, 1000] {
        let firsts = (1..=3 * count).map(|tries| in_turn((0..count).collect(), tries)[0]);
        let firsts: HashSet<u32> = firsts.collect();
        assert_eq!(u32::try_from(firsts.len()), Ok(count));
    }
    assert!(in_turn(Vec::<u32>::new(), 7).is_empty());
    let mut all = in_turn(vec![1, 2, 3], u32::MAX);
    all.sort();
    assert_eq!(all, [1, 2, 3]);
}

#[path = "reroute_silent_tests.rs"]
mod silent;
