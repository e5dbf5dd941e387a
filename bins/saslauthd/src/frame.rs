//! The bytes of saslauthd's protocol, without the socket.
//!
//! A request is four counted strings: login, password, service and realm, each
//! after its length as 16 bits in network order. The reply is one counted
//! string that starts with `OK` or `NO`. One request and one reply pass on a
//! connection. The format is that of Cyrus SASL 2.1; later servers know a fifth
//! string, the client's address: what follows the realm is not read here, so
//! both kinds of client are served.

use zeroize::{Zeroize, Zeroizing};

use crate::answer::Answer;

/// The longest field that is taken, in octets.
pub const FIELD_LIMIT_OCTETS: usize = 256;

/// The longest request of a client: four fields with their lengths, in octets.
pub const REQUEST_LIMIT_OCTETS: usize = 4 * (2 + FIELD_LIMIT_OCTETS);

/// A field of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who asks to be let in.
    Login,
    /// The secret.
    Password,
    /// The service, such as `smtp`; PAM takes its rules from the file of this name.
    Service,
    /// The user space; may be empty.
    Realm,
}

const FIELDS: [Field; 4] = [Field::Login, Field::Password, Field::Service, Field::Realm];

impl Field {
    /// The word for the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Field::Login => "login",
            Field::Password => "password",
            Field::Service => "service",
            Field::Realm => "realm",
        }
    }
}

/// Who sends requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// A client of the socket.
    #[default]
    Client,
    /// A server, to its worker: a login may have its realm behind it.
    Server,
}

impl Sender {
    /// The most octets of a field.
    fn limit(self, field: Field) -> usize {
        match (self, field) {
            (Sender::Server, Field::Login) => 2 * FIELD_LIMIT_OCTETS + 1,
            _ => FIELD_LIMIT_OCTETS,
        }
    }

    /// The most octets of a request.
    #[must_use]
    pub fn request_limit(self) -> usize {
        match self {
            Sender::Server => REQUEST_LIMIT_OCTETS + 1 + FIELD_LIMIT_OCTETS,
            Sender::Client => REQUEST_LIMIT_OCTETS,
        }
    }
}

/// A whole request. `Debug` doesn't show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks; never empty, no NUL.
    pub login: Vec<u8>,
    /// The secret; never empty, no NUL.
    pub password: Zeroizing<Vec<u8>>,
    /// The service's name; no NUL.
    pub service: Vec<u8>,
    /// The realm; no NUL.
    pub realm: Vec<u8>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("login", &self.login.escape_ascii().to_string())
            .field("password", &"<secret>")
            .field("service", &self.service.escape_ascii().to_string())
            .field("realm", &self.realm.escape_ascii().to_string())
            .finish()
    }
}

impl Request {
    /// The request as it goes over the wire.
    ///
    /// # Errors
    /// The field that is longer than a length of 16 bits can tell.
    pub fn to_frame(&self) -> Result<Zeroizing<Vec<u8>>, Field> {
        let fields = [&self.login, &*self.password, &self.service, &self.realm];
        let octets = fields.iter().map(|f| f.len().saturating_add(2)).sum();
        let mut frame = Zeroizing::new(Vec::with_capacity(octets));
        for (field, value) in FIELDS.into_iter().zip(fields) {
            let count = u16::try_from(value.len()).map_err(|_| field)?;
            frame.extend_from_slice(&count.to_be_bytes());
            frame.extend_from_slice(value);
        }
        Ok(frame)
    }
}

/// Why a request is answered without asking a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A count over [`FIELD_LIMIT_OCTETS`].
    TooLong(Field),
    /// No login or no password.
    Empty(Field),
    /// A NUL inside a field: where C programs would cut it, nobody knows what was meant.
    Nul(Field),
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Refusal::TooLong(_) => Answer::refused(""),
            Refusal::Empty(_) | Refusal::Nul(_) => Answer::refused(&self.to_string()),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::TooLong(field) => write!(
                f,
                "{} exceeded MAX_REQ_LEN: {FIELD_LIMIT_OCTETS}",
                field.name()
            ),
            Refusal::Empty(field) => write!(f, "NULL {} received", field.name()),
            Refusal::Nul(field) => write!(f, "NUL in {} received", field.name()),
        }
    }
}

/// What is known after some octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More octets are wanted; at the end of input there is no reply.
    More,
    /// The request is whole. What follows is to be read and dropped.
    Request(Request),
    /// The request is bad. What follows is to be read and dropped.
    Refused(Refusal),
}

/// Reads one request, in pieces of any size.
///
/// Holds at most [`Sender::request_limit`] octets, and nothing at all before the first
/// octet. What it held is wiped.
#[derive(Default)]
pub struct RequestReader {
    held: Zeroizing<Vec<u8>>,
    from: Sender,
}

impl std::fmt::Debug for RequestReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestReader({} octets)", self.held.len())
    }
}

impl RequestReader {
    /// A reader of what these send.
    #[must_use]
    pub fn new(from: Sender) -> Self {
        RequestReader {
            held: Zeroizing::default(),
            from,
        }
    }

    /// Takes the next octets. Call no more once it said something else than
    /// [`Progress::More`].
    pub fn push(&mut self, input: &[u8]) -> Progress {
        if self.held.capacity() == 0 {
            // All at once: a vector that grows leaves copies of a password behind.
            self.held.reserve_exact(self.from.request_limit());
        }
        let room = self.from.request_limit().saturating_sub(self.held.len());
        let taken = input.get(..room).unwrap_or(input);
        self.held.extend_from_slice(taken);
        let progress = read(&self.held, self.from);
        if progress != Progress::More {
            self.held.zeroize();
        }
        progress
    }
}

fn read(octets: &[u8], from: Sender) -> Progress {
    let mut rest = octets;
    let mut values: [&[u8]; 4] = [&[]; 4];
    for (field, value) in FIELDS.into_iter().zip(values.iter_mut()) {
        let Some((count, after)) = rest.split_first_chunk::<2>() else {
            return Progress::More;
        };
        let count = usize::from(u16::from_be_bytes(*count));
        if count > from.limit(field) {
            return Progress::Refused(Refusal::TooLong(field));
        }
        let Some((found, after)) = after.split_at_checked(count) else {
            return Progress::More;
        };
        *value = found;
        rest = after;
    }
    let [login, password, service, realm] = values;
    for (field, value) in [(Field::Login, login), (Field::Password, password)] {
        // A C program sees a field that starts with NUL as an empty one.
        if value.first().is_none_or(|b| *b == 0) {
            return Progress::Refused(Refusal::Empty(field));
        }
    }
    for (field, value) in FIELDS.into_iter().zip(values) {
        if value.contains(&0) {
            return Progress::Refused(Refusal::Nul(field));
        }
    }
    Progress::Request(Request {
        login: login.to_vec(),
        password: Zeroizing::new(password.to_vec()),
        service: service.to_vec(),
        realm: realm.to_vec(),
    })
}

/// A reply that is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// The input ended before the count.
    NoCount,
    /// A count under two: neither `OK` nor `NO`.
    TooShort,
    /// The input ended before all that was counted.
    Cut,
}

/// Reads one reply, in pieces of any size; the client's side.
#[derive(Debug, Default)]
pub struct ReplyReader {
    held: Vec<u8>,
}

/// The longest reply: a count and what it can count, in octets.
const REPLY_LIMIT_OCTETS: usize = 2 + u16::MAX as usize;

impl ReplyReader {
    /// Takes the next octets. `Ok(None)`: more are wanted.
    ///
    /// # Errors
    /// [`BadReply::TooShort`] as soon as that is known.
    pub fn push(&mut self, input: &[u8]) -> Result<Option<Answer>, BadReply> {
        let room = REPLY_LIMIT_OCTETS.saturating_sub(self.held.len());
        self.held
            .extend_from_slice(input.get(..room).unwrap_or(input));
        let Some((count, after)) = self.held.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let count = usize::from(u16::from_be_bytes(*count));
        if count < 2 {
            return Err(BadReply::TooShort);
        }
        Ok(after.get(..count).map(Answer::from_reply))
    }

    /// Whether something stands behind the reply.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.held
            .split_first_chunk::<2>()
            .is_some_and(|(count, after)| after.len() > usize::from(u16::from_be_bytes(*count)))
    }

    /// What is wrong when the input ends here.
    #[must_use]
    pub fn end(&self) -> BadReply {
        if self.held.len() < 2 {
            BadReply::NoCount
        } else {
            BadReply::Cut
        }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
