use super::*;
use crate::cache::CacheOptions;
use crate::frame::Field;
use crate::log::Verbosity;
use std::fs;
use std::time::Duration;
use zeroize::Zeroizing;

fn request(login: &str, password: &str) -> Request {
    Request {
        login: login.into(),
        password: Zeroizing::new(password.into()),
        service: b"smtp".to_vec(),
        realm: b"example.org".to_vec(),
    }
}

fn service(logins: Logins, watch: Option<Watch>) -> Service {
    let cache = WatchedCache {
        cache: CredentialCache::new(CacheOptions::default(), &[1; 64]),
        watch,
    };
    let log = Arc::new(Log::new(Verbosity::Normal));
    log.detach();
    let accounts = Mechanism::Sasldb.accounts(b"mx.example");
    Service::new(Mechanism::Sasldb, accounts, logins, Some(cache), log)
}

fn pending(next: Next) -> (Box<Pending>, Option<Instant>) {
    match next {
        Next::Check(pending, at) => (pending, at),
        Next::Answer(answer) => panic!("answered: {answer:?}"),
        Next::Wait(request) => panic!("waits: {request:?}"),
    }
}

/// Asks, and lets the mechanism say this.
fn check(service: &mut Service, request: Request, says: &Answer, now: Instant) {
    let (pending, _) = pending(service.on_request(request, now));
    let Pending { request, key, .. } = *pending;
    service.on_answer(&request, key, says, now);
}

#[test]
fn successes_are_cached_and_failures_are_not() {
    let (mut service, now) = (service(Logins::AsGiven, None), Instant::now());
    check(&mut service, request("alice", "no"), &Answer::no(), now);
    check(&mut service, request("alice", "no"), &Answer::no(), now);
    check(&mut service, request("alice", "yes"), &Answer::ok(), now);
    let next = service.on_request(request("alice", "yes"), now);
    assert!(matches!(next, Next::Answer(answer) if answer.is_ok()));
    let (_, at) = pending(service.on_request(request("alice", "no"), now));
    assert_eq!(at, None);
    let want = Figures {
        accepted: 1,
        cached: 1,
        refused: 2,
    };
    assert_eq!(service.figures(), want);
}

#[test]
fn a_changed_file_empties_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sasldb2");
    fs::write(&path, "old").unwrap();
    let watch = Some(Watch::new(path.clone()));
    let (mut service, now) = (service(Logins::AsGiven, watch), Instant::now());
    check(&mut service, request("alice", "old"), &Answer::ok(), now);
    assert_eq!(service.cached_entries(), 1);
    fs::write(&path, "new one").unwrap();
    let (late, _) = pending(service.on_request(request("alice", "old"), now));
    assert_eq!(service.cached_entries(), 0);
    // A change while the mechanism is asked: its answer is given but not kept.
    fs::write(&path, "a newer one").unwrap();
    service.on_answer(&late.request, late.key, &Answer::ok(), now);
    assert_eq!(service.cached_entries(), 0);
    // And one that was told from what is out of date.
    let old = Answer::ok().once();
    check(&mut service, request("alice", "old"), &old, now);
    assert_eq!(service.cached_entries(), 0);
    assert_eq!(service.figures().accepted, 3);
}

#[test]
fn realms_are_joined_to_logins_when_asked() {
    let now = Instant::now();
    let mut joined = service(Logins::WithRealm, None);
    let (p, _) = pending(joined.on_request(request("alice", "x"), now));
    assert_eq!(p.request.login, b"alice@example.org");
    assert_eq!(p.request.realm, b"example.org");
    let bare = Request {
        realm: Vec::new(),
        ..request("alice", "x")
    };
    let (p, _) = pending(joined.on_request(bare, now));
    assert_eq!(p.request.login, b"alice");
}

#[test]
fn guessing_gets_slow_but_who_is_cached_does_not_wait() {
    let (mut service, now) = (service(Logins::AsGiven, None), Instant::now());
    check(&mut service, request("alice", "yes"), &Answer::ok(), now);
    for _ in 0..6 {
        check(&mut service, request("alice", "no"), &Answer::no(), now);
    }
    let (_, at) = pending(service.on_request(request("alice", "no"), now));
    assert!(at.is_some_and(|at| at >= now + Duration::from_secs(1)));
    let next = service.on_request(request("alice", "yes"), now);
    assert!(matches!(next, Next::Answer(answer) if answer.is_ok()));
}

#[test]
fn guesses_at_one_time_are_not_all_checked_at_once() {
    let (mut service, now) = (service(Logins::AsGiven, None), Instant::now());
    let mut checked = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..40 {
        match service.on_request(request("alice", "no"), now) {
            Next::Check(pending, None) => checked.push(pending),
            Next::Wait(request) => waits.push(request),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((checked.len(), waits.len()), (5, 35));
    // Right passwords among them pass one after another, however many.
    for _ in 0..20 {
        let answered = checked.pop().unwrap();
        service.on_answer(&answered.request, None, &Answer::ok(), now);
        drop(answered);
        let (next, _) = pending(service.on_turn(*waits.pop().unwrap(), now));
        checked.push(next);
    }
    // And wrong ones are spaced as if they had come one by one.
    for answered in checked.drain(..) {
        service.on_answer(&answered.request, None, &Answer::no(), now);
    }
    let (_, moment) = pending(service.on_turn(*waits.pop().unwrap(), now));
    assert!(moment.is_some_and(|moment| moment >= now + Duration::from_secs(1)));
}

#[test]
fn bad_requests_never_reach_the_mechanism() {
    let mut service = service(Logins::AsGiven, None);
    let answer = service.on_refusal(Refusal::Empty(Field::Login));
    assert_eq!(answer.text(), b"NO NULL login received");
    assert_eq!(service.figures().refused, 1);
}
