//! The transactions of one delivery: letters by what the server can take, and what its
//! answers mean for each copy.

use std::time::Duration;

use super::{After, Delivery, NO_TIME, outcome_of, remote};
use crate::clock::now_unix;
use crate::deliver::outcome::{KeepsTime, Notifies, Outcome, Remote, for_now};
use crate::queue::Origin;
use crate::relay::client::letter::{Deadline, Letter, Receiver, Utf8Needed};
use crate::relay::client::{Failure, Lasting, Stage, Verdict};
use crate::relay::exchange::Hop;
use crate::relay::link::{Event, Link, Login};
use crate::relay::mime::recoded_header;
use crate::relay::reply::{Class, Reply};
use crate::relay::text::{self, Coding};
use crate::session::BodyKind;

/// Recipients of one transaction.
const MAX_RECIPIENTS: usize = 1000;
/// Transactions on one connection for the copies of one message.
const MAX_TRANSACTIONS: usize = 2000;

impl Delivery<'_> {
    /// Sends what is open, in as many transactions as it takes.
    pub(super) async fn transactions(&mut self, hop: &Hop, link: &mut Link) -> After {
        let notifies = match link.client.offers().dsn {
            true => Notifies::Yes,
            false => Notifies::No,
        };
        for _ in 0..MAX_TRANSACTIONS {
            if self.is_late() {
                self.note_untried(NO_TIME);
                return After::Usable;
            }
            let open = self.open_copies(hop, link, notifies).await;
            if open.is_empty() {
                return After::Usable;
            }
            let (letter, header, coding) = match self.letter(&open, link).await {
                Ok(letter) => letter,
                Err(outcome) => {
                    for at in &open {
                        let remote = remote(hop, link.addr, None, notifies);
                        self.settle(*at, outcome.clone().by(remote));
                    }
                    continue;
                }
            };
            link.within(self.until.into());
            let after = self.transact(link, letter, &header, coding).await;
            let (report, after) = match after {
                Ok((report, after)) => (report, after),
                Err(outcome) => {
                    for at in &open {
                        self.settle(*at, outcome.clone());
                    }
                    return After::Gone;
                }
            };
            self.take_report(hop, link, &open, report, notifies);
            if !matches!(after, After::Usable) {
                return after;
            }
        }
        After::Usable
    }

    /// The copies of the next transaction.
    async fn open_copies(&mut self, hop: &Hop, link: &Link, notifies: Notifies) -> Vec<usize> {
        let most = match link.addr {
            _ if !self.mailer.has('m') => 1,
            Some(addr) => self
                .world
                .relay
                .most_recipients(addr)
                .unwrap_or(MAX_RECIPIENTS),
            None => MAX_RECIPIENTS,
        };
        let mut open = Vec::new();
        for at in 0..self.targets.len() {
            let is_open = self.is_open(at);
            let Some(target) = self.targets.get(at).filter(|_| is_open) else {
                continue;
            };
            let opener = self.opener(Duration::ZERO);
            match opener.judge_recipient(link, hop, &target.user.0).await {
                Ok(()) => open.push(at),
                Err(failure) => {
                    let remote = remote(hop, link.addr, None, notifies);
                    self.settle(at, outcome_of(failure).by(remote));
                }
            }
            if open.len() >= most {
                break;
            }
        }
        open
    }

    /// The envelope for this server, and how the text goes to it.
    async fn letter(
        &self,
        open: &[usize],
        link: &Link,
    ) -> Result<(Letter, Vec<u8>, Coding), Outcome> {
        let (envelope, offers) = (self.envelope, link.client.offers());
        let site = &self.world.site;
        let receivers: Vec<Receiver> = open
            .iter()
            .filter_map(|at| self.targets.get(*at))
            .map(|target| {
                let recipient = envelope.recipients.get(target.recipient);
                let recipient = recipient.filter(|_| target.owner.is_none());
                Receiver {
                    path: target.user.0.clone(),
                    notify: envelope.notify_onward(target),
                    orcpt: recipient.and_then(|r| r.orcpt.clone()),
                }
            })
            .collect();
        let sender = self.rewritten.sender.clone();
        let ascii = sender.is_ascii()
            && receivers.iter().all(|r| r.path.is_ascii())
            && self.rewritten.header.is_ascii();
        let mut header = self.rewritten.header.clone();
        let (mut coding, mut body) = (Coding::AsIs, envelope.body);
        let declared = envelope.body == Some(BodyKind::EightBitMime);
        let must_recode = declared && !offers.eight_bit && !self.mailer.has('8');
        if must_recode && self.has_eighth_bit().await? {
            body = None;
            match self.recoded() {
                Ok(recoded) => {
                    header = recoded;
                    coding = Coding::QuotedPrintable;
                }
                // The others pass it on, and so does what is our own: a notice must arrive.
                Err(outcome) if self.is_strict() && envelope.origin == Origin::Client => {
                    return Err(outcome);
                }
                Err(_) => {}
            }
        }
        let is_wide = |address: &[u8]| !address.is_ascii() && std::str::from_utf8(address).is_ok();
        let names = site.options.greeting.smtputf8
            && (is_wide(&sender) || receivers.iter().any(|r| is_wide(&r.path)));
        let utf8 = names || (envelope.smtputf8 && !ascii);
        let letter = Letter {
            sender,
            size_octets: match coding {
                Coding::AsIs => self.size_octets,
                // Nobody knows before it is done.
                Coding::QuotedPrintable => 0,
            },
            body,
            utf8: utf8.then_some(Utf8Needed),
            // It is its sender's wish, who does not get the notices of a list.
            ret: envelope.ret.filter(|_| {
                let mut copies = open.iter().filter_map(|at| self.targets.get(*at));
                copies.all(|target| target.owner.is_none())
            }),
            envid: envelope.envid.clone(),
            by: envelope.by.map(|(seconds, mode)| {
                let age = now_unix().saturating_sub(envelope.created_unix);
                Deadline {
                    left_seconds: seconds.saturating_sub_unsigned(age),
                    mode,
                }
            }),
            auth: self.author(link),
            recipients: receivers,
        };
        Ok((letter, header, coding))
    }

    /// Whether 8-bit text must not go to a host that does not take it (EightBitMode `strict`).
    fn is_strict(&self) -> bool {
        let mode = &self.world.site.options.delivery.eight_bit_mode;
        mode.starts_with(['s', 'S'])
    }

    /// AUTH=; AuthOptions `A` gives it only after a login.
    fn author(&self, link: &Link) -> Option<Vec<u8>> {
        let author = self.envelope.auth.as_ref()?;
        let only_logged_in = self.world.site.options.auth.options.has('A');
        (link.client.logged_in().is_some() || !only_logged_in).then(|| author.0.clone())
    }

    async fn has_eighth_bit(&self) -> Result<bool, Outcome> {
        let unreadable = |why: String| Outcome::deferred(why).with_status("4.3.0");
        let text = self.world.queue.text(self.envelope);
        let text = text.map_err(|e| unreadable(e.to_string()))?;
        let body_at = self.body_at;
        tokio::task::spawn_blocking(move || text::has_eighth_bit(text, body_at))
            .await
            .map_err(|e| unreadable(e.to_string()))?
            .map_err(|e| unreadable(format!("queue: {e}")))
    }

    fn recoded(&self) -> Result<Vec<u8>, Outcome> {
        let site = &self.world.site;
        let charset = &site.options.delivery.default_charset;
        let note = format!("{} id {}", site.host_name, self.envelope.id);
        recoded_header(&self.rewritten.header, charset, &note).map_err(|why| {
            let text =
                format!("8-bit text, which the next host does not take, can't be recoded: {why}");
            Outcome::failed("5.6.3", text)
        })
    }

    /// One transaction: the verdicts, and whether the connection is still of use.
    async fn transact(
        &self,
        link: &mut Link,
        letter: Letter,
        header: &[u8],
        coding: Coding,
    ) -> Result<(Vec<Verdict>, After), Outcome> {
        let timeouts = &self.world.site.options.timeouts;
        link.used();
        link.client.begin(letter);
        loop {
            match link.run(timeouts).await {
                Event::SendText => {
                    let text = match self.world.queue.text(self.envelope) {
                        Ok(text) => text,
                        Err(error) => {
                            link.client.lost("no text");
                            let _ = link.run(timeouts).await;
                            return Err(Outcome::deferred(error.to_string()).with_status("4.3.0"));
                        }
                    };
                    let blocks = text::blocks(header, text, self.body_at, coding);
                    link.send_text(blocks, self.mailer.line_octets, timeouts)
                        .await;
                }
                Event::Ready => {
                    let report = link.client.take_report().unwrap_or_default();
                    return Ok((report, After::Usable));
                }
                Event::Over(failure) => {
                    let report = link.client.take_report().unwrap_or_default();
                    let is_closing = failure.reply.as_ref().is_some_and(|r| r.code == 421);
                    let after = match is_closing && link.uses() == 1 {
                        true => After::Refused(failure),
                        false if link.client.lacks_reset() => After::Again,
                        false => After::Gone,
                    };
                    return Ok((report, after));
                }
                Event::Secure | Event::Judge => link.client.lost("not expected"),
            }
        }
    }

    fn take_report(
        &mut self,
        hop: &Hop,
        link: &Link,
        open: &[usize],
        report: Vec<Verdict>,
        notifies: Notifies,
    ) {
        let taken = |v: &Verdict| {
            !matches!(
                v,
                Verdict::Answered(Stage::Rcpt | Stage::Mail, _) | Verdict::Unfit { .. }
            )
        };
        let accepted = report.iter().filter(|v| taken(v)).count();
        for (at, verdict) in open.iter().zip(report) {
            let with = |reply: Option<&Reply>| Remote {
                keeps_time: match (self.envelope.by, link.client.offers().deliver_by) {
                    (Some(_), None) => KeepsTime::No,
                    _ => KeepsTime::Yes,
                },
                ..remote(hop, link.addr, reply, notifies)
            };
            let outcome = match verdict {
                // RFC 5321 section 4.5.3.1.10: the others go in a transaction of their own.
                Verdict::Answered(Stage::Rcpt, reply) if is_full(&reply) && accepted > 0 => {
                    // A full disk or mailbox has the same code, and says nothing of the next time.
                    if let Some(addr) = link.addr.filter(|_| says_too_many(&reply)) {
                        self.world.relay.too_many(addr, accepted);
                    }
                    // Should there be none, that is what kept them waiting, and no other host.
                    self.note(not_now(&reply), Some(with(Some(&reply))));
                    continue;
                }
                Verdict::Answered(Stage::Rcpt, reply) if is_full(&reply) => {
                    let outcome = outcome_of(not_now(&reply)).by(with(Some(&reply)));
                    self.put_off(*at, outcome);
                    continue;
                }
                Verdict::Answered(stage, reply) if reply.class() == Class::NotNow => {
                    self.put_off(*at, answered(stage, &reply).by(with(Some(&reply))));
                    continue;
                }
                // Once a login is possible again it may be taken.
                Verdict::Answered(_, reply)
                    if link.login == Login::Lacking && may_want_login(&reply) =>
                {
                    let text = format!("no login at this server: {}", reply.shown());
                    let outcome = Outcome::deferred(text).with_status("4.7.0");
                    outcome.by(with(Some(&reply)))
                }
                Verdict::Answered(stage, reply) => answered(stage, &reply).by(with(Some(&reply))),
                Verdict::Unfit { status, text } => Outcome::failed(status, text).by(with(None)),
                Verdict::Unanswered(failure) => {
                    let reply = failure.reply.clone();
                    self.note(failure, Some(with(reply.as_ref())));
                    continue;
                }
                Verdict::Uncertain(failure) => {
                    let reply = failure.reply.clone();
                    let outcome = outcome_of(Failure {
                        lasting: Lasting::Temporary,
                        ..failure
                    });
                    outcome.by(with(reply.as_ref()))
                }
            };
            self.settle(*at, outcome);
        }
    }
}

/// Whether a server takes no more recipients in this transaction: 452, or 552 that says so, which
/// is to be taken for that (RFC 5321 section 4.5.3.1.10).
fn is_full(reply: &Reply) -> bool {
    reply.code == 452 || reply.code == 552 && says_too_many(reply)
}

/// Whether 452 or 552 is about the number of recipients.
fn says_too_many(reply: &Reply) -> bool {
    let said = reply.shown().to_ascii_lowercase();
    let words = match reply.code {
        // A mailbox may have too many messages for good.
        552 => "too many recipients",
        _ => "too many",
    };
    matches!(reply.status().as_str(), "4.5.3" | "5.5.3") || said.contains(words)
}

/// It as a failure for the time being.
fn not_now(reply: &Reply) -> Failure {
    Failure {
        lasting: Lasting::Temporary,
        status: for_now(&reply.status()),
        ..Failure::of(reply.clone())
    }
}

/// Whether a refusal may be for want of a login: it says so (RFC 4954 section 6), names policy
/// (RFC 3463, x.7.x), or speaks of relaying.
fn may_want_login(reply: &Reply) -> bool {
    if reply.class() != Class::No {
        return false;
    }
    let said = reply.shown().to_ascii_lowercase();
    let speaks = |word| said.contains(word);
    matches!(reply.code, 530 | 534 | 535 | 538)
        || reply.status().starts_with("5.7.")
        || ["relay", "authent", "log in", "login"]
            .into_iter()
            .any(speaks)
}

/// What a reply means for a recipient, in sendmail's words.
fn answered(stage: Stage, reply: &Reply) -> Outcome {
    let status = match stage {
        Stage::Mail => reply.status_of_mail(),
        Stage::Rcpt | Stage::Data | Stage::Text => reply.status(),
    };
    match reply.class() {
        Class::Yes => {
            let shown = reply.shown();
            let text = shown.get(4..).unwrap_or_default().to_owned();
            Outcome {
                text,
                ..Outcome::sent().with_status(&status)
            }
        }
        Class::NotNow | Class::GoOn => Outcome::deferred(reply.shown()).with_status(&status),
        Class::No => {
            let unknown = stage == Stage::Rcpt && matches!(reply.code, 550 | 551 | 553);
            let text = match unknown {
                true => "User unknown",
                false => "Service unavailable",
            };
            Outcome::failed(&status, text)
        }
    }
}
