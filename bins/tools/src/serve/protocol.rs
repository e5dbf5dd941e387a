//! A protocol as one question: what is to be said to these octets?

/// What is offered at an address. Does no I/O but what an answer needs.
pub trait Service: Send + Sync {
    /// What the log calls it.
    fn name(&self) -> &'static str;

    /// A client has come.
    fn begin(&self) -> Box<dyn Conversation + '_>;

    /// What a client hears for whom there is no place.
    fn too_many(&self) -> Vec<u8>;
}

/// What is said to one client.
pub trait Conversation {
    /// What is said before the client has said anything.
    fn greet(&mut self, _out: &mut Vec<u8>) {}

    /// Answers the first request in `octets`, appending to `out`.
    fn turn(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Turn;
}

/// What came of the octets of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// They are no whole request yet.
    More,
    /// A request was answered; it had so many of them.
    Answered {
        /// Octets of the request.
        used: usize,
    },
    /// They are no request; what was said is the last word.
    Closed,
}
