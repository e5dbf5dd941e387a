//! EXTERNAL (RFC 4422 appendix A) and ANONYMOUS (RFC 4505), the server's side.

use super::Mechanism;
use super::server::{Context, Failure, Login, Progress};

/// RFC 4505 section 2: an e-mail address or a token of at most 255 characters.
const MAX_TRACE_CHARS: usize = 255;

/// The response is the authzid, or empty.
pub(super) fn respond(context: &Context<'_>, response: &[u8]) -> Result<Progress, Failure> {
    let Some(name) = &context.channel.external else {
        return Err(Failure::rejected("TLS has verified no client certificate"));
    };
    if response.contains(&0) {
        return Err(Failure::malformed("a NUL in the authorization identity"));
    }
    Ok(Progress::Done(context.authorize(name, response)?))
}

/// The response is what the client says about itself.
pub(super) fn anonymous(response: &[u8]) -> Result<Progress, Failure> {
    let trace = std::str::from_utf8(response)
        .ok()
        .filter(|t| t.chars().count() <= MAX_TRACE_CHARS && !t.chars().any(char::is_control))
        .ok_or(Failure::malformed("trace information is no short text"))?;
    Ok(Progress::Done(Login {
        mechanism: Mechanism::Anonymous,
        authid: b"anonymous".to_vec(),
        authzid: b"anonymous".to_vec(),
        trace: Some(trace.to_owned()),
    }))
}
