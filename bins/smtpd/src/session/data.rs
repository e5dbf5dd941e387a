//! DATA and BDAT (RFC 3030), and the end of a message.

use libmaps::reply::Reply;

use super::{Action, Ahead, Answer, BodyFault, Chunk, MessageEnd, Session, State, replies};

/// Whether the message comes in chunks, and whether one of them was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunking {
    /// No BDAT so far.
    No,
    /// Chunks have come.
    Under,
    /// A chunk was refused: all that follow are, until RSET.
    Broken,
}

impl Session {
    pub(super) fn data(&mut self, ahead: Ahead) -> Action {
        if self.chunked != Chunking::No {
            let text = "DATA may not follow BDAT";
            return Action::Reply(replies::say(503, (5, 5, 1), text));
        }
        match self.nothing_to_send() {
            Some(reply) => Action::Reply(reply),
            // RFC 2920 section 3.1: DATA ends a group; what follows it at once was
            // written by somebody who did not wait for 354.
            None if ahead == Ahead::More => self.close(replies::protocol_error()),
            None => {
                self.state = State::Body;
                Action::ReadBody(replies::start_data())
            }
        }
    }

    pub(super) fn bdat(&mut self, argument: &[u8]) -> Action {
        if self.chunked == Chunking::Broken {
            let reply = replies::say(503, (5, 5, 1), "An earlier chunk was refused; send RSET");
            return self.refuse_chunk(argument, reply);
        }
        if let Some(reply) = self.nothing_to_send() {
            return self.refuse_chunk(argument, reply);
        }
        let Some((octets, last)) = chunk_size(argument) else {
            return self.close(chunk_syntax(&self.rules.hostname));
        };
        self.chunked = Chunking::Under;
        self.state = State::Chunk;
        let chunk = if last { Chunk::Last } else { Chunk::Part };
        Action::ReadChunk { octets, chunk }
    }

    /// The octets follow in any case and must not be read as commands.
    pub(super) fn refuse_chunk(&mut self, argument: &[u8], reply: Reply) -> Action {
        let Some((octets, _)) = chunk_size(argument) else {
            return self.close(chunk_syntax(&self.rules.hostname));
        };
        self.state = State::Chunk;
        let chunk = Chunk::Refused(reply);
        Action::ReadChunk { octets, chunk }
    }

    fn nothing_to_send(&self) -> Option<Reply> {
        match &self.transaction {
            None => Some(replies::need_mail()),
            Some(t) if t.recipients.is_empty() => Some(replies::need_rcpt()),
            Some(_) => None,
        }
    }

    pub(super) fn chunk_answer(&mut self, answer: Answer) -> Action {
        match answer {
            Answer::ChunkRead { octets } => {
                let text = format!("{octets} octets received");
                Action::Reply(replies::say(250, (2, 0, 0), text))
            }
            Answer::Message(end) => {
                if !matches!(end, MessageEnd::Stored(_)) {
                    self.chunked = Chunking::Broken;
                }
                self.message_end(end)
            }
            Answer::Refused(reply) => {
                if self.chunked == Chunking::Under {
                    self.chunked = Chunking::Broken;
                }
                Action::Reply(reply)
            }
            _ => self.close(replies::closing(&self.rules.hostname)),
        }
    }

    pub(super) fn message_end(&mut self, end: MessageEnd) -> Action {
        self.forget_transaction();
        match end {
            MessageEnd::Stored(id) => {
                self.counters.forget_barren();
                let text = format!("{id} Message accepted for delivery");
                Action::Reply(replies::say(250, (2, 0, 0), text))
            }
            // The text was read to its true end, so what follows is a command again.
            MessageEnd::Fault(BodyFault::BareCr) => Action::Reply(replies::bare_cr()),
            MessageEnd::Fault(BodyFault::BareLf) => Action::Reply(replies::bare_lf()),
            MessageEnd::Fault(BodyFault::Nul) => Action::Reply(replies::nul_in_text()),
            MessageEnd::TooLarge => {
                Action::Reply(replies::size_exceeded(self.rules.max_message_octets))
            }
            MessageEnd::Refused(reply) => Action::Reply(reply),
        }
    }
}

/// The size in octets and whether the chunk is the last.
fn chunk_size(argument: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(argument).ok()?;
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?;
    if !number.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let octets = number.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("last") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some((octets, last))
}

/// Without a size nobody knows where the chunk ends, so the session does.
fn chunk_syntax(host: &str) -> Reply {
    let text = format!("{host} Syntax error in BDAT; closing connection");
    replies::say(421, (4, 5, 4), text)
}
