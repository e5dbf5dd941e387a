//! Nothing is lost and nothing comes twice, wherever the server ends.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::site::Site;

/// Messages of the kill test.
const MESSAGES: usize = 40;

#[test]
fn a_file_that_is_there_again_is_not_taken_again() {
    let mut site = Site::new();
    site.sendmail(&["later"], b"Subject: x\n\nonce\n");
    let file = site.dropped("msg").remove(0);
    let copy = site.root().join("copy");
    fs::copy(&file, &copy).unwrap();
    site.start();
    site.until("the server took it", |s| s.queued().len() == 1);
    site.until("it was removed", |s| s.dropped("msg").is_empty());
    site.kill();
    // As if the server had been killed before the removal.
    fs::copy(&copy, &file).unwrap();
    site.start();
    site.until("the second file is gone", |s| s.dropped("msg").is_empty());
    assert_eq!(site.queued().len(), 1);
    let told = "the queue has this dropped message already";
    site.until("a line in the log", |s| s.log().contains(told));
    site.until("it is tried again", |s| s.mailq(&[]).contains("Deferred"));
}

#[test]
fn a_file_that_comes_back_while_its_message_is_on_its_way_starts_nothing() {
    let mut site = Site::new();
    let slow = site.root().join("open/slow");
    let aliases = site.root().join("etc/mail/aliases");
    let text = format!("slow: \"|sleep 2; echo once >> {}\"\n", slow.display());
    fs::write(&aliases, text).unwrap();
    smtpd::tables::build_aliases(&aliases).unwrap();
    site.sendmail(&["slow"], b"Subject: x\n\nbody\n");
    let file = site.dropped("msg").remove(0);
    let copy = site.root().join("copy");
    fs::copy(&file, &copy).unwrap();
    site.start();
    site.until("it is on its way", |s| {
        s.queued().len() == 1 && s.dropped("msg").is_empty()
    });
    fs::copy(&copy, &file).unwrap();
    site.until("the second file is gone", |s| s.dropped("msg").is_empty());
    site.until("it is delivered", |s| s.queued().is_empty());
    assert_eq!(fs::read_to_string(&slow).unwrap(), "once\n");
}

#[test]
fn killed_at_any_moment_the_queue_has_each_message_once() {
    let mut site = Site::new();
    let mut sent = BTreeSet::new();
    for number in 0..MESSAGES {
        let sender = format!("n{number}@x.example");
        // A large one now and then, which has a file of its own in the queue.
        let body = "x".repeat(if number % 5 == 0 { 100_000 } else { 10 });
        let text = format!("Subject: x\n\n{body}\n");
        let out = site.sendmail(&["-f", &sender, "later"], text.as_bytes());
        assert_eq!(out.status.code(), Some(0));
        sent.insert(sender);
    }
    // Each time a little later, so that it is killed at another place.
    for round in 0..12u64 {
        site.start();
        std::thread::sleep(Duration::from_millis(1 + round * round));
        site.kill();
    }
    site.start();
    site.until("all are taken", |s| s.dropped("msg").is_empty());
    let queued = site.queued();
    let senders: BTreeSet<String> = queued.iter().map(|(_, sender)| sender.clone()).collect();
    assert_eq!(senders, sent);
    assert_eq!(queued.len(), MESSAGES);
    assert!(site.dropped("bad").is_empty());
}
