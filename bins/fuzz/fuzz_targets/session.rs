//! Any octets as a client's lines: the session answers each, never panics, never grows
//! beyond its limits, and says nothing that could be taken for two replies.
//!
//! `cargo fuzz run session`
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use libmaps::reply::Reply;
use libmaps::site::model::options::Privacy;
use smtpd::session::{
    Action, Ahead, Answer, AuthDemand, Bounces, Channel, Chunk, Fate, Login, MessageEnd, Names,
    Offer, Offers, Peer, Question, Resolve, Rules, Session, StartTls, Welcome,
};

const MAX_RECIPIENTS: usize = 20;

fn rules() -> Rules {
    Rules {
        hostname: "mx.example".into(),
        privacy: Privacy::default(),
        offers: Offers::of(&[
            Offer::Pipelining,
            Offer::Expn,
            Offer::Vrfy,
            Offer::Verb,
            Offer::Dsn,
            Offer::Etrn,
            Offer::Auth,
            Offer::StartTls,
            Offer::DeliverBy,
            Offer::SmtpUtf8,
            Offer::Chunking,
        ]),
        auth: AuthDemand::Optional,
        max_message_octets: 10_000,
        max_recipients: MAX_RECIPIENTS,
        bad_rcpt_throttle: 3,
        max_noop: 20,
        names: Names::Any,
        bounces: Bounces::Hard,
        auth_strikes: 3,
        deliver_by_min_seconds: 0,
        bad_command: None,
    }
}

fn welcome(rules: &Rules) -> Answer {
    Answer::Welcome(Box::new(Welcome {
        greeting: "mx.example ESMTP".into(),
        offers: rules.offers,
        mechanisms: vec!["PLAIN".into(), "LOGIN".into()],
        auth: rules.auth,
        start_tls: StartTls::Ready,
        fate: Fate::Deliver,
        refusal: None,
    }))
}

/// Does what the action says, with an answer that the octet chooses.
fn settle(session: &mut Session, rules: &Rules, mut action: Action, choice: u8) -> Option<()> {
    loop {
        let answer = match action {
            Action::Reply(reply) => {
                check(&reply);
                return Some(());
            }
            Action::Close(reply) => {
                check(&reply);
                return None;
            }
            Action::After(_, next) => {
                action = *next;
                continue;
            }
            Action::Upgrade(reply) => {
                check(&reply);
                welcome(rules)
            }
            Action::ReadBody(reply) => {
                check(&reply);
                Answer::Message(MessageEnd::Stored("id".into()))
            }
            Action::ReadChunk { octets, chunk } => match chunk {
                Chunk::Refused(reply) => Answer::Refused(reply),
                Chunk::Part => Answer::ChunkRead { octets },
                Chunk::Last => Answer::Message(MessageEnd::Stored("id".into())),
            },
            Action::Consult(question) => match (question, choice % 3) {
                (Question::Client, _) => welcome(rules),
                (Question::Login { .. } | Question::Response(_), 0) => {
                    Answer::Challenge(b"more".to_vec())
                }
                (Question::Login { .. } | Question::Response(_), 1) => Answer::LoginFailed,
                (Question::Login { .. } | Question::Response(_), _) => {
                    Answer::LoggedIn(Box::new(Login {
                        authid: "alice".into(),
                        authzid: "alice".into(),
                        mechanism: "PLAIN".into(),
                    }))
                }
                (Question::Verify(_) | Question::Expand(_) | Question::RunQueue(_), _) => {
                    Answer::Say(Reply::new(250, None, "said"))
                }
                (_, 0) => Answer::Refused(Reply::new(550, None, "no")),
                _ => Answer::Accepted(Fate::Deliver),
            },
        };
        action = session.on_answer(answer);
    }
}

/// A reply is lines of visible text: no line end or control octet of the client's comes back.
fn check(reply: &Reply) {
    for line in reply.to_string().lines() {
        assert!(
            line.bytes().all(|c| c >= b' ' && c != 0x7f || c == b'\t'),
            "{line:?}"
        );
        assert!(line.len() < 1_500, "{} octets", line.len());
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, octets) = input;
    let rules = Arc::new(rules());
    let addr = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
    let peer = Arc::new(Peer::nameless(addr, 4000, Resolve::Fail));
    let (mut session, first) = Session::start(peer, Arc::clone(&rules), Channel::Clear);
    if settle(&mut session, &rules, first, choice).is_none() {
        return;
    }
    for (number, line) in octets.split(|c| *c == b'\n').enumerate() {
        let ahead = match number % 7 {
            3 => Ahead::More,
            _ => Ahead::Nothing,
        };
        let turn = choice.wrapping_add(number as u8);
        let action = session.on_line(line, ahead);
        if settle(&mut session, &rules, action, turn).is_none() {
            return;
        }
        if let Some(transaction) = session.transaction() {
            assert!(transaction.recipients.len() <= MAX_RECIPIENTS);
        }
    }
});
