use super::*;
use crate::log::Verbosity;
use zeroize::Zeroizing;

fn request(login: &str) -> Request {
    Request {
        login: login.into(),
        password: Zeroizing::new(b"x".to_vec()),
        service: Vec::new(),
        realm: Vec::new(),
    }
}

/// A worker played by a shell script, which has the socket as fd 0.
fn checker(script: &str) -> WorkerChecker {
    let recipe = Recipe {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        silence_limit: Duration::from_millis(1000),
        requests_limit: 3,
        told: Told::Yes,
        by: By::Ourselves,
    };
    WorkerChecker::new(recipe, Arc::new(Log::new(Verbosity::Normal)))
}

// Requests of these tests are eleven octets: four counts, "abc" and "x", less one.
const READ_ONE: &str = "dd bs=12 count=1 of=/dev/null 2>/dev/null";
const SAY_OK: &str = r"printf '\000\002OK' >&0";

#[test]
fn one_worker_answers_until_it_is_replaced() {
    let mut checker = checker(&format!("while {READ_ONE}; do {SAY_OK}; done"));
    let mut pids = Vec::new();
    for _ in 0..4 {
        assert_eq!(checker.check(&request("abc")), Answer::ok());
        pids.push(checker.worker.as_ref().map(|w| w.id()));
    }
    assert_eq!(pids[0], pids[1]);
    assert_eq!(pids[2], None, "replaced after three requests");
    assert_ne!(pids[3], pids[0]);
}

#[test]
fn a_silent_worker_is_killed() {
    let mut checker = checker("sleep 60");
    let start = Instant::now();
    let answer = checker.check(&request("abc"));
    assert_eq!(answer, Answer::refused("no answer from the mechanism"));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(checker.worker.is_none());
}

#[test]
fn a_crashing_worker_fails_its_request_only() {
    let mut checker = checker(&format!("{READ_ONE}; kill -SEGV $$"));
    assert!(!checker.check(&request("abc")).is_ok());
    assert!(checker.worker.is_none());
}

#[test]
fn a_worker_that_died_in_between_is_replaced() {
    let mut checker = checker(&format!("{READ_ONE}; {SAY_OK}"));
    assert_eq!(checker.check(&request("abc")), Answer::ok());
    assert_eq!(checker.check(&request("abc")), Answer::ok());
}

#[test]
fn a_worker_serves_frames() {
    struct Only;
    impl PasswordChecker for Only {
        fn check(&mut self, request: &Request) -> Answer {
            if request.login == b"abc" {
                Answer::ok()
            } else {
                Answer::refused("Invalid username")
            }
        }
    }
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || serve(&mut theirs, &mut Only));
    let mut ask = |login: &str| {
        ours.write_all(&request(login).to_frame().unwrap()).unwrap();
        let mut reader = ReplyReader::default();
        let mut buffer = [0; 100];
        loop {
            let count = ours.read(&mut buffer).unwrap();
            if let Some(answer) = reader.push(&buffer[..count]).unwrap() {
                return answer;
            }
        }
    };
    assert!(ask("abc").is_ok());
    assert_eq!(ask("x").text(), b"NO Invalid username");
    assert!(ask("abc").is_ok());
    drop(ours);
    thread.join().unwrap().unwrap();
}

/// Says who asked.
struct Echo;

impl PasswordChecker for Echo {
    fn check(&mut self, request: &Request) -> Answer {
        Answer::refused(&String::from_utf8_lossy(&request.login))
    }
}

/// A frame with fields of so many octets.
fn frame_of(login: usize, others: usize) -> Vec<u8> {
    let field = |octets| vec![b'x'; octets];
    let request = Request {
        login: field(login),
        password: Zeroizing::new(field(others)),
        service: field(others),
        realm: field(others),
    };
    request.to_frame().unwrap().to_vec()
}

#[test]
fn the_longest_login_with_its_realm_is_answered_once() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || serve(&mut theirs, &mut Echo));
    for login in [513, 1, 513] {
        ours.write_all(&frame_of(login, 256)).unwrap();
        let mut reply = vec![0; 2 + 3 + login];
        ours.read_exact(&mut reply).unwrap();
        assert!(reply.ends_with(&vec![b'x'; login]), "{login}");
    }
    drop(ours);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_worker_that_is_out_of_step_ends_without_an_answer() {
    let two = [frame_of(3, 1), frame_of(4, 1)].concat();
    for octets in [frame_of(514, 256), frame_of(3, 257), two, frame_of(0, 1)] {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || serve(&mut theirs, &mut Echo));
        ours.write_all(&octets).unwrap();
        assert!(thread.join().unwrap().is_err());
        let mut said = Vec::new();
        let _ = ours.read_to_end(&mut said);
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn an_answer_to_one_request_is_never_one_to_another() {
    // It says what nobody asked for: with its answer, or some time after.
    for script in [
        format!("{READ_ONE}; printf '\\000\\002NO\\000\\002OK' >&0; {READ_ONE}"),
        format!("{READ_ONE}; printf '\\000\\002NO' >&0; sleep 0.1; {SAY_OK}; {READ_ONE}"),
    ] {
        let mut checker = checker(&script);
        for _ in 0..3 {
            assert!(!checker.check(&request("abc")).is_ok(), "{script}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
