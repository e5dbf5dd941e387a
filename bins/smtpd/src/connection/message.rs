//! Receiving a message: decode, stamp, spool, store.

use std::sync::Arc;

use libmaps::policy::rewrite::AddressRole;

use crate::clock::{Civil, now_unix};
use crate::consult::{local_form, reply};
use crate::header::{HeaderFilter, Stamp};
use crate::log::{self, Level};
use crate::macros;
use crate::queue::{Envelope, Expanded, Hold, Octets, QueuedRecipient, Spool, is_full};
use crate::session::{
    Answer, BodyDecoder, BodyStep, Fate, Introduced, LineCheck, MessageEnd, Transaction,
};

use super::{Connection, NO_MEMORY, YEAR, patience};

/// The Received header, with sendmail's macros and conditions. sendmail's own would
/// claim that sendmail wrote it.
pub(crate) const RECEIVED: &str = "$?sfrom $s $.$?_($?s$|from $.$_)\n\t$.$?{auth_type}(authenticated$?{auth_ssf} bits=${auth_ssf}$.)\n\t$.by $j (smtpd $v)$?r with $r$. id $i$?{tls_version}\n\t(version=${tls_version} cipher=${cipher} bits=${cipher_bits} verify=${verify})$.$?u\n\tfor $u; $|;\n\t$.$b";

/// A message on its way in.
pub(super) struct Incoming {
    id: Box<str>,
    filter: HeaderFilter,
    spool: Option<Spool>,
    check: LineCheck,
    failure: Option<MessageEnd>,
    octets: u64,
}

impl Incoming {
    /// What it takes of memory: its header until that is whole, and its text while it is small.
    pub(super) fn held_octets(&self) -> u64 {
        let small = self.spool.as_ref().map_or(0, Spool::small_octets);
        (self.filter.held_octets() + small) as u64
    }
}

impl Connection {
    pub(super) async fn receive_body(&mut self) -> std::io::Result<MessageEnd> {
        let mut incoming = self.incoming().await?;
        let patience = patience(self.world.site.options.timeouts.data_block);
        let (mut decoder, mut text) = (BodyDecoder::new(), Vec::new());
        self.place.begin();
        loop {
            if !self.wire.has_more() {
                match self.place.wait(patience, self.wire.fill()).await?? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    octets => self.place.received(octets),
                }
            }
            text.clear();
            let (taken, step) = decoder.push(self.wire.pending(), &mut text);
            self.wire.take(taken);
            self.take_text(&mut incoming, &text);
            if let BodyStep::End { fault } = step {
                return Ok(match (fault, incoming.failure.take()) {
                    (Some(fault), _) => {
                        self.log_fault(
                            &incoming.id,
                            "message text with a bare CR, LF or NUL refused",
                        );
                        MessageEnd::Fault(fault)
                    }
                    (None, Some(failure)) => failure,
                    (None, None) => self.store(incoming).await,
                });
            }
        }
    }

    /// Reads a chunk into the message at hand.
    pub(super) async fn receive_chunk(&mut self, octets: u64) -> std::io::Result<Answer> {
        let mut incoming = match self.chunks.take() {
            Some(incoming) => incoming,
            None => self.incoming().await?,
        };
        let mut left = octets;
        self.place.begin();
        while left > 0 {
            let here = self.piece_of(left).await?;
            let text = self.wire.pending().get(..here).unwrap_or_default().to_vec();
            self.wire.take(here);
            left -= here as u64;
            incoming.check.push(&text);
            self.take_text(&mut incoming, &text);
        }
        if let Some(failure) = incoming.failure.take() {
            return Ok(Answer::Message(failure));
        }
        self.chunks = Some(incoming);
        Ok(Answer::ChunkRead { octets })
    }

    /// How many of the `left` octets are at hand, waiting for some if there are none.
    async fn piece_of(&mut self, left: u64) -> std::io::Result<usize> {
        let patience = patience(self.world.site.options.timeouts.data_block);
        if !self.wire.has_more() {
            match self.place.wait(patience, self.wire.fill()).await?? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                octets => self.place.received(octets),
            }
        }
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        Ok(self.wire.pending().len().min(left))
    }

    /// Reads octets that nobody wants.
    pub(super) async fn discard(&mut self, octets: u64) -> std::io::Result<()> {
        let mut left = octets;
        while left > 0 {
            let here = self.piece_of(left).await?;
            self.wire.take(here);
            left -= here as u64;
        }
        Ok(())
    }

    /// Takes decoded text; after a failure it is thrown away.
    fn take_text(&self, incoming: &mut Incoming, text: &[u8]) {
        incoming.octets += text.len() as u64;
        let limit = self.world.site.options.limits.max_message_octets.0;
        if limit.is_some_and(|limit| incoming.octets > limit) && incoming.failure.is_none() {
            incoming.failure = Some(MessageEnd::TooLarge);
            incoming.spool = None;
        }
        let Some(spool) = &mut incoming.spool else {
            return;
        };
        let mut out = Vec::with_capacity(text.len());
        incoming.filter.push(text, &mut out);
        if let Err(error) = spool.push(&out) {
            let text = format!("queue: {error}");
            self.world.log.about(Level::Error, &incoming.id, &text);
            incoming.failure = Some(refused_by(&error));
            incoming.spool = None;
        }
        let held = incoming.held_octets();
        self.place.keeps(self.session.held_octets() + held);
        if held > 0 && !self.place.may_bring_more() {
            incoming.failure = Some(MessageEnd::Refused(reply(452, (4, 3, 1), NO_MEMORY)));
            incoming.spool = None;
            incoming.filter.forget();
            self.place.keeps(self.session.held_octets());
        }
    }

    /// Makes the message durable.
    pub(super) async fn store(&mut self, incoming: Incoming) -> MessageEnd {
        let Incoming {
            id,
            filter,
            spool,
            check,
            ..
        } = incoming;
        if let Some(fault) = check.finish() {
            self.log_fault(&id, "message text with a bare CR, LF or NUL refused");
            return MessageEnd::Fault(fault);
        }
        let (Some(mut spool), Some(transaction)) = (spool, self.session.transaction()) else {
            return not_now();
        };
        let mut rest = Vec::new();
        let max = self
            .world
            .site
            .options
            .limits
            .max_headers_octets
            .0
            .unwrap_or(0);
        let Ok(summary) = filter.finish(&mut rest) else {
            let text = format!("Headers too large ({max} max)");
            return MessageEnd::Refused(reply(552, (5, 6, 0), text));
        };
        if let Err(error) = spool.push(&rest) {
            let text = format!("queue: {error}");
            self.world.log.about(Level::Error, &id, &text);
            return refused_by(&error);
        }
        let mut envelope = self.envelope(&id, transaction, spool.octets());
        envelope.hops = summary.hops;
        envelope.class = summary.class;
        envelope.urgency = summary.urgency;
        if summary.wants_receipt && self.world.site.options.delivery.rrt_implies_dsn {
            envelope.ask_for_receipts();
        }
        let schedule = &self.world.schedule;
        if self.daemon.only_queues() {
            envelope.due_unix = schedule.next_run(envelope.created_unix);
        }
        envelope.rank = schedule.rank(&envelope);
        let discard = transaction.fate == Fate::Discard;
        self.log_from(&envelope, &summary.message_id, summary.class);
        if discard {
            self.world.log.about(Level::Info, &id, "discarded");
            return MessageEnd::Stored(id);
        }
        let finished = if spool.is_large() {
            tokio::task::spawn_blocking(move || spool.finish()).await
        } else {
            Ok(spool.finish())
        };
        let body = match finished {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                self.world
                    .log
                    .about(Level::Error, &id, &format!("queue: {error}"));
                return refused_by(&error);
            }
            Err(_) => return not_now(),
        };
        match self.world.queue.add(envelope, body).await {
            Ok(()) => {
                self.place.bore_fruit();
                MessageEnd::Stored(id)
            }
            Err(error) => {
                self.world
                    .log
                    .about(Level::Error, &id, &format!("queue: {error}"));
                match error.is_full() {
                    true => disk_full(),
                    false => not_now(),
                }
            }
        }
    }

    async fn incoming(&mut self) -> std::io::Result<Incoming> {
        let id = self.world.queue.next_id();
        let stamp = self.stamp(&id).await?;
        Ok(Incoming {
            filter: HeaderFilter::new(stamp).with_precedences(&self.world.site.precedences),
            spool: Some(self.world.queue.spool(&id)),
            check: LineCheck::default(),
            failure: None,
            octets: 0,
            id,
        })
    }

    async fn stamp(&mut self, id: &str) -> std::io::Result<Stamp> {
        let now = Civil::local(now_unix());
        let date = now.rfc5322();
        let world = Arc::clone(&self.world);
        let host = world.site.host_name.clone();
        let sender = self.sender_shown().await?;
        let received = self.received(id, &date);
        let warns = world
            .site
            .options
            .greeting
            .privacy
            .has(libmaps::site::model::options::PrivacyFlag::AuthWarnings);
        let silent = self
            .session
            .transaction()
            .is_some_and(|t| t.introduced == Introduced::No);
        let mut warnings = Vec::new();
        if warns && silent {
            let peer = self.session.peer();
            warnings.push(format!("{host}: {peer} didn't use HELO protocol"));
        }
        let max = world.site.options.limits.max_headers_octets.0.unwrap_or(0);
        Ok(Stamp {
            received,
            message_id: format!("<{}.{id}@{host}>", now.stamp()),
            date,
            from: sender,
            full_name: None,
            warnings,
            max_octets: usize::try_from(max).unwrap_or(usize::MAX),
        })
    }

    /// `$g`: the sender as a From header shows it; `None` for the null sender.
    async fn sender_shown(&mut self) -> std::io::Result<Option<String>> {
        let transaction = self.session.transaction();
        let sender = transaction.map(|t| t.sender.clone());
        let Some(path) = sender.filter(|sender| !sender.is_null()) else {
            return Ok(None);
        };
        let world = Arc::clone(&self.world);
        let snapshot = Arc::clone(self.consultant.snapshot());
        let role = AddressRole::HeaderSender;
        let asker = self.consultant.asker();
        let address = local_form(&world, asker, &snapshot, role, path.bare());
        // The client chose the name.
        let address = self.place.wait(YEAR, address).await?;
        Ok(Some(String::from_utf8_lossy(&address).into_owned()))
    }

    fn received(&self, id: &str, date: &str) -> String {
        let peer = self.session.peer();
        let client = self.consultant.client();
        let helo = match self.session.helo() {
            Some((_, name)) => name.to_owned(),
            None => peer.name.clone(),
        };
        let from = peer.to_string();
        let protocol = self.consultant.protocol(&self.session);
        let bits = client.tls.bits.to_string();
        let transaction = self.session.transaction();
        let only = transaction
            .filter(|t| t.attempted == 1)
            .and_then(|t| t.recipients.first())
            .map(|r| format!("<{}>", String::from_utf8_lossy(r.path.bare())));
        let auth_bits = client.login.as_ref().map(|l| l.bits.to_string());
        let value = |name: &str| match name {
            "s" => Some(helo.as_str()),
            "_" => Some(from.as_str()),
            "j" => Some(self.world.site.host_name.as_str()),
            "v" | "Z" => Some(env!("CARGO_PKG_VERSION")),
            "r" => Some(protocol.as_str()),
            "i" => Some(id),
            "u" => only.as_deref(),
            "b" => Some(date),
            "auth_type" => client.login.as_ref().map(|l| l.mechanism.as_str()),
            "auth_ssf" => auth_bits.as_deref(),
            "tls_version" => Some(client.tls.version.as_str()),
            "cipher" => Some(client.tls.cipher.as_str()),
            "cipher_bits" => Some(bits.as_str()),
            "verify" => Some(client.tls.verify.as_str()),
            _ => None,
        };
        macros::expand(RECEIVED, &value)
    }

    fn envelope(&self, id: &str, transaction: &Transaction, octets: u64) -> Envelope {
        let params = &transaction.params;
        let hold = match &transaction.fate {
            Fate::Quarantine(why) => Some(Hold::Quarantined(why.to_string())),
            _ => None,
        };
        Envelope {
            id: id.into(),
            created_unix: now_unix(),
            sender: Octets::from(transaction.sender.bare()),
            size_octets: octets,
            body: params.body,
            ret: params.ret,
            envid: params.envid.clone(),
            by: params.by,
            auth: self.consultant.trusted_author().map(Octets::from),
            smtputf8: params.smtputf8.is_some(),
            departure: self.departure.clone(),
            daemon_flags: self.consultant.client().daemon_flags.clone(),
            relay: self.session.peer().to_string(),
            protocol: self.consultant.protocol(&self.session),
            hold,
            recipients: transaction
                .recipients
                .iter()
                .map(|r| QueuedRecipient {
                    address: Octets::from(r.path.bare()),
                    notify: r.params.notify,
                    orcpt: r.params.orcpt.clone(),
                    expanded: Expanded::No,
                    last: String::new(),
                    names: self.consultant.judged_by(&r.path).to_vec(),
                })
                .collect(),
            ..Envelope::default()
        }
    }

    fn log_from(&self, envelope: &Envelope, message_id: &str, class: i32) {
        let text = format!(
            "from=<{}>, size={}, class={class}, nrcpts={}, msgid={}, proto={}, daemon={}, relay={}",
            log::sender(&envelope.sender.shown()),
            envelope.size_octets,
            envelope.recipients.len(),
            log::message_id(message_id),
            envelope.protocol,
            self.consultant.daemon_name(),
            envelope.relay
        );
        self.world.log.about(Level::Info, &envelope.id, &text);
    }

    fn log_fault(&self, id: &str, what: &str) {
        let text = format!("{what}, relay={}", self.session.peer());
        self.world.log.about(Level::Warning, id, &text);
    }
}

/// What a client is told when the system refuses: where something else than the disk is
/// lacking, df(1) would say nothing about it.
fn refused_by(error: &std::io::Error) -> MessageEnd {
    match is_full(error) {
        true => disk_full(),
        false => not_now(),
    }
}

fn disk_full() -> MessageEnd {
    let text = "Insufficient disk space; try again later";
    MessageEnd::Refused(reply(452, (4, 3, 1), text))
}

fn not_now() -> MessageEnd {
    let text = "The message can't be stored now; try again later";
    MessageEnd::Refused(reply(451, (4, 3, 0), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_is_called_one() {
        let code = |errno| match refused_by(&std::io::Error::from_raw_os_error(errno)) {
            MessageEnd::Refused(reply) => reply.to_string(),
            other => panic!("{other:?}"),
        };
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            assert!(code(errno).starts_with("452 4.3.1 Insufficient disk"));
        }
        for errno in [libc::EMFILE, libc::ENFILE, libc::EIO, libc::EROFS] {
            assert!(code(errno).starts_with("451 4.3.0 The message"));
        }
    }
}
