//! Runs the transcripts of `testdata/smtp`: dialogues without sockets.
//!
//! A case file is a list of sections, each a fresh session:
//!
//! ```text
//! == name of the case
//! peer client.example 127.0.0.2          # who connects; `forged` may follow
//! rule max_message_octets 2000           # a rule that differs from the defaults
//! offer -EXPN +STARTTLS                  # offers that differ
//! refuse a@b.example 550 5.7.1 No        # the policy's answer about a path
//! unknown c@d.example 550 5.1.1 No user  # a recipient that is no user here
//! S: 220 ...                             # what the server says, in full
//! C: EHLO x                              # what the client says
//! D: text                                # message text; \r \n \0 \\ are escapes
//! W: 2                                   # the server waits that many seconds
//! Q: closed                              # the session has ended
//! ```

use std::sync::Arc;

use libmaps::reply::{Reply, Status};
use libmaps::site::model::RegexMap;
use libmaps::site::model::options::{OptionValue, Privacy};

use super::*;

struct Canned {
    refuse: Vec<(String, Reply)>,
    unknown: Vec<(String, Reply)>,
    welcome: Welcome,
}

impl Canned {
    fn answer(&self, question: Question) -> Answer {
        let known = |list: &[(String, Reply)], path: &Path| {
            let bare = String::from_utf8_lossy(path.bare()).into_owned();
            list.iter()
                .find(|(p, _)| *p == bare)
                .map(|(_, r)| r.clone())
        };
        match question {
            Question::Client => Answer::Welcome(Box::new(self.welcome.clone())),
            Question::Sender(path, _) => match known(&self.refuse, &path) {
                Some(reply) => Answer::Refused(reply),
                None => Answer::Accepted(Fate::Deliver),
            },
            Question::Recipient(path) => {
                if let Some(reply) = known(&self.unknown, &path) {
                    Answer::Unknown(reply)
                } else if let Some(reply) = known(&self.refuse, &path) {
                    Answer::Refused(reply)
                } else {
                    Answer::Accepted(Fate::Deliver)
                }
            }
            Question::Login { mechanism, initial } => match (&*mechanism, initial) {
                ("PLAIN", Some(Secret(octets))) => login(&octets == b"\0alice\0secret"),
                ("DOWN", _) => Answer::LoginUnavailable,
                _ => Answer::Challenge(Vec::new()),
            },
            Question::Response(Secret(octets)) => login(octets == b"\0alice\0secret"),
            Question::AbortLogin => Answer::LoginFailed,
            Question::Verify(name) | Question::Expand(name) => Answer::Say(replies::say(
                250,
                (2, 1, 5),
                format!("<{}@mx.example>", String::from_utf8_lossy(&name)),
            )),
            Question::RunQueue(node) => Answer::Say(replies::say(
                250,
                (2, 0, 0),
                format!(
                    "Queuing for node {} started",
                    String::from_utf8_lossy(&node)
                ),
            )),
        }
    }
}

fn login(right: bool) -> Answer {
    if !right {
        return Answer::LoginFailed;
    }
    Answer::LoggedIn(Box::new(Login {
        authid: "alice".into(),
        authzid: "alice".into(),
        mechanism: "PLAIN".into(),
    }))
}

fn offers() -> Offers {
    Offers::of(&[
        Offer::Pipelining,
        Offer::Expn,
        Offer::Vrfy,
        Offer::Verb,
        Offer::Dsn,
        Offer::Etrn,
        Offer::Auth,
        Offer::DeliverBy,
    ])
}

fn rules() -> Rules {
    Rules {
        hostname: "mx.example".into(),
        privacy: Privacy::default(),
        offers: offers(),
        auth: AuthDemand::Optional,
        max_message_octets: 0,
        max_recipients: 0,
        bad_rcpt_throttle: 0,
        max_noop: 20,
        names: Names::Hosts,
        bounces: Bounces::Hard,
        auth_strikes: 3,
        bad_command: None,
        deliver_by_min_seconds: 0,
    }
}

fn offer_named(name: &str) -> Offer {
    match name {
        "PIPELINING" => Offer::Pipelining,
        "EXPN" => Offer::Expn,
        "VRFY" => Offer::Vrfy,
        "VERB" => Offer::Verb,
        "DSN" => Offer::Dsn,
        "ETRN" => Offer::Etrn,
        "AUTH" => Offer::Auth,
        "STARTTLS" => Offer::StartTls,
        "DELIVERBY" => Offer::DeliverBy,
        "SMTPUTF8" => Offer::SmtpUtf8,
        "CHUNKING" => Offer::Chunking,
        other => panic!("no offer {other}"),
    }
}

fn reply_of(text: &str) -> Reply {
    let mut words = text.splitn(3, ' ');
    let code = words.next().unwrap().parse().unwrap();
    let status: Status = words.next().unwrap().parse().unwrap();
    Reply::new(code, Some(status), words.next().unwrap())
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'\\' => match octets.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    out
}

/// A session under test with everything it said and was not yet asked about.
struct Bench {
    session: Session,
    canned: Canned,
    said: Vec<String>,
    body: Option<BodyDecoder>,
    chunk: Option<(u64, Chunk)>,
    text: Vec<u8>,
}

impl Bench {
    fn start(peer: Peer, rules: Rules, canned: Canned) -> Self {
        let (session, action) = Session::start(Arc::new(peer), Arc::new(rules), Channel::Clear);
        let mut bench = Bench {
            session,
            canned,
            said: vec![],
            body: None,
            chunk: None,
            text: vec![],
        };
        bench.act(action);
        bench
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Reply(reply) => self.say(&reply),
            Action::Consult(question) => {
                let answer = self.canned.answer(question);
                let action = self.session.on_answer(answer);
                self.act(action);
            }
            Action::Upgrade(reply) => {
                self.say(&reply);
                let mut welcome = self.canned.welcome.clone();
                welcome.offers = welcome.offers.without(Offer::StartTls);
                let action = self.session.on_answer(Answer::Welcome(Box::new(welcome)));
                self.act(action);
            }
            Action::ReadBody(reply) => {
                self.say(&reply);
                self.body = Some(BodyDecoder::new());
            }
            Action::ReadChunk { octets, chunk } => self.chunk = Some((octets, chunk)),
            Action::Close(reply) => {
                self.say(&reply);
                self.said.push("closed".into());
            }
            Action::After(wait, action) => {
                self.said.push(format!("wait {}", wait.as_secs()));
                self.act(*action);
            }
        }
    }

    fn say(&mut self, reply: &Reply) {
        if reply.code != 0 {
            self.said
                .extend(reply.to_string().lines().map(String::from));
        }
    }

    fn client(&mut self, line: &[u8], ahead: Ahead) {
        let action = self.session.on_line(line, ahead);
        self.act(action);
    }

    fn data(&mut self, octets: &[u8]) {
        if let Some((left, chunk)) = self.chunk.take() {
            let left = left - octets.len() as u64;
            if left > 0 {
                self.chunk = Some((left, chunk));
                return;
            }
            let answer = match chunk {
                Chunk::Part => Answer::ChunkRead {
                    octets: octets.len() as u64,
                },
                Chunk::Last => Answer::Message(MessageEnd::Stored("ID".into())),
                Chunk::Refused(reply) => Answer::Refused(reply),
            };
            let action = self.session.on_answer(answer);
            return self.act(action);
        }
        let decoder = self.body.as_mut().expect("no text is due here");
        let (taken, step) = decoder.push(octets, &mut self.text);
        if let BodyStep::End { fault } = step {
            assert_eq!(taken, octets.len(), "octets behind the end");
            self.body = None;
            let end = match fault {
                Some(fault) => MessageEnd::Fault(fault),
                None => MessageEnd::Stored("ID".into()),
            };
            let action = self.session.on_answer(Answer::Message(end));
            self.act(action);
        }
    }
}

fn run(file: &str, section: &str) {
    let mut lines = section.lines();
    let name = lines.next().unwrap_or_default();
    let (mut rules, mut offers) = (rules(), offers());
    let mut peer = Peer {
        addr: "127.0.0.2".parse().unwrap(),
        port: 4000,
        name: "client.example".into(),
        resolve: Resolve::Ok,
    };
    let (mut refuse, mut unknown) = (vec![], vec![]);
    let mut refusal = None;
    let mut bench: Option<Bench> = None;
    for line in lines {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let context = || format!("{file}: {name}: {line}");
        match word {
            "peer" => {
                let mut words = rest.split(' ');
                peer.name = words.next().unwrap().into();
                peer.addr = words.next().unwrap().parse().unwrap();
                if words.next() == Some("forged") {
                    peer.resolve = Resolve::Forged;
                }
            }
            "rule" => {
                let (rule, value) = rest.split_once(' ').unwrap();
                match rule {
                    "max_message_octets" => rules.max_message_octets = value.parse().unwrap(),
                    "max_recipients" => rules.max_recipients = value.parse().unwrap(),
                    "bad_rcpt_throttle" => rules.bad_rcpt_throttle = value.parse().unwrap(),
                    "privacy" => {
                        rules.privacy = OptionValue::read(value).unwrap();
                    }
                    "max_noop" => rules.max_noop = value.parse().unwrap(),
                    "names" => rules.names = Names::Any,
                    "bad_command" => rules.bad_command = Some(RegexMap::parse(value).unwrap()),
                    "bounces" => rules.bounces = Bounces::Soft,
                    "auth" => rules.auth = AuthDemand::Required,
                    other => panic!("no rule {other}"),
                }
            }
            "offer" => {
                for word in rest.split(' ') {
                    let offer = offer_named(&word[1..]);
                    offers = if word.starts_with('+') {
                        offers.with(offer)
                    } else {
                        offers.without(offer)
                    };
                }
            }
            "refuse" | "unknown" => {
                let (path, reply) = rest.split_once(' ').unwrap();
                let list = if word == "refuse" {
                    &mut refuse
                } else {
                    &mut unknown
                };
                list.push((path.to_string(), reply_of(reply)));
            }
            "null" => refusal = Some(Refusal::Null(reply_of(rest))),
            "S:" | "C:" | "C+" | "D:" | "W:" | "Q:" => {
                let bench = bench.get_or_insert_with(|| {
                    rules.offers = offers;
                    let canned = Canned {
                        refuse: std::mem::take(&mut refuse),
                        unknown: std::mem::take(&mut unknown),
                        welcome: Welcome {
                            greeting: "mx.example ESMTP".into(),
                            offers,
                            mechanisms: vec!["PLAIN".into(), "LOGIN".into(), "DOWN".into()],
                            auth: rules.auth,
                            start_tls: StartTls::Ready,
                            fate: Fate::Deliver,
                            refusal: refusal.take(),
                        },
                    };
                    Bench::start(peer.clone(), rules.clone(), canned)
                });
                match word {
                    "C:" | "C+" => {
                        assert_eq!(
                            bench.said,
                            Vec::<String>::new(),
                            "unasked before {}",
                            context()
                        );
                        let ahead = if word == "C:" {
                            Ahead::Nothing
                        } else {
                            Ahead::More
                        };
                        bench.client(&unescape(rest), ahead);
                    }
                    "D:" => bench.data(&unescape(rest)),
                    _ => {
                        assert!(!bench.said.is_empty(), "nothing said: {}", context());
                        let want = if word == "W:" {
                            format!("wait {rest}")
                        } else {
                            rest.into()
                        };
                        assert_eq!(bench.said.remove(0), want, "{}", context());
                    }
                }
            }
            other => panic!("{other}: {}", context()),
        }
    }
    let bench = bench.unwrap_or_else(|| panic!("{file}: {name}: empty"));
    assert_eq!(
        bench.said,
        Vec::<String>::new(),
        "{file}: {name}: at the end"
    );
}

#[test]
fn every_transcript_of_testdata() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/smtp");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "case") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        for section in text.split("\n== ").skip(1) {
            run(&file, section);
            cases += 1;
        }
    }
    assert!(cases >= 35, "only {cases} cases found");
}

#[cfg(test)]
mod fates {
    use super::*;

    fn quarantine(why: &str) -> Fate {
        Fate::Quarantine(why.into())
    }

    /// A session of a client of this fate that has said EHLO.
    fn session_of(fate: Fate) -> Session {
        let peer = Peer {
            name: "client.example".into(),
            addr: "127.0.0.2".parse().unwrap(),
            resolve: Resolve::Ok,
            port: 4000,
        };
        let rules = Rules {
            offers: offers().with(Offer::StartTls),
            ..rules()
        };
        let (mut session, action) = Session::start(Arc::new(peer), Arc::new(rules), Channel::Clear);
        assert!(matches!(action, Action::Consult(Question::Client)));
        let _ = session.on_answer(Answer::Welcome(Box::new(welcome(fate))));
        let _ = session.on_line(b"EHLO x", Ahead::Nothing);
        session
    }

    fn welcome(fate: Fate) -> Welcome {
        Welcome {
            greeting: "mx.example ESMTP".into(),
            offers: offers().with(Offer::StartTls),
            mechanisms: Vec::new(),
            auth: AuthDemand::Optional,
            start_tls: StartTls::Ready,
            fate,
            refusal: None,
        }
    }

    /// What becomes of a message of its.
    fn fate_of(session: &mut Session, recipient: Answer) -> Fate {
        let _ = session.on_line(b"MAIL FROM:<a@b.example>", Ahead::Nothing);
        let _ = session.on_answer(Answer::Accepted(Fate::Deliver));
        let _ = session.on_line(b"RCPT TO:<c@d.example>", Ahead::Nothing);
        let _ = session.on_answer(recipient);
        session.transaction().unwrap().fate.clone()
    }

    #[test]
    fn what_becomes_of_a_clients_mail_is_the_same_behind_tls() {
        for fate in [Fate::Discard, quarantine("listed")] {
            let mut session = session_of(fate.clone());
            let upgrade = session.on_line(b"STARTTLS", Ahead::Nothing);
            assert!(matches!(upgrade, Action::Upgrade(_)));
            let _ = session.on_answer(Answer::Welcome(Box::new(welcome(Fate::Deliver))));
            let _ = session.on_line(b"EHLO x", Ahead::Nothing);
            let accepted = Answer::Accepted(Fate::Deliver);
            assert_eq!(fate_of(&mut session, accepted), fate);
        }
    }

    #[test]
    fn a_recipient_for_later_has_a_fate_too() {
        let held = quarantine("by the recipient");
        let mut session = session_of(Fate::Deliver);
        let later = Answer::AcceptedForLater(held.clone());
        assert_eq!(fate_of(&mut session, later), held);
        let mut session = session_of(Fate::Discard);
        let later = Answer::AcceptedForLater(held);
        assert_eq!(fate_of(&mut session, later), Fate::Discard);
    }
}
