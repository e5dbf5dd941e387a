use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use libmaps::store::disk::System;

use super::super::expand::expand;
use super::*;
use crate::queue::{Expanded, Octets, QueuedRecipient, QueuedTarget};

/// A world of these users, with what stands in their `.forward` files.
fn world(root: &Path, users: &[(&str, &str)], aliases: &str) -> Arc<World> {
    let uid = fs::metadata("/proc/self").unwrap().uid();
    fs::create_dir_all(root.join("etc/mail")).unwrap();
    let mut passwd = String::new();
    for (name, forward) in users {
        passwd.push_str(&format!("{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n"));
        if !forward.is_empty() {
            let home = root.join("home").join(name);
            fs::create_dir_all(&home).unwrap();
            fs::write(home.join(".forward"), forward).unwrap();
            // Whatever umask(2) whoever tests has.
            for (path, mode) in [("", 0o755), ("..", 0o755), (".forward", 0o644)] {
                let mode = PermissionsExt::from_mode(mode);
                fs::set_permissions(home.join(path), mode).unwrap();
            }
        }
    }
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/mail/aliases"), aliases).unwrap();
    World::of_test(root, Arc::new(System))
}

fn to(address: &str) -> Envelope {
    Envelope {
        id: "test".into(),
        tries: 1,
        recipients: vec![QueuedRecipient {
            address: Octets::from(address),
            ..QueuedRecipient::default()
        }],
        ..Envelope::default()
    }
}

fn copy_to(world: &World, user: &str, progress: Progress) -> QueuedTarget {
    QueuedTarget {
        mailer: world.site.mailers.local.clone(),
        user: Octets::from(user),
        progress,
        ..QueuedTarget::default()
    }
}

fn progress<'a>(envelope: &'a Envelope, user: &str) -> Vec<&'a Progress> {
    let all = envelope.targets.iter().filter(|t| t.user.shown() == user);
    all.map(|t| &t.progress).collect()
}

#[tokio::test]
async fn a_loop_that_was_begun_at_an_earlier_attempt_ends_in_a_mailbox() {
    let root = tempfile::tempdir().unwrap();
    let users = [("ann", "bob\n"), ("bob", "ann\n")];
    let world = world(root.path(), &users, "");
    // In one attempt.
    let mut envelope = to("ann");
    expand(&world, &mut envelope).await;
    assert_eq!(progress(&envelope, "ann"), [&Progress::Waiting]);
    assert_eq!(progress(&envelope, "bob"), [&Progress::Forwarded]);
    // Bob's home did not answer then, or the server ended: he is asked now. An earlier release did
    // not write down where ann's copy went.
    let mut envelope = to("ann");
    envelope.recipients[0].expanded = Expanded::Yes;
    envelope.targets = vec![
        copy_to(&world, "ann", Progress::Forwarded),
        copy_to(&world, "bob", Progress::Waiting),
    ];
    let ready = expand(&world, &mut envelope).await;
    assert!(ready.held.is_empty());
    assert_eq!(progress(&envelope, "bob"), [&Progress::Waiting]);
    assert!(envelope.is_waiting());
}

/// Who has a copy in his mailbox of a message to these users.
async fn mailboxes(users: &[(&str, &str)], to: &[&str]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), users, "");
    let mut envelope = Envelope {
        recipients: to.iter().flat_map(|to| self::to(to).recipients).collect(),
        ..self::to("")
    };
    expand(&world, &mut envelope).await;
    let waiting = envelope.targets.iter();
    let waiting = waiting.filter(|t| t.progress == Progress::Waiting);
    let mut users: Vec<_> = waiting.map(|t| t.user.shown()).collect();
    users.sort();
    users
}

#[tokio::test]
async fn who_forwards_everything_has_nothing_in_whatever_order_he_is_named() {
    let users = [("ann", "carl\n"), ("bob", "ann\n"), ("carl", "")];
    for to in [
        &["ann", "bob"][..],
        &["bob", "ann"],
        &["carl", "ann", "bob"],
        &["ann", "bob", "carl"],
    ] {
        assert_eq!(mailboxes(&users, to).await, ["carl"], "{to:?}");
    }
    let away = [("ann", "carl@far.example\n"), ("bob", "ann\n")];
    assert_eq!(
        mailboxes(&away, &["ann", "bob"]).await,
        ["carl@far.example"]
    );
}

#[tokio::test]
async fn a_loop_of_several_ends_in_one_mailbox() {
    let users = [("ann", "bob\n"), ("bob", "carl\n"), ("carl", "ann\n")];
    // Of the user whom it was for: with him it meets itself.
    for user in ["ann", "bob", "carl"] {
        assert_eq!(mailboxes(&users, &[user]).await, [user]);
    }
    assert_eq!(mailboxes(&users, &["carl", "bob", "ann"]).await, ["bob"]);
    // Who leads into it has no part in it.
    let users = [("ann", "bob\n"), ("bob", "ann\n"), ("carl", "ann\n")];
    assert_eq!(mailboxes(&users, &["ann", "carl"]).await, ["ann"]);
    assert_eq!(mailboxes(&users, &["carl"]).await, ["ann"]);
}

#[tokio::test]
async fn a_loop_ends_in_a_mailbox_whatever_else_its_lists_name() {
    let none = ("dora", "");
    for (ann, bob, to, want) in [
        ("bob\n", "ann, carl\n", "ann", &["ann", "carl"][..]),
        ("bob\n", "ann, carl\n", "bob", &["bob", "carl"]),
        (
            "bob\n",
            "ann, joe@far.example\n",
            "ann",
            &["ann", "joe@far.example"],
        ),
        (
            "bob, carl\n",
            "ann, dora\n",
            "ann",
            &["ann", "carl", "dora"],
        ),
        ("bob\n", "ann, /dev/null\n", "ann", &["/dev/null", "ann"]),
        (
            "bob, carl\n",
            "\"|cat\", ann\n",
            "ann",
            &["ann", "carl", "|cat"],
        ),
        // A name of nobody is told of, and is no way.
        ("bob\n", "ann, nobody-here\n", "ann", &["ann"]),
        // Her mailbox is meant, whatever her list says.
        ("bob\n", "\\ann, carl\n", "ann", &["ann", "carl"]),
        ("bob\n", "\\ann, carl\n", "bob", &["ann", "carl"]),
    ] {
        let users = [("ann", ann), ("bob", bob), ("carl", ""), none];
        assert_eq!(mailboxes(&users, &[to]).await, want, "{ann} {bob}");
    }
    // A ring of three, with and without a way out of each.
    for out in ["", ", joe@far.example"] {
        let [ann, bob, carl] = ["bob", "carl", "ann"].map(|next| format!("{next}{out}\n"));
        let users = [("ann", &*ann), ("bob", &*bob), ("carl", &*carl)];
        for to in [
            &["ann"][..],
            &["bob"],
            &["carl", "ann"],
            &["bob", "carl", "ann"],
        ] {
            let all = mailboxes(&users, to).await;
            let kept = all.iter().filter(|user| !user.contains('@'));
            assert_eq!(kept.count(), 1, "{to:?} {all:?}");
        }
    }
    // Two loops that share a user.
    let users = [("ann", "bob\n"), ("bob", "ann, carl\n"), ("carl", "bob\n")];
    assert_eq!(mailboxes(&users, &["ann"]).await, ["ann", "bob"]);
}

#[tokio::test]
async fn a_loop_through_aliases_and_lists_ends_in_a_mailbox() {
    let root = tempfile::tempdir().unwrap();
    let users = [
        ("ann", "team\n"),
        ("bob", "back, carl\n"),
        ("carl", "\\carl\n"),
        ("dora", "bob\n"),
    ];
    let aliases = "team: bob, joe@far.example\nback: hers\nhers: :include:/list\nthru: dora\n";
    let world = world(root.path(), &users, aliases);
    fs::write(root.path().join("list"), "ann\ndora\n").unwrap();
    for (to, want) in [
        // Bob's list leads to dora too, and hers back to him.
        ("ann", &["ann", "bob", "carl"][..]),
        ("team", &["bob", "carl"]),
        ("thru", &["bob", "carl", "dora"]),
    ] {
        let mut envelope = self::to(to);
        expand(&world, &mut envelope).await;
        let waiting = envelope.targets.iter();
        let waiting = waiting.filter(|t| t.progress == Progress::Waiting);
        let mut found: Vec<_> = waiting.map(|t| t.user.shown()).collect();
        found.sort();
        found.retain(|user| !user.contains('@'));
        assert_eq!(found, want, "{to}");
    }
}

#[tokio::test]
async fn a_loop_with_other_members_that_was_begun_at_an_earlier_attempt() {
    let root = tempfile::tempdir().unwrap();
    let users = [
        ("ann", "carl\n"),
        ("bob", "joe@far.example\n"),
        ("carl", "ann, bob\n"),
    ];
    let world = world(root.path(), &users, "");
    // Carl was named before ann was asked: his copy is not one of hers.
    let mut envelope = to("ann");
    envelope.recipients.extend(to("carl").recipients);
    for recipient in &mut envelope.recipients {
        recipient.expanded = Expanded::Yes;
    }
    envelope.targets = vec![
        copy_to(&world, "ann", Progress::Waiting),
        copy_to(&world, "carl", Progress::Waiting),
    ];
    let home = root.path().join("home/carl/.forward");
    fs::remove_file(&home).unwrap();
    expand(&world, &mut envelope).await;
    assert_eq!(progress(&envelope, "ann"), [&Progress::Forwarded]);
    // The queue is read again.
    let json = serde_json::to_vec(&envelope).unwrap();
    let mut envelope: Envelope = serde_json::from_slice(&json).unwrap();
    fs::write(&home, "ann, bob\n").unwrap();
    fs::set_permissions(&home, PermissionsExt::from_mode(0o644)).unwrap();
    expand(&world, &mut envelope).await;
    assert_eq!(progress(&envelope, "ann"), [&Progress::Waiting]);
    assert_eq!(progress(&envelope, "carl"), [&Progress::Forwarded]);
    assert_eq!(progress(&envelope, "joe@far.example"), [&Progress::Waiting]);
    // Nothing changes at the next.
    let before = envelope.clone();
    expand(&world, &mut envelope).await;
    assert_eq!(envelope, before);
}

#[tokio::test]
async fn each_detail_of_a_user_has_ways_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    let mc = "define(`confFORWARD_PATH', `$z/.forward+$h:$z/.forward')dnl\n\
              define(`ALIAS_FILE', `/etc/mail/aliases')dnl\nMAILER(`local')dnl\n";
    fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let users = [("ann", "bob+ann\n"), ("bob", "carl\n"), ("carl", "")];
    let world = world(root.path(), &users, "");
    fs::write(root.path().join("home/bob/.forward+ann"), "ann\n").unwrap();
    let mut envelope = to("bob");
    envelope.recipients.extend(to("ann").recipients);
    expand(&world, &mut envelope).await;
    // What goes to ann comes back to her, whatever bob does with the rest.
    let waiting = [&Progress::Waiting];
    assert_eq!(progress(&envelope, "carl"), waiting);
    let kept: Vec<_> = ["ann", "bob"]
        .iter()
        .flat_map(|user| progress(&envelope, user))
        .filter(|progress| **progress == Progress::Waiting)
        .collect();
    assert_eq!(kept, waiting);
}

/// The copies of ann for her mailbox, with these files in her home, of a message to these.
async fn details_of_ann(files: &[(&str, &str)], to: &[&str]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    let mc = "define(`confFORWARD_PATH', `$z/.forward+$h:$z/.forward')dnl\n\
              define(`ALIAS_FILE', `/etc/mail/aliases')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n";
    fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let world = world(root.path(), &[("ann", "")], "");
    fs::create_dir_all(root.path().join("home/ann")).unwrap();
    for (name, text) in files {
        fs::write(root.path().join("home/ann").join(name), text).unwrap();
    }
    let mut envelope = Envelope {
        recipients: to.iter().flat_map(|to| self::to(to).recipients).collect(),
        ..self::to("")
    };
    expand(&world, &mut envelope).await;
    let waiting = envelope.targets.iter();
    let waiting = waiting.filter(|t| t.progress == Progress::Waiting);
    let mut all: Vec<_> = waiting
        .map(|t| format!("{} {}", t.user.shown(), t.host.shown()))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn who_names_himself_with_a_detail_has_one_copy() {
    let own = [(".forward", "ann+spam\n")];
    for to in [&["ann"][..], &["ann+x"], &["ann+spam"], &["ann", "ann+x"]] {
        assert_eq!(details_of_ann(&own, to).await, ["ann spam"], "{to:?}");
    }
    // The way without a detail is asked for, and is another file.
    for list in ["ann\n", "\\ann\n"] {
        let of_list = [(".forward+list", list)];
        assert_eq!(details_of_ann(&of_list, &["ann+list"]).await, ["ann "]);
    }
    let files = [
        (".forward+list", "ann\n"),
        (".forward", "joe@far.example\n"),
    ];
    let far = "joe@far.example far.example";
    assert_eq!(details_of_ann(&files, &["ann+list"]).await, [far]);
    // One way leads to the other and back.
    let files = [(".forward+list", "ann\n"), (".forward", "ann+list\n")];
    assert_eq!(details_of_ann(&files, &["ann+list"]).await, ["ann list"]);
    assert_eq!(details_of_ann(&files, &["ann"]).await, ["ann "]);
}

#[tokio::test]
async fn a_backslash_before_ones_own_name_means_the_mailbox_whatever_the_detail() {
    let files = [
        (".forward+list", "\\ann\n"),
        (".forward", "joe@far.example\n"),
    ];
    let far = "joe@far.example far.example";
    assert_eq!(details_of_ann(&files, &["ann+list"]).await, ["ann "]);
    for to in [&["ann", "ann+list"], &["ann+list", "ann"]] {
        assert_eq!(
            details_of_ann(&files, to).await,
            ["ann list", far],
            "{to:?}"
        );
    }
    let both = [(".forward", "\\ann, joe@far.example\n")];
    for to in [&["ann"][..], &["ann+x"], &["ann", "ann+x"]] {
        assert_eq!(details_of_ann(&both, to).await, ["ann ", far], "{to:?}");
    }
}

#[tokio::test]
async fn who_is_named_and_whose_mailbox_is_has_both() {
    let users = [("ann", "dora\n"), ("bob", "\\ann\n"), ("dora", "")];
    for to in [
        &["ann", "bob"][..],
        &["bob", "ann"],
        &["ann", "\\ann"],
        &["\\ann", "ann"],
    ] {
        assert_eq!(mailboxes(&users, to).await, ["ann", "dora"], "{to:?}");
    }
    // Once is enough, and who is not named goes nowhere.
    for to in [&["bob"][..], &["\\ann", "bob"]] {
        assert_eq!(mailboxes(&users, to).await, ["ann"], "{to:?}");
    }
    assert_eq!(mailboxes(&users, &["dora", "\\dora"]).await, ["dora"]);
}

#[tokio::test]
async fn each_copy_of_a_user_is_forwarded_whatever_its_detail() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), &[("bob", "joe@far.example\n")], "");
    let mut envelope = to("all");
    envelope.recipients[0].expanded = Expanded::Yes;
    let copies = ["", "x", "y"].map(|detail| QueuedTarget {
        host: Octets::from(detail),
        ..copy_to(&world, "bob", Progress::Waiting)
    });
    envelope.targets = copies.into();
    expand(&world, &mut envelope).await;
    assert_eq!(progress(&envelope, "bob"), [&Progress::Forwarded; 3]);
    assert_eq!(envelope.targets.len(), 4, "{:?}", envelope.targets);
}

#[tokio::test]
async fn the_last_of_many_users_is_asked_too() {
    let root = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..1_200).map(|n| format!("u{n}")).collect();
    let mut users: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    users.push(("last", "joe@far.example\n"));
    let world = world(root.path(), &users, "");
    let mut envelope = to("all");
    envelope.recipients[0].expanded = Expanded::Yes;
    let copies = users
        .iter()
        .map(|(name, _)| copy_to(&world, name, Progress::Waiting));
    envelope.targets = copies.collect();
    expand(&world, &mut envelope).await;
    assert_eq!(progress(&envelope, "last"), [&Progress::Forwarded]);
    assert_eq!(progress(&envelope, "u1199"), [&Progress::Waiting]);
    assert_eq!(envelope.targets.len(), users.len() + 1);
}

#[tokio::test]
async fn a_list_that_is_empty_for_the_moment_waits_once() {
    let root = tempfile::tempdir().unwrap();
    let list = root.path().join("list");
    fs::write(&list, "").unwrap();
    let world = world(root.path(), &[("ann", "")], "all: :include:/list\n");
    let mut envelope = to("all");
    expand(&world, &mut envelope).await;
    assert_eq!(envelope.recipients[0].expanded, Expanded::No);
    assert!(envelope.is_waiting());
    let mut later = envelope.clone();
    fs::write(&list, "ann\n").unwrap();
    later.tries = 2;
    expand(&world, &mut later).await;
    assert_eq!(progress(&later, "ann"), [&Progress::Waiting]);
    fs::write(&list, "").unwrap();
    envelope.tries = 2;
    expand(&world, &mut envelope).await;
    assert!(envelope.is_finished());
}

#[tokio::test]
async fn with_soft_bounce_a_forward_that_leads_nowhere_waits() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    let mc = "define(`confSOFT_BOUNCE', `True')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n";
    fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let users = [
        ("ann", "nobody-here\n"),
        ("bob", "carl, nobody-here\n"),
        ("carl", ""),
    ];
    let world = world(root.path(), &users, "");
    for user in ["ann", "bob"] {
        let mut envelope = to(user);
        let ready = expand(&world, &mut envelope).await;
        assert_eq!(progress(&envelope, user), [&Progress::Waiting], "{user}");
        assert_eq!(ready.held, Held::from([0]), "{user}");
        assert_eq!(envelope.targets.len(), 1, "{user}");
    }
}
