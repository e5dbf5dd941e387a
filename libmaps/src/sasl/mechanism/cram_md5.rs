//! CRAM-MD5 (RFC 2195), both sides.

use super::Nonce;
use super::server::{Context, Failure, Progress, about};
use crate::sasl::password::{Password, SecretBytes};
use crate::sasl::secret::CramMd5;

/// `<nonce.seconds@host>`, a msg-id (RFC 2195 section 2).
pub(super) fn challenge(nonce: &Nonce, now: u64, host: &str) -> Vec<u8> {
    format!("<{}.{now}@{host}>", nonce.as_str()).into_bytes()
}

/// `name digest`: the last blank divides, the digest is in lower-case hexadecimal.
pub(super) fn respond(
    context: &Context<'_>,
    challenge: &[u8],
    response: &[u8],
) -> Result<Progress, Failure> {
    let blank = response.iter().rposition(|b| *b == b' ');
    let Some((name, digest)) = blank.and_then(|at| response.split_at_checked(at)) else {
        return Err(Failure::malformed("expected a name, a blank and a digest"));
    };
    let digest = SecretBytes::new(digest.get(1..).unwrap_or_default().to_vec());
    let name = &context.name(name);
    let user = context.service.account(name)?;
    let found = context.accounts.secrets(&user);
    let found = found.map_err(|e| about(e.into(), name))?;
    let mut missing = "no such user";
    let states = found.map(|secrets| {
        missing = "the user has no CRAM-MD5 secret";
        (secrets.cram_md5.clone(), secrets.clear)
    });
    let (states, clear) = states.unwrap_or_default();
    // Made in any case: what there is of a user shall not show in the time.
    let password = clear.as_ref().map_or(&b"nobody's"[..], Password::expose);
    let made = CramMd5::derive(password);
    let states = states.or_else(|| clear.is_some().then_some(made));
    let known = states.is_some();
    let states = states.unwrap_or_else(CramMd5::dummy);
    let fits = states.response(challenge) == digest;
    match (known, fits) {
        (true, true) => Ok(Progress::Done(context.authorize(name, b"")?)),
        (true, false) => Err(about(Failure::rejected("incorrect digest response"), name)),
        (false, _) => Err(about(Failure::rejected(missing), name)),
    }
}

/// The client's answer.
pub(super) fn answer(authid: &[u8], password: &Password, challenge: &[u8]) -> Vec<u8> {
    let digest = CramMd5::derive(password.expose()).response(challenge);
    [authid, digest.expose()].join(&b' ')
}
