//! One transaction: MAIL, RCPT, DATA, the text, and what each recipient's fate is.
//!
//! With PIPELINING commands go out in groups that surely fit the buffers of both
//! sides, DATA at the end of the last (RFC 2920 section 3.1).

use std::collections::VecDeque;

use super::letter::{Letter, fits};
use super::{Client, Failure, Protocol, State, Step};
use crate::relay::reply::{Class, Reply};

/// Most commands of one group.
const GROUP_COMMANDS: usize = 50;
/// Octets after which a group ends.
const GROUP_OCTETS: usize = 4096;

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server said so.
    Answered(Stage, Reply),
    /// It can't be sent to this server at all.
    Unfit {
        /// Enhanced status code.
        status: &'static str,
        /// Why not.
        text: String,
    },
    /// The connection ended before there was an answer, and before the text was whole:
    /// another server may be tried.
    Unanswered(Failure),
    /// The connection ended after the final dot: the server may have the message.
    Uncertain(Failure),
}

/// At which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, before the text.
    Data,
    /// The text was sent.
    Text,
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    letter: Letter,
    verdicts: Vec<Option<Verdict>>,
    /// Replies that are to come, in order.
    expected: VecDeque<Expect>,
    /// The first recipient whose RCPT was not sent.
    next: usize,
    /// Recipients that the server took, in order.
    accepted: Vec<usize>,
    /// Whether DATA was sent, and what was said to it.
    data: Data,
    /// Set when MAIL was refused.
    refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expect {
    Mail,
    Rcpt(usize),
    Data,
    /// The answer to the text, for these recipients.
    Text(Vec<usize>),
    /// The answer to the end of a text that nobody wanted.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    Unsaid,
    Said,
    GoOn,
    Refused,
}

impl Transaction {
    fn new(letter: Letter) -> Self {
        let verdicts = letter
            .recipients
            .iter()
            .map(|r| {
                (!fits(&r.path)).then(|| Verdict::Unfit {
                    status: "5.1.3",
                    text: "an address with control characters".into(),
                })
            })
            .collect();
        Transaction {
            letter,
            verdicts,
            expected: VecDeque::new(),
            next: 0,
            accepted: Vec::new(),
            data: Data::Unsaid,
            refused: false,
        }
    }

    /// What the next reply is about.
    pub(super) fn step(&self) -> Step {
        match self.expected.front() {
            Some(Expect::Mail) => Step::Mail,
            Some(Expect::Rcpt(_)) => Step::Rcpt,
            Some(Expect::Data) => Step::Data,
            Some(Expect::Text(_) | Expect::Nothing) | None => Step::Final,
        }
    }

    /// The verdicts when the connection ends here.
    pub(super) fn abandoned(self, failure: &Failure) -> Vec<Verdict> {
        let sent: Vec<usize> = self
            .expected
            .iter()
            .flat_map(|e| match e {
                Expect::Text(all) => all.clone(),
                _ => Vec::new(),
            })
            .collect();
        let verdicts = self.verdicts.into_iter().enumerate();
        verdicts
            .map(|(at, verdict)| match verdict {
                Some(verdict) => verdict,
                None if sent.contains(&at) => Verdict::Uncertain(failure.clone()),
                None => Verdict::Unanswered(failure.clone()),
            })
            .collect()
    }

    /// Everybody without a verdict gets this one.
    fn answer_rest(&mut self, stage: Stage, reply: &Reply) {
        for verdict in self.verdicts.iter_mut().filter(|v| v.is_none()) {
            *verdict = Some(Verdict::Answered(stage, reply.clone()));
        }
    }

    fn set(&mut self, at: usize, verdict: Verdict) {
        if let Some(slot) = self.verdicts.get_mut(at) {
            *slot = Some(verdict);
        }
    }

    /// The next recipient that is still open and was not named to the server.
    fn next_open(&mut self) -> Option<usize> {
        while let Some(verdict) = self.verdicts.get(self.next) {
            if verdict.is_none() {
                return Some(self.next);
            }
            self.next += 1;
        }
        None
    }
}

impl Client {
    pub(super) fn start_transaction(&mut self, letter: Letter) {
        let limit = self.offers.size.unwrap_or(0);
        let problem = if limit > 0 && letter.size_octets > limit {
            let text = format!("Message is too large; {limit} bytes max");
            Some(("5.3.4", text))
        } else if letter.utf8.is_some() && !self.offers.utf8 {
            let text = "SMTPUTF8 required but not supported";
            Some(("5.6.7", text.to_owned()))
        } else if let Some(text) = letter
            .by
            .filter(|_| self.settings.protocol != Protocol::Lmtp)
            .and_then(|by| by.missed(&self.offers))
        {
            Some(("5.4.7", text))
        } else if !fits(&letter.sender) {
            Some(("5.1.7", "a sender with control characters".to_owned()))
        } else {
            None
        };
        self.state = State::Idle;
        if let Some((status, text)) = problem {
            let unfit = |_| Verdict::Unfit {
                status,
                text: text.clone(),
            };
            self.report = Some(letter.recipients.iter().map(unfit).collect());
            return;
        }
        let mut transaction = Transaction::new(letter);
        if transaction.next_open().is_none() {
            return self.finish(transaction);
        }
        self.dirty = true;
        transaction.letter.mail(&self.offers, &mut self.output);
        transaction.expected.push_back(Expect::Mail);
        if self.offers.pipelining {
            self.name_recipients(&mut transaction);
        }
        self.state = State::Transaction(Box::new(transaction));
    }

    /// Sends the next RCPT, or the next group, with DATA where that is the last.
    fn name_recipients(&mut self, transaction: &mut Transaction) {
        while let Some(at) = transaction.next_open() {
            if let Some(receiver) = transaction.letter.recipients.get(at) {
                receiver.rcpt(&self.offers, &mut self.output);
                transaction.expected.push_back(Expect::Rcpt(at));
            }
            transaction.next = at + 1;
            let full = transaction.expected.len() >= GROUP_COMMANDS
                || self.output.len() >= GROUP_OCTETS
                || !self.offers.pipelining;
            if full {
                break;
            }
        }
        if self.offers.pipelining
            && transaction.next_open().is_none()
            && transaction.expected.len() < GROUP_COMMANDS
        {
            self.say_data(transaction);
        }
    }

    fn say_data(&mut self, transaction: &mut Transaction) {
        self.output.extend_from_slice(b"DATA\r\n");
        transaction.expected.push_back(Expect::Data);
        transaction.data = Data::Said;
    }

    pub(super) fn on_transaction(&mut self, mut transaction: Transaction, reply: Reply) {
        let expect = transaction.expected.pop_front();
        let closing = reply.code == 421;
        match (expect, reply.class()) {
            // It is the answer to this recipient's text as well as the end.
            (Some(Expect::Text(all)), class) => {
                for at in all {
                    let verdict = match class {
                        Class::GoOn => Verdict::Uncertain(Failure::of(reply.clone())),
                        _ => Verdict::Answered(Stage::Text, reply.clone()),
                    };
                    transaction.set(at, verdict);
                }
            }
            _ if closing => {}
            (Some(Expect::Mail), Class::Yes) => {}
            (Some(Expect::Mail), Class::No | Class::NotNow) => {
                transaction.refused = true;
                transaction.answer_rest(Stage::Mail, &reply);
            }
            // Behind a refused MAIL the other answers mean nothing.
            (Some(Expect::Rcpt(_)), _) if transaction.refused => {}
            (Some(Expect::Rcpt(at)), Class::Yes) => transaction.accepted.push(at),
            (Some(Expect::Rcpt(at)), Class::No | Class::NotNow) => {
                transaction.set(at, Verdict::Answered(Stage::Rcpt, reply.clone()));
            }
            (Some(Expect::Data), Class::GoOn) => transaction.data = Data::GoOn,
            (Some(Expect::Data), Class::No | Class::NotNow) => {
                transaction.data = Data::Refused;
                transaction.answer_rest(Stage::Data, &reply);
            }
            (Some(Expect::Nothing), _) => {}
            _ => {
                // 250 to DATA, 354 to RCPT: who knows what it believes to have.
                self.state = State::Transaction(Box::new(transaction));
                return self.fail(Failure::of(reply));
            }
        }
        if closing {
            self.state = State::Transaction(Box::new(transaction));
            return self.fail(Failure::of(reply));
        }
        if transaction.expected.is_empty() {
            self.advance(transaction);
        } else {
            self.state = State::Transaction(Box::new(transaction));
        }
    }

    /// Every reply is there that was asked for.
    fn advance(&mut self, mut transaction: Transaction) {
        let open = transaction.verdicts.iter().any(Option::is_none);
        let unnamed = transaction.next_open().is_some();
        match transaction.data {
            Data::GoOn if !open => {
                // DATA was in the group and nobody is left: an empty text ends it. The text
                // itself has gone already where this is the end of a transaction.
                if transaction.accepted.is_empty() {
                    self.output.extend_from_slice(b".\r\n");
                    transaction.data = Data::Refused;
                    transaction.expected.push_back(Expect::Nothing);
                    self.state = State::Transaction(Box::new(transaction));
                } else {
                    self.dirty = false;
                    self.finish(transaction);
                }
            }
            Data::GoOn => self.state = State::Text(Box::new(transaction)),
            Data::Unsaid if unnamed => {
                self.name_recipients(&mut transaction);
                self.state = State::Transaction(Box::new(transaction));
            }
            Data::Unsaid if open => {
                self.say_data(&mut transaction);
                self.state = State::Transaction(Box::new(transaction));
            }
            Data::Unsaid | Data::Said | Data::Refused => self.finish(transaction),
        }
    }

    /// The text and its end were sent.
    pub fn text_sent(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let State::Text(mut transaction) = state else {
            self.state = state;
            return;
        };
        let accepted = &transaction.accepted;
        transaction.expected = match self.settings.protocol {
            // RFC 2033 section 4.2: a reply for each.
            Protocol::Lmtp => accepted.iter().map(|at| Expect::Text(vec![*at])).collect(),
            _ => VecDeque::from([Expect::Text(accepted.clone())]),
        };
        self.state = State::Transaction(transaction);
    }

    /// The text could not be sent to its end. What the server said meanwhile counts if it
    /// is a refusal; what it says of a message that it has not seen the end of does not.
    pub fn text_broken(&mut self, why: &str) {
        let reply = self.parser.take().ok().flatten();
        let refusal = reply.filter(|r| matches!(r.class(), Class::No | Class::NotNow));
        if let (State::Text(transaction), Some(reply)) = (&mut self.state, &refusal)
            && reply.code != 421
        {
            transaction.answer_rest(Stage::Text, reply);
        }
        match refusal {
            Some(reply) => self.fail(Failure::of(reply)),
            None => self.fail(Failure::temporary("4.4.2", why)),
        }
    }

    fn finish(&mut self, transaction: Transaction) {
        let nobody = || Failure::temporary("4.5.0", "no answer");
        let verdicts = transaction.verdicts.into_iter();
        self.report = Some(
            verdicts
                .map(|v| v.unwrap_or_else(|| Verdict::Unanswered(nobody())))
                .collect(),
        );
        self.state = State::Idle;
    }
}
