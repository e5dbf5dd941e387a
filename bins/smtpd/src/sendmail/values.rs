//! Values of options, as sendmail reads them.

use super::args::Refusal;
use crate::drop::submission::MAX_HOPS;
use crate::session::MAX_ENVID_OCTETS;
use crate::session::{BodyKind, Notify, Ret};

/// `-B`.
pub(super) fn body(value: &[u8]) -> Result<BodyKind, Refusal> {
    match value.to_ascii_lowercase().as_slice() {
        b"7bit" => Ok(BodyKind::SevenBit),
        b"8bitmime" => Ok(BodyKind::EightBitMime),
        _ => {
            let text = format!("Illegal body type {}", String::from_utf8_lossy(value));
            Err(Refusal::usage(text))
        }
    }
}

/// `-N`.
pub(super) fn notify(value: &[u8]) -> Result<Notify, Refusal> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case(b"never") {
        return Ok(notify);
    }
    for word in value.split(|c| *c == b',') {
        match word.to_ascii_lowercase().as_slice() {
            b"success" => notify.success = true,
            b"failure" => notify.failure = true,
            b"delay" => notify.delay = true,
            _ => return Err(Refusal::usage("Invalid -N argument")),
        }
    }
    Ok(notify)
}

/// `-R`.
pub(super) fn ret(value: &[u8]) -> Result<Ret, Refusal> {
    match value.to_ascii_lowercase().as_slice() {
        b"full" => Ok(Ret::Full),
        b"hdrs" => Ok(Ret::Headers),
        _ => Err(Refusal::usage("Invalid -R value")),
    }
}

/// `-V`: an envelope id is xtext (RFC 3461 section 4).
pub(super) fn envid(value: &[u8]) -> Result<Box<str>, Refusal> {
    let graphic = value.iter().all(|c| c.is_ascii_graphic() && *c != b'=');
    let hex = |c: u8| c.is_ascii_digit() || (b'A'..=b'F').contains(&c);
    let mut pieces = value.split(|c| *c == b'+');
    pieces.next();
    let escaped = pieces.all(|piece| piece.len() > 1 && piece.iter().take(2).all(|c| hex(*c)));
    match std::str::from_utf8(value) {
        Ok(text) if graphic && escaped && !text.is_empty() && text.len() <= MAX_ENVID_OCTETS => {
            Ok(text.into())
        }
        _ => Err(Refusal::usage("Invalid syntax in -V flag")),
    }
}

/// `-h`.
pub(super) fn hops(value: &[u8]) -> Result<u32, Refusal> {
    let number = std::str::from_utf8(value).ok().and_then(|t| t.parse().ok());
    match number {
        Some(hops) if hops <= MAX_HOPS => Ok(hops),
        _ => {
            let text = format!("Bad hop count ({})", String::from_utf8_lossy(value));
            Err(Refusal::usage(text))
        }
    }
}
