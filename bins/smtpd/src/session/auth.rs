//! AUTH (RFC 4954). The mechanisms themselves are the library's; here are the
//! command, the base64 and the strikes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::reply::Reply;

use super::attack::Counted;
use super::command::echo;
use super::rules::Offer;
use super::{Action, Answer, MAX_AUTH_OCTETS, Question, Secret, Session, State, after, replies};

impl Session {
    pub(super) fn auth(&mut self, argument: &[u8]) -> Action {
        if !self.offers.has(Offer::Auth) {
            return Action::Reply(replies::auth_unavailable());
        }
        if self.login.is_some() {
            return Action::Reply(replies::auth_twice());
        }
        if self.transaction.is_some() {
            return Action::Reply(replies::auth_in_transaction());
        }
        let mechanisms = u32::try_from(self.mechanisms.len()).unwrap_or(u32::MAX);
        let wait = self.counters.count(Counted::Auth { mechanisms });
        after(wait, self.auth_now(argument))
    }

    fn auth_now(&mut self, argument: &[u8]) -> Action {
        let end = argument.iter().position(u8::is_ascii_whitespace);
        let (word, rest) = argument
            .split_at_checked(end.unwrap_or(argument.len()))
            .unwrap_or((argument, b""));
        let rest = rest.trim_ascii_start();
        if word.is_empty() {
            return Action::Reply(replies::auth_no_mechanism());
        }
        if argument.len() > MAX_AUTH_OCTETS {
            return Action::Reply(replies::auth_too_long());
        }
        let mechanism = echo(word).to_ascii_uppercase();
        if !self.mechanisms.iter().any(|m| **m == *mechanism) {
            return Action::Reply(replies::auth_unknown(&echo(word)));
        }
        let initial = match rest {
            b"" => None,
            b"=" => Some(Secret(Vec::new())),
            text => match STANDARD.decode(text) {
                Ok(octets) => Some(Secret(octets)),
                Err(_) => return Action::Reply(replies::auth_bad_base64()),
            },
        };
        let mechanism = mechanism.into();
        self.ask(State::LoginAnswer, Question::Login { mechanism, initial })
    }

    /// The client's answer to a challenge.
    pub(super) fn login_line(&mut self, line: &[u8]) -> Action {
        self.state = State::Command;
        if line == b"*" {
            return Action::Reply(replies::auth_aborted());
        }
        if line.len() > MAX_AUTH_OCTETS {
            return Action::Reply(replies::auth_too_long());
        }
        match STANDARD.decode(line) {
            Ok(octets) => self.ask(State::LoginAnswer, Question::Response(Secret(octets))),
            Err(_) => Action::Reply(replies::auth_bad_base64()),
        }
    }

    pub(super) fn login_answer(&mut self, answer: Answer) -> Action {
        match answer {
            Answer::Challenge(octets) => {
                self.state = State::LoginLine;
                Action::Reply(challenge(&octets))
            }
            Answer::LoggedIn(login) => {
                self.login = Some(*login);
                self.failed_logins = 0;
                Action::Reply(replies::auth_ok())
            }
            Answer::LoginFailed => {
                self.failed_logins += 1;
                if self.failed_logins >= self.rules.auth_strikes {
                    return self.close(replies::too_many_failed_logins(&self.rules.hostname));
                }
                Action::Reply(replies::auth_failed())
            }
            Answer::LoginUnavailable => Action::Reply(replies::auth_temporary()),
            Answer::Refused(reply) => Action::Reply(reply),
            _ => self.close(replies::closing(&self.rules.hostname)),
        }
    }
}

fn challenge(octets: &[u8]) -> Reply {
    Reply::new(334, None, STANDARD.encode(octets))
}
