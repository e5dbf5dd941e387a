use super::control::{Line, Request, ask, carry_out, serve};
use super::*;

fn envelope(id: &str) -> Envelope {
    Envelope {
        id: id.into(),
        created_unix: 1_795_233_730,
        sender: "joe@b.example".into(),
        size_octets: 5,
        relay: "client.example [127.0.0.2]".into(),
        protocol: "ESMTP".into(),
        recipients: vec![QueuedRecipient {
            address: Octets(b"j\xf6e@d.example".to_vec()),
            notify: None,
            orcpt: None,
            expanded: Expanded::No,
        }],
        ..Envelope::default()
    }
}

fn text_of(queue: &Queue, id: &str) -> Vec<u8> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut queue.text(id).unwrap().into_reader(), &mut text).unwrap();
    text
}

async fn add(queue: &Queue, id: &str, text: &[u8]) {
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

#[tokio::test]
async fn held_messages_wait_and_released_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    add(&queue, "a", b"1").await;
    queue.set_hold("a", Some(Hold::Held)).await.unwrap();
    assert_eq!(queue.take_due(u64::MAX), None);
    queue.set_hold("a", None).await.unwrap();
    assert_eq!(queue.take_due(0).as_deref(), Some("a"));
    assert!(queue.remove("a").await.is_err(), "it is being tried");
    queue.give_back("a");
    queue.remove("a").await.unwrap();
    assert!(queue.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_answers() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ask(dir.path(), &Request::List).unwrap(), None);
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
        .map(|request| ask(&folder, &request).unwrap().unwrap())
    })
    .await
    .unwrap();
    let message = || Line::Message(Box::new(envelope("a")));
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
