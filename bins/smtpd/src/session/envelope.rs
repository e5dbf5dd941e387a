//! MAIL, RCPT and RSET.

use std::time::Duration;

use libmaps::reply::Reply;

use libmaps::site::model::options::PrivacyFlag;

use super::path::{self, Path};
use super::transaction::{Introduced, Recipient, Recipients, Transaction};
use super::{
    Action, Answer, MailParams, Question, RcptParams, Session, State, after, param, replies,
};

/// Most recipients of a message where the site does not say. A client that has more sends
/// them in another transaction (RFC 5321 section 4.5.3.1.10).
const MAX_RECIPIENTS: usize = 10_000;

impl Session {
    pub(super) fn mail(&mut self, argument: &[u8]) -> Action {
        if self.helo.is_none() && self.private(PrivacyFlag::NeedMailHelo) {
            return Action::Reply(replies::polite());
        }
        if self.transaction.is_some() {
            return Action::Reply(replies::sender_already());
        }
        if self.must_log_in() {
            return Action::Reply(replies::authentication_required());
        }
        let wait = self.counters.count_barren(self.rules.max_noop);
        let action = match self.read_mail(argument) {
            Ok((path, params)) => {
                let params = Box::new(params);
                let question = Question::Sender(path.clone(), params.clone());
                self.ask(State::Sender(path, params), question)
            }
            Err(reply) => Action::Reply(reply),
        };
        after(wait, action)
    }

    fn read_mail(&self, argument: &[u8]) -> Result<(Path, MailParams), Reply> {
        let (path, parameters) = path::parse(argument, "from")?;
        let params = param::mail(parameters, self.offers, self.rules.deliver_by_min_seconds)?;
        Ok((path, params))
    }

    pub(super) fn sender_answer(
        &mut self,
        path: Path,
        params: MailParams,
        answer: Answer,
    ) -> Action {
        let fate = match answer {
            Answer::Accepted(fate) => fate,
            Answer::Refused(reply) | Answer::Unknown(reply) => {
                return self.turned_down(&path, reply);
            }
            _ => return self.close(replies::closing(&self.rules.hostname)),
        };
        let limit = self.rules.max_message_octets;
        if limit > 0 && params.size_octets > limit {
            return Action::Reply(replies::size_declared(limit));
        }
        let text = format!("{}... Sender ok", path.shown());
        self.transaction = Some(Box::new(Transaction {
            sender: path,
            params,
            recipients: Recipients::default(),
            fate: fate.and(self.fate.clone()),
            attempted: 0,
            introduced: match self.helo {
                Some(_) => Introduced::Yes,
                None => Introduced::No,
            },
        }));
        Action::Reply(replies::say(250, (2, 1, 0), text))
    }

    pub(super) fn rcpt(&mut self, argument: &[u8]) -> Action {
        let wait = self.harvest_delay();
        after(wait, self.rcpt_now(argument))
    }

    fn rcpt_now(&mut self, argument: &[u8]) -> Action {
        let Some(transaction) = &self.transaction else {
            return Action::Reply(replies::need_mail_before_rcpt());
        };
        let most = match self.rules.max_recipients {
            0 => MAX_RECIPIENTS,
            most => most,
        };
        if transaction.recipients.len() >= most || transaction.recipients.are_too_long() {
            return Action::Reply(replies::too_many_recipients());
        }
        let read = path::parse(argument, "to").and_then(|(path, parameters)| {
            let params = param::rcpt(parameters, self.offers)?;
            if path.is_null() {
                let text = format!("{}... User address required", path.shown());
                return Err(replies::say(553, (5, 0, 0), text));
            }
            Ok((path, params))
        });
        match read {
            Ok((path, params)) => {
                let question = Question::Recipient(path.clone());
                self.ask(State::Recipient(path, params), question)
            }
            Err(reply) => Action::Reply(reply),
        }
    }

    /// BadRcptThrottle: a second for each RCPT once too many were refused.
    fn harvest_delay(&self) -> Duration {
        let most = self.rules.bad_rcpt_throttle;
        Duration::from_secs(u64::from(most > 0 && self.bad_recipients >= most))
    }

    pub(super) fn rcpt_answer(&mut self, path: Path, params: RcptParams, answer: Answer) -> Action {
        let Some(transaction) = &mut self.transaction else {
            return self.close(replies::closing(&self.rules.hostname));
        };
        let (fate, later) = match answer {
            Answer::Accepted(fate) => (fate, ""),
            Answer::AcceptedForLater(fate) => (fate, " (will queue)"),
            Answer::Unknown(reply) => {
                transaction.attempted += 1;
                self.bad_recipients = self.bad_recipients.saturating_add(1);
                return self.turned_down(&path, reply);
            }
            Answer::NoRoom(reply) => return Action::Reply(reply),
            Answer::Refused(reply) => {
                self.bad_recipients = self.bad_recipients.saturating_add(1);
                return self.turned_down(&path, reply);
            }
            _ => return self.close(replies::closing(&self.rules.hostname)),
        };
        let before = std::mem::take(&mut transaction.fate);
        transaction.fate = before.and(fate);
        transaction.attempted += 1;
        let text = format!("{}... Recipient ok{later}", path.shown());
        transaction.recipients.add(Recipient { path, params });
        Action::Reply(replies::say(250, (2, 1, 5), text))
    }

    /// A refusal by policy. 450, 550 and 553 name the address, others don't.
    fn turned_down(&self, path: &Path, mut reply: Reply) -> Action {
        if let (450 | 550 | 553, Some(first)) = (reply.code, reply.lines.first_mut()) {
            *first = format!("{}... {first}", path.shown());
        }
        Action::Reply(reply)
    }

    pub(super) fn rset(&mut self) -> Action {
        // That of a transaction was counted when it began.
        let wait = match self.transaction {
            Some(_) => Duration::ZERO,
            None => self.counters.count_barren(self.rules.max_noop),
        };
        self.forget_transaction();
        after(wait, Action::Reply(replies::reset()))
    }
}
