use super::control::{Line, Request, ask, carry_out, serve};
use super::*;
use crate::session::Notify;

pub(super) fn envelope(id: &str) -> Envelope {
    Envelope {
        id: id.into(),
        created_unix: 1_795_233_730,
        sender: "joe@b.example".into(),
        size_octets: 1,
        relay: "client.example [127.0.0.2]".into(),
        protocol: "ESMTP".into(),
        recipients: vec![QueuedRecipient {
            address: Octets(b"j\xf6e@d.example".to_vec()),
            ..QueuedRecipient::default()
        }],
        ..Envelope::default()
    }
}

pub(super) fn text_of(queue: &Queue, id: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let envelope = queue.envelope(id).unwrap();
    let mut reader = queue.text(&envelope).unwrap().into_reader();
    std::io::Read::read_to_end(&mut reader, &mut text).unwrap();
    text
}

pub(super) async fn add(queue: &Queue, id: &str, text: &[u8]) {
    let mut spool = queue.spool(id);
    for piece in text.chunks(1000) {
        spool.push(piece).unwrap();
    }
    let body = spool.finish().unwrap();
    queue.add(envelope(id), body).await.unwrap();
}

#[tokio::test]
async fn what_was_added_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let big = vec![b'x'; 200_000];
    {
        let queue = Queue::open(dir.path()).unwrap();
        add(&queue, "small", b"hello").await;
        add(&queue, "large", &big).await;
        let mut forgotten = queue.spool("forgotten");
        forgotten.push(&big).unwrap();
        std::mem::forget(forgotten);
        assert!(dir.path().join("incoming/forgotten").exists());
        assert!(matches!(Queue::open(dir.path()), Err(QueueError::InUse(_))));
    }
    std::fs::write(dir.path().join("large/orphan"), "x").unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    assert_eq!(queue.envelope("small").unwrap(), envelope("small"));
    assert_eq!(text_of(&queue, "small"), b"hello");
    assert_eq!(text_of(&queue, "large"), big);
    assert_eq!(queue.len(), 2);
    assert!(!dir.path().join("incoming/forgotten").exists());
    assert!(!dir.path().join("large/orphan").exists());
}

#[tokio::test]
async fn a_dropped_spool_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    let mut spool = queue.spool("a");
    spool.push(&vec![b'x'; 100_000]).unwrap();
    assert!(dir.path().join("incoming/a").exists());
    drop(spool);
    assert!(!dir.path().join("incoming/a").exists());
}

#[tokio::test]
async fn messages_are_taken_once_and_settled() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    add(&queue, "a", b"1").await;
    assert_eq!(queue.take_due(0).as_deref(), Some("a"));
    assert_eq!(queue.take_due(0), None);
    let mut envelope = queue.envelope("a").unwrap();
    envelope.tries = 1;
    envelope.due_unix = 1060;
    queue.settle(&envelope, vec![]).await.unwrap();
    assert_eq!(queue.take_due(1000), None, "not before a minute has passed");
    assert_eq!(queue.take_due(1060).as_deref(), Some("a"));
    envelope.recipients[0].expanded = Expanded::Yes;
    queue.settle(&envelope, vec![]).await.unwrap();
    assert!(queue.is_empty());
    assert!(matches!(queue.envelope("a"), Err(QueueError::Unknown(_))));
}

#[test]
fn what_the_next_host_is_asked_to_tell() {
    let notify = |success, failure, delay| Notify {
        success,
        failure,
        delay,
    };
    let mut message = envelope("a");
    let mut copy = QueuedTarget::default();
    assert_eq!(message.notify_onward(&copy), None);
    assert_eq!(message.notify_of(&copy), NOTIFY_BY_DEFAULT);
    message.recipients[0].notify = Some(notify(true, false, true));
    assert_eq!(
        message.notify_onward(&copy),
        Some(notify(true, false, true))
    );
    message.recipients[0].expanded = Expanded::List { told: true };
    assert_eq!(
        message.notify_onward(&copy),
        Some(notify(false, false, true))
    );
    copy.owner = Some("owner@b".into());
    assert_eq!(message.notify_onward(&copy), None);
    assert_eq!(message.notify_of(&copy), NOTIFY_BY_DEFAULT);
}

#[tokio::test]
async fn many_at_once_share_few_commits() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    let all = (0..300).map(|n| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move { add(&queue, &format!("m{n}"), b"text").await })
    });
    for task in all.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(queue.len(), 300);
}

/// What a kill at this moment would leave.
pub(super) fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["", "journal", "large", "incoming"] {
        std::fs::create_dir_all(copy.path().join(name)).unwrap();
        for entry in std::fs::read_dir(folder.join(name)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = copy.path().join(name).join(entry.file_name());
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    copy
}

#[tokio::test]
async fn a_killed_server_finds_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    let big = vec![b'x'; 100_000];
    for id in ["a", "b", "c", "d"] {
        add(&queue, id, id.as_bytes()).await;
    }
    add(&queue, "large", &big).await;
    queue.set_hold("a", Some(Hold::Held)).await.unwrap();
    // Who holds what is held changes nothing.
    let evil = || Some(Hold::Quarantined("evil".into()));
    queue.set_hold("c", evil()).await.unwrap();
    queue.set_hold("c", Some(Hold::Held)).await.unwrap();
    assert_eq!(queue.envelope("c").unwrap().hold, evil());
    queue.remove("b").await.unwrap();
    let dead = killed(dir.path());
    // What comes after the copy was made is not in it.
    queue.remove("c").await.unwrap();
    let again = Queue::open(dead.path()).unwrap();
    assert_eq!(again.ids().join(" "), "a c d large");
    assert_eq!(again.envelope("a").unwrap().hold, Some(Hold::Held));
    assert_eq!(text_of(&again, "c"), b"c");
    assert_eq!(text_of(&again, "large"), big);
    // Killed once more before anything is new.
    let dead = killed(dead.path());
    let again = Queue::open(dead.path()).unwrap();
    assert_eq!(again.ids().join(" "), "a c d large");
    add(&again, "e", b"e").await;
    drop(again);
    assert_eq!(
        std::fs::read_dir(dead.path().join("journal"))
            .unwrap()
            .count(),
        0
    );
    let again = Queue::open(dead.path()).unwrap();
    assert_eq!(again.ids().join(" "), "a c d e large");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_journal_holds_goes_to_the_database() {
    const COUNT: usize = 900;
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    let text = |n: usize| n.to_string().repeat(60_000 / 3);
    let name = |n: usize| format!("m{n:03}");
    let tasks = (0..COUNT).map(|n| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            add(&queue, &name(n), text(n).as_bytes()).await;
            let mut envelope = queue.envelope(&name(n)).unwrap();
            // Two of three go at once; of the others one is told of a copy.
            if n % 3 > 0 {
                return queue.remove(&name(n)).await.unwrap();
            }
            envelope.recipients[0].expanded = Expanded::Yes;
            envelope.targets = vec![QueuedTarget::default()];
            queue.note_expanded(&envelope).await.unwrap();
            envelope.targets[0].progress = Progress::Sent;
            queue.note_copies(&envelope, &[0]).await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let dead = killed(dir.path());
    drop(queue);
    for folder in [dead.path(), dir.path()] {
        let queue = Queue::open(folder).unwrap();
        let wanted: Vec<_> = (0..COUNT).step_by(3).map(name).collect();
        assert_eq!(queue.ids().join(" "), wanted.join(" "));
        for n in (0..COUNT).step_by(3) {
            assert_eq!(text_of(&queue, &name(n)), text(n).as_bytes());
            let envelope = queue.envelope(&name(n)).unwrap();
            assert_eq!(envelope.targets[0].progress, Progress::Sent);
        }
    }
}

#[tokio::test]
async fn held_messages_wait_and_released_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    add(&queue, "a", b"1").await;
    queue.set_hold("a", Some(Hold::Held)).await.unwrap();
    assert_eq!(queue.take_due(u64::MAX), None);
    queue.set_hold("a", None).await.unwrap();
    assert_eq!(queue.take_due(0).as_deref(), Some("a"));
    let busy = queue.remove("a").await.unwrap_err();
    assert!(matches!(*busy, QueueError::Busy(_)), "{busy}");
    queue.give_back("a");
    queue.remove("a").await.unwrap();
    assert!(queue.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_answers() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ask(dir.path(), &Request::List).unwrap().is_none());
    let queue = Queue::open(dir.path()).unwrap();
    add(&queue, "a", b"te\xffxt").await;
    let server = serve(Arc::clone(&queue), dir.path()).unwrap();
    let folder = dir.path().to_path_buf();
    let lines = tokio::task::spawn_blocking(move || {
        [
            Request::List,
            Request::Show("a".into()),
            Request::Hold("b".into()),
            Request::Remove("a".into()),
        ]
        .map(|request| {
            let answer = ask(&folder, &request).unwrap().unwrap();
            answer.collect::<std::io::Result<Vec<_>>>().unwrap()
        })
    })
    .await
    .unwrap();
    let message = || Line::Message {
        envelope: Box::new(envelope("a")),
        waits_for: None,
    };
    assert_eq!(lines[0], [message(), Line::Done]);
    assert_eq!(
        lines[1],
        [
            message(),
            Line::Text(Octets(b"te\xffxt".to_vec())),
            Line::Done
        ]
    );
    assert_eq!(
        lines[2],
        [Line::Error("b: no such message in the queue".into())]
    );
    assert_eq!(lines[3], [Line::Done]);
    assert!(queue.is_empty());
    server.abort();
    let (sender, mut lines) = tokio::sync::mpsc::channel(4);
    carry_out(&queue, Request::List, sender).await;
    assert_eq!(lines.recv().await, Some(Line::Done));
}

#[tokio::test]
async fn a_request_that_is_cut_off_leaves_no_message_busy() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    add(&queue, "a", b"1").await;
    let (sender, _lines) = tokio::sync::mpsc::channel(4);
    let mut request = Box::pin(carry_out(&queue, Request::Hold("a".into()), sender));
    // It begins, and then nobody waits for it any more.
    for _ in 0..2 {
        tokio::select! {
            biased;
            () = &mut request => break,
            () = tokio::task::yield_now() => {}
        }
    }
    drop(request);
    for _ in 0..200 {
        match queue.set_hold("a", None).await {
            Ok(()) => return,
            Err(error) => assert!(matches!(*error, QueueError::Busy(_)), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it stayed busy");
}

#[tokio::test]
async fn a_queue_of_the_format_before_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = Queue::open(dir.path()).unwrap();
        add(&queue, "a", b"1").await;
    }
    let path = dir.path().join("queue.redb");
    {
        let database = redb::Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        write.open_table(meta).unwrap().insert("format", 1).unwrap();
        let progress = redb::TableDefinition::<(&str, u32), &[u8]>::new("progress");
        write.delete_table(progress).unwrap();
        // An envelope as it was written then.
        let old = br#"{"id":"b","created_unix":7,"sender":"x@y","size_octets":1,"smtputf8":false,
            "relay":"z","protocol":"SMTP","hops":0,"tries":3,"tried_unix":9,
            "recipients":[{"address":"u","expanded":"Yes"}],
            "targets":[{"recipient":0,"mailer":"local","host":"","user":"u",
                "progress":{"Failed":{"status":"5.1.1","text":"User unknown"}}}]}"#;
        let envelopes = redb::TableDefinition::<&str, &[u8]>::new("envelopes");
        let mut envelopes = write.open_table(envelopes).unwrap();
        envelopes.insert("b", old.as_slice()).unwrap();
        drop(envelopes);
        write.commit().unwrap();
    }
    let queue = Queue::open(dir.path()).unwrap();
    assert_eq!(queue.take_due(0).as_deref(), Some("a"));
    assert_eq!(
        queue.take_due(0).as_deref(),
        Some("b"),
        "its sender is told"
    );
    assert!(!queue.envelope("b").unwrap().is_finished());
}

#[tokio::test]
async fn notices_come_with_what_they_tell_of_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    add(&queue, "a", b"1").await;
    assert!(queue.take_due(0).is_some());
    let mut told = queue.envelope("a").unwrap();
    told.recipients[0].expanded = Expanded::Told;
    // A large text that was never received can't be placed: nothing of it happens.
    let broken = vec![(envelope("n"), Body::Large)];
    assert!(queue.settle(&told, broken).await.is_err());
    assert_ne!(queue.envelope("a").unwrap(), told);
    assert!(queue.envelope("n").is_err());
    let mut spool = queue.spool("n");
    spool.push(&vec![b'x'; 100_000]).unwrap();
    let large = spool.finish().unwrap();
    let broken = vec![(envelope("n"), large), (envelope("m"), Body::Large)];
    assert!(queue.settle(&told, broken).await.is_err());
    assert!(!dir.path().join("incoming/n").exists());
    assert!(!dir.path().join("large/n").exists());
    let notice = vec![(envelope("n"), Body::Small(b"text".to_vec()))];
    queue.settle(&told, notice).await.unwrap();
    assert!(queue.envelope("a").is_err());
    assert_eq!(text_of(&queue, "n"), b"text");
    assert_eq!(queue.take_due(0).as_deref(), Some("n"));
}

#[tokio::test]
async fn what_became_of_a_copy_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |user: &str, progress| QueuedTarget {
        mailer: "local".into(),
        user: user.into(),
        progress,
        ..QueuedTarget::default()
    };
    {
        let queue = Queue::open(dir.path()).unwrap();
        add(&queue, "a", b"1").await;
        let mut taken = queue.envelope("a").unwrap();
        taken.recipients[0].expanded = Expanded::Yes;
        taken.targets = vec![copy("x", Progress::Waiting), copy("y", Progress::Waiting)];
        queue.note_expanded(&taken).await.unwrap();
        taken.targets[1].progress = Progress::Done;
        queue.note_copies(&taken, &[1]).await.unwrap();
    }
    let queue = Queue::open(dir.path()).unwrap();
    let found = queue.envelope("a").unwrap();
    let progress: Vec<&Progress> = found.targets.iter().map(|t| &t.progress).collect();
    assert_eq!(progress, [&Progress::Waiting, &Progress::Done]);
    // The envelope takes the row in; none is left to come up again.
    let mut again = found;
    again.targets[1].progress = Progress::Waiting;
    queue.settle(&again, vec![]).await.unwrap();
    assert_eq!(queue.envelope("a").unwrap(), again);
}

/// Figures of the README: run twice with QUEUE_FOLDER naming a new folder, `cargo test
/// --release -p smtpd --lib a_hundred_thousand -- --ignored --nocapture`. The first run
/// fills it; the second shows what a server has to keep.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_hundred_thousand_messages() {
    const COUNT: usize = 100_000;
    let folder = std::env::var_os("QUEUE_FOLDER").expect("QUEUE_FOLDER");
    let folder = Path::new(&folder);
    let resident = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() * 1024
    };
    if !folder.join("queue.redb").exists() {
        let queue = Queue::open(folder).unwrap();
        let mut waiting = Vec::new();
        for n in 0..COUNT {
            let queue = Arc::clone(&queue);
            waiting.push(tokio::spawn(async move {
                let message = Envelope {
                    due_unix: 1000 + (n * 7919 % 3600) as u64,
                    rank: n as i64,
                    ..envelope(&format!("6AL42APA{n:06}"))
                };
                let text = Body::Small(vec![b'x'; 1000]);
                queue.add(message, text).await.unwrap();
            }));
        }
        for task in waiting {
            task.await.unwrap();
        }
    }
    let disk = std::fs::metadata(folder.join("queue.redb")).unwrap().len();
    println!("disk: {} octets a message", disk / COUNT as u64);
    let before = resident();
    let start = std::time::Instant::now();
    let queue = Queue::open(folder).unwrap();
    println!("opened in {:?}", start.elapsed());
    println!(
        "memory: {} octets a message, store's cache included",
        resident().saturating_sub(before) / COUNT
    );
    let start = std::time::Instant::now();
    let mut taken = 0;
    while queue.take_due(2800).is_some() {
        taken += 1;
    }
    println!("{taken} taken, {:?} each", start.elapsed() / taken);
    assert_eq!(queue.len(), COUNT);
}
