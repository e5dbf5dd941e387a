//! VRFY, EXPN, ETRN, HELP, NOOP and VERB.

use libmaps::reply::{Reply, Status};

use libmaps::site::model::options::PrivacyFlag;

use super::attack::Counted;
use super::command::echo;
use super::rules::Offer;
use super::{Action, Question, Session, State, after, replies};

const TOPICS: [(&str, &[&str]); 15] = [
    ("HELO", &["HELO name", "Tells the server who is calling."]),
    (
        "EHLO",
        &["EHLO name", "As HELO, and asks for the list of extensions."],
    ),
    (
        "MAIL",
        &[
            "MAIL FROM:<reverse-path> [parameters]",
            "Starts a transaction.",
        ],
    ),
    (
        "RCPT",
        &[
            "RCPT TO:<forward-path> [parameters]",
            "Adds a recipient; may be repeated.",
        ],
    ),
    (
        "DATA",
        &[
            "DATA",
            "The message follows; a dot on a line of its own ends it.",
        ],
    ),
    (
        "BDAT",
        &[
            "BDAT octets [LAST]",
            "That many octets of the message follow.",
        ],
    ),
    ("RSET", &["RSET", "Forgets the transaction."]),
    ("NOOP", &["NOOP", "Does nothing."]),
    ("QUIT", &["QUIT", "Ends the session."]),
    ("HELP", &["HELP [topic]", "Shows such a text."]),
    (
        "VRFY",
        &["VRFY recipient", "Asks whether a recipient is known here."],
    ),
    ("EXPN", &["EXPN alias", "Asks who is behind an alias."]),
    (
        "ETRN",
        &[
            "ETRN [option]node",
            "Asks for the mail that is queued for a node.",
        ],
    ),
    ("AUTH", &["AUTH mechanism [initial-response]", "Logs in."]),
    ("STARTTLS", &["STARTTLS", "Switches to TLS."]),
];

impl Session {
    pub(super) fn vrfy(&mut self, argument: &[u8]) -> Action {
        let wait = self.counters.count(Counted::Verify);
        let action = if !self.offers.has(Offer::Vrfy) {
            Action::Reply(replies::cannot_vrfy())
        } else if self.helo.is_none() && self.private(PrivacyFlag::NeedVrfyHelo) {
            Action::Reply(replies::introduce_yourself())
        } else if argument.is_empty() {
            Action::Reply(replies::argument_required())
        } else {
            self.ask(State::Saying, Question::Verify(argument.into()))
        };
        after(wait, action)
    }

    pub(super) fn expn(&mut self, argument: &[u8]) -> Action {
        let wait = self.counters.count(Counted::Verify);
        let action = if !self.offers.has(Offer::Expn) {
            Action::Reply(replies::not_allowed())
        } else if self.helo.is_none() && self.private(PrivacyFlag::NeedExpnHelo) {
            Action::Reply(replies::introduce_yourself())
        } else if argument.is_empty() {
            Action::Reply(replies::argument_required())
        } else {
            self.ask(State::Saying, Question::Expand(argument.into()))
        };
        after(wait, action)
    }

    pub(super) fn etrn(&mut self, argument: &[u8]) -> Action {
        let wait = self.counters.count(Counted::Etrn);
        let action = if !self.offers.has(Offer::Etrn) {
            Action::Reply(replies::not_allowed())
        } else if argument.is_empty() {
            Action::Reply(replies::parameter_required())
        } else if let Some(queue) = argument.strip_prefix(b"#") {
            let text = format!("Queue {} unknown", echo(queue));
            Action::Reply(replies::say(459, (4, 5, 4), text))
        } else {
            self.ask(State::Saying, Question::RunQueue(argument.into()))
        };
        after(wait, action)
    }

    pub(super) fn noop(&mut self) -> Action {
        after(self.idle_talk(), Action::Reply(replies::ok()))
    }

    fn idle_talk(&mut self) -> std::time::Duration {
        let allowance = self.rules.max_noop;
        self.counters.count(Counted::Noop { allowance })
    }

    pub(super) fn verb(&mut self) -> Action {
        let wait = self.counters.count(Counted::Verify);
        let reply = if self.offers.has(Offer::Verb) {
            replies::say(250, (2, 0, 0), "Verbose mode")
        } else {
            replies::say(502, (5, 7, 0), "Verbose unavailable")
        };
        after(wait, Action::Reply(reply))
    }

    pub(super) fn help(&mut self, argument: &[u8]) -> Action {
        let wait = self.idle_talk();
        let topic = echo(argument).to_ascii_uppercase();
        let mut lines: Vec<String> = if topic.is_empty() || topic == "SMTP" {
            let names: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
            vec![
                format!("This is smtpd version {}", env!("CARGO_PKG_VERSION")),
                format!("Topics: {}", names.join(" ")),
                "For more say \"HELP topic\".".into(),
            ]
        } else if let Some((_, text)) = TOPICS.iter().find(|(name, _)| *name == topic) {
            text.iter().map(|line| (*line).into()).collect()
        } else {
            let text = format!("HELP topic \"{}\" unknown", topic.to_ascii_lowercase());
            return after(wait, Action::Reply(replies::say(504, (5, 3, 0), text)));
        };
        lines.push("End of HELP info".into());
        let reply = Reply {
            code: 214,
            status: Some(Status::new(2, 0, 0)),
            lines,
        };
        after(wait, Action::Reply(reply))
    }
}
