//! Counts over all hosts, with a test at the other end of the socket.

use super::*;
use crate::log::Target;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

/// A throttle and the other end of its socket, which hears and answers what a test says.
fn shared(deadline: Duration) -> (Arc<Throttle>, UnixDatagram) {
    let (ours, theirs) = StdDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let throttle = Throttle::new(Duration::from_secs(60), 1_024);
    let log = Arc::new(Log::open(Target::Json));
    throttle.share_within(deadline, ours, &log).unwrap();
    (throttle, UnixDatagram::from_std(theirs).unwrap())
}

async fn said(socket: &UnixDatagram) -> Vec<Say> {
    let mut packet = vec![0; MAX_PACKET_OCTETS];
    let octets = socket.recv(&mut packet).await.unwrap();
    counts::lines(&packet[..octets])
}

async fn answer(socket: &UnixDatagram, heard: Hear) {
    socket.send(format!("{heard}\n").as_bytes()).await.unwrap();
}

fn client() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn is_question(say: &Say, number: u64) -> bool {
    matches!(say, Say::Enter { id, .. } if *id == number)
}

#[tokio::test]
async fn counts_of_all_hosts_are_never_less_than_our_own() {
    let (throttle, socket) = shared(LONG);
    let (held, here) = throttle.enter(client());
    let asked = throttle.on_all_hosts(&held, here);
    let told = async {
        let entered = Say::Enter {
            id: 0,
            client: client(),
            open: 1,
        };
        assert_eq!(said(&socket).await, [entered]);
        let counts = Hear::Count {
            id: 0,
            rate: 9,
            open: 0,
        };
        answer(&socket, counts).await;
    };
    let (load, ()) = tokio::join!(asked, told);
    assert_eq!((load.rate, load.connections), (9, 1));
    assert_eq!(load.counted, Counted::OnAllHosts);
    drop(held);
    let over = Say::Open {
        client: client(),
        open: 0,
    };
    assert_eq!(said(&socket).await, [over]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let (throttle, _socket) = shared(Duration::from_millis(1));
    let (held, here) = throttle.enter(client());
    let load = throttle.on_all_hosts(&held, here).await;
    assert_eq!((load.counted, load.rate), (Counted::Here, 1));
    assert!(throttle.sharing.get().unwrap().late.load(Ordering::Relaxed));
}

#[tokio::test]
async fn after_a_late_answer_nobody_waits_until_one_has_come() {
    let (throttle, socket) = shared(LONG);
    let sharing = throttle.sharing.get().unwrap();
    sharing.late.store(true, Ordering::Relaxed);
    let (first, here) = throttle.enter(client());
    // Whoever waits here waits for an hour.
    let load = throttle.on_all_hosts(&first, here).await;
    assert_eq!((load.counted, load.rate), (Counted::Here, 1));
    // It was asked all the same.
    while !said(&socket).await.iter().any(|say| is_question(say, 0)) {}
    answer(&socket, Hear::Alone { id: 0 }).await;
    while sharing.late.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    // An engine that is away is an answer, too, and no wait.
    let (second, here) = throttle.enter(client());
    let asked = throttle.on_all_hosts(&second, here);
    let told = async {
        while !said(&socket).await.iter().any(|say| is_question(say, 1)) {}
        answer(&socket, Hear::Alone { id: 1 }).await;
    };
    let (load, ()) = tokio::join!(asked, told);
    assert_eq!((load.counted, load.rate), (Counted::Here, 2));
}

#[tokio::test]
async fn who_begins_anew_hears_all_that_is_open() {
    let (throttle, socket) = shared(LONG);
    let mut open = Vec::new();
    for host in 1..=200u8 {
        open.push(throttle.enter(IpAddr::from([192, 0, 2, host])).0);
    }
    answer(&socket, Hear::Hello).await;
    let mut heard = Vec::new();
    while heard.len() < 200 {
        heard.extend(said(&socket).await);
    }
    let is_one = |say: &Say| matches!(say, Say::Open { open: 1, .. });
    assert!(heard.iter().all(is_one));
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let sharing = Sharing::new(LONG, Arc::new(Log::open(Target::Json)));
    let question = |id| Question {
        id,
        client: client(),
        asked: Instant::now(),
    };
    let sent = (0..10_000).filter(|id| sharing.put(question(*id))).count();
    assert_eq!(sent, MAX_QUESTIONS);
    for number in 0..100_000_u32 {
        sharing.changed(IpAddr::from(number.to_be_bytes()));
    }
    assert_eq!(lock(&sharing.outbox).changed.len(), MAX_CHANGED);
    // That the connections of a client are over is told whatever waits: others count them.
    let told = IpAddr::from([203, 0, 113, 9]);
    lock(&sharing.outbox).told.insert(told);
    sharing.changed(told);
    assert!(lock(&sharing.outbox).changed.contains(&told));
}

#[test]
fn who_was_told_of_is_known() {
    let throttle = Throttle::new(Duration::from_secs(60), 1_024);
    let sharing = Sharing::new(LONG, Arc::new(Log::open(Target::Json)));
    let (held, _) = throttle.enter(client());
    sharing.changed(client());
    assert_eq!(sharing.take(&throttle).unwrap().len(), 1);
    assert!(lock(&sharing.outbox).told.contains(&client()));
    drop(held);
    sharing.changed(client());
    sharing.take(&throttle).unwrap();
    assert!(lock(&sharing.outbox).told.is_empty());
}

#[tokio::test]
async fn who_waits_no_more_is_forgotten() {
    let (throttle, _socket) = shared(LONG);
    let sharing = throttle.sharing.get().unwrap();
    let mut asked = Box::pin(sharing.ask(client()));
    let poll = std::future::poll_fn(|context| std::task::Poll::Ready(asked.as_mut().poll(context)));
    assert!(poll.await.is_pending());
    assert_eq!(lock(&sharing.waiting).len(), 1);
    drop(asked);
    assert!(lock(&sharing.waiting).is_empty());
}
