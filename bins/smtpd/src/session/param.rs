//! The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), RET, ENVID,
//! NOTIFY and ORCPT (RFC 3461), AUTH (RFC 4954), BY (RFC 2852), SMTPUTF8 (RFC 6531).

use libmaps::reply::{Reply, Status};

use super::command::echo;
use super::rules::{Offer, Offers};

/// What a delivery report holds of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its headers.
    Headers,
}

/// The declared kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum BodyKind {
    /// Seven-bit lines.
    SevenBit,
    /// Eight-bit lines.
    EightBitMime,
}

/// What shall happen when the DELIVERBY time runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ByMode {
    /// The sender is notified, delivery goes on.
    Notify,
    /// The message goes back.
    Return,
}

/// The parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// Declared size in octets.
    pub size_octets: u64,
    /// Declared kind of text.
    pub body: Option<BodyKind>,
    /// What reports hold.
    pub ret: Option<Ret>,
    /// The sender's own name for this envelope, as xtext.
    pub envid: Option<Box<str>>,
    /// Who the client says submitted the message, xtext decoded; `<>` is empty.
    pub auth: Option<Box<[u8]>>,
    /// Seconds and mode of DELIVERBY.
    pub by: Option<(i64, ByMode)>,
    /// Whether addresses and headers may be UTF-8.
    pub smtputf8: Option<Utf8Asked>,
}

/// SMTPUTF8 was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8Asked;

/// When a report is wanted for a recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Notify {
    /// At delivery.
    pub success: bool,
    /// At failure.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

impl Notify {
    /// NOTIFY=NEVER.
    pub const NEVER: Notify = Notify {
        success: false,
        failure: false,
        delay: false,
    };
}

/// The parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// NOTIFY; `None` where it was not given.
    pub notify: Option<Notify>,
    /// ORCPT as it stands, `type;xtext`.
    pub orcpt: Option<Box<str>>,
}

/// One `KEY` or `KEY=value`.
struct Param<'a> {
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

/// Splits parameters as sendmail does: a key is letters, digits and hyphens; a value
/// ends at a blank, a control octet or another `=`.
fn split(mut text: &[u8]) -> Vec<Param<'_>> {
    let mut params = Vec::new();
    while !text.trim_ascii_start().is_empty() {
        text = text.trim_ascii_start();
        let key_end = position(text, |c| !(c.is_ascii_alphanumeric() || c == b'-'));
        let (key, mut rest) = halves(text, key_end);
        let mut value = None;
        if let Some(after) = rest.strip_prefix(b"=") {
            let end = position(after, |c| c == b' ' || c == b'=' || c.is_ascii_control());
            let (this, tail) = halves(after, end);
            value = Some(this);
            rest = tail;
        }
        params.push(Param { key, value });
        text = rest.split_first().map_or(&b""[..], |(_, tail)| tail);
        if params.len() > 64 {
            break;
        }
    }
    params
}

fn position(text: &[u8], stop: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|c| stop(*c)).unwrap_or(text.len())
}

fn halves(text: &[u8], at: usize) -> (&[u8], &[u8]) {
    text.split_at_checked(at).unwrap_or((text, b""))
}

/// Longest ENVID as xtext, in octets (RFC 3461 section 4.4).
pub const MAX_ENVID_OCTETS: usize = 100;
/// Longest ORCPT, in octets (RFC 3461 section 4.2).
pub const MAX_ORCPT_OCTETS: usize = 500;

/// Reads the parameters of MAIL.
///
/// # Errors
/// The reply to the first that is wrong.
pub(super) fn mail(text: &[u8], offers: Offers, by_min: i64) -> Result<MailParams, Reply> {
    let mut got = MailParams::default();
    for Param { key, value } in split(text) {
        let need = |name: &str| {
            value.ok_or_else(|| bad(501, (5, 5, 2), format!("{name} requires a value")))
        };
        match key.to_ascii_lowercase().as_slice() {
            b"size" => got.size_octets = size(need("SIZE")?)?,
            b"body" => got.body = Some(body(need("BODY")?)?),
            b"envid" => {
                dsn_allowed(offers, "ENVID")?;
                let word = within(need("ENVID")?, "ENVID", MAX_ENVID_OCTETS)?;
                let text = xtext(word, "ENVID")?;
                once(got.envid.is_some(), "ENVID")?;
                got.envid = Some(text.into());
            }
            b"ret" => {
                dsn_allowed(offers, "RET")?;
                let word = need("RET")?;
                once(got.ret.is_some(), "RET")?;
                got.ret = Some(ret(word)?);
            }
            b"auth" => {
                let word = need("AUTH=")?;
                once(got.auth.is_some(), "AUTH")?;
                xtext(word, "AUTH")?;
                got.auth = Some(if word == b"<>" {
                    Box::default()
                } else {
                    decode_xtext(word).into()
                });
            }
            b"by" if offers.has(Offer::DeliverBy) => got.by = Some(by(need("BY=")?, by_min)?),
            b"smtputf8" if offers.has(Offer::SmtpUtf8) && value.is_none() => {
                got.smtputf8 = Some(Utf8Asked);
            }
            _ => return Err(unrecognized(key)),
        }
    }
    Ok(got)
}

/// Reads the parameters of RCPT.
///
/// # Errors
/// The reply to the first that is wrong.
pub(super) fn rcpt(text: &[u8], offers: Offers) -> Result<RcptParams, Reply> {
    let mut got = RcptParams::default();
    for Param { key, value } in split(text) {
        let need = |name: &str| {
            value.ok_or_else(|| bad(501, (5, 5, 2), format!("{name} requires a value")))
        };
        match key.to_ascii_lowercase().as_slice() {
            b"notify" => {
                dsn_allowed(offers, "NOTIFY")?;
                got.notify = Some(notify(need("NOTIFY")?)?);
            }
            b"orcpt" => {
                dsn_allowed(offers, "ORCPT")?;
                let word = within(need("ORCPT")?, "ORCPT", MAX_ORCPT_OCTETS)?;
                let text = xtext(word, "ORCPT")?;
                if !text.contains(';') {
                    return Err(syntax("ORCPT"));
                }
                once(got.orcpt.is_some(), "ORCPT")?;
                got.orcpt = Some(text.into());
            }
            _ => return Err(unrecognized(key)),
        }
    }
    Ok(got)
}

fn size(value: &[u8]) -> Result<u64, Reply> {
    if value.first() == Some(&b'-') {
        return Err(bad(552, (5, 2, 3), "Message size invalid"));
    }
    let digits = halves(value, position(value, |c| !c.is_ascii_digit())).0;
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match text.parse::<i64>() {
        Ok(octets) => Ok(octets.unsigned_abs()),
        Err(_) if text.is_empty() => Ok(0),
        Err(_) => Err(bad(552, (5, 2, 3), "Message size exceeds maximum value")),
    }
}

fn body(value: &[u8]) -> Result<BodyKind, Reply> {
    if value.eq_ignore_ascii_case(b"8bitmime") {
        Ok(BodyKind::EightBitMime)
    } else if value.eq_ignore_ascii_case(b"7bit") {
        Ok(BodyKind::SevenBit)
    } else {
        Err(bad(
            501,
            (5, 5, 4),
            format!("Unknown BODY type {}", echo(value)),
        ))
    }
}

fn ret(value: &[u8]) -> Result<Ret, Reply> {
    if value.eq_ignore_ascii_case(b"full") {
        Ok(Ret::Full)
    } else if value.eq_ignore_ascii_case(b"hdrs") {
        Ok(Ret::Headers)
    } else {
        Err(bad(
            501,
            (5, 5, 2),
            format!("Bad argument \"{}\" to RET", echo(value)),
        ))
    }
}

fn notify(value: &[u8]) -> Result<Notify, Reply> {
    let mut got = Notify::default();
    if value.eq_ignore_ascii_case(b"never") {
        return Ok(got);
    }
    for word in value.split(|c| *c == b',') {
        match word.to_ascii_lowercase().as_slice() {
            b"success" => got.success = true,
            b"failure" => got.failure = true,
            b"delay" => got.delay = true,
            _ => {
                let text = format!("Bad argument \"{}\"  to NOTIFY", echo(word));
                return Err(bad(501, (5, 5, 4), text));
            }
        }
    }
    Ok(got)
}

/// `seconds;mode`, with a trace letter that is accepted and ignored.
fn by(value: &[u8], min: i64) -> Result<(i64, ByMode), Reply> {
    let sign = usize::from(matches!(value.first(), Some(b'-' | b'+')));
    let tail = value.get(sign..).unwrap_or_default();
    let end = sign + position(tail, |c| !c.is_ascii_digit());
    let (number, rest) = halves(value, end);
    let Some(mode) = rest.strip_prefix(b";") else {
        return Err(bad(501, (5, 5, 2), "BY= missing ';'"));
    };
    let seconds = std::str::from_utf8(number)
        .ok()
        .and_then(|n| n.parse::<i64>().ok())
        .filter(|n| n.abs() <= 999_999_999)
        .ok_or_else(|| bad(501, (5, 5, 2), format!("BY={} out of range", echo(value))))?;
    match mode.first().map(u8::to_ascii_lowercase) {
        Some(b'r') if seconds <= 0 => Err(bad(501, (5, 5, 4), "mode R requires BY time > 0")),
        Some(b'r') if seconds < min => {
            let text = format!("time {seconds} less than {min}");
            Err(bad(555, (5, 5, 2), text))
        }
        Some(b'r') => Ok((seconds, ByMode::Return)),
        Some(b'n') => Ok((seconds, ByMode::Notify)),
        _ => {
            // An octet of the client's: a line end with the eighth bit set is none in a reply.
            let letter = echo(mode.get(..1).unwrap_or(b"?"));
            Err(bad(501, (5, 5, 2), format!("illegal by-mode '{letter}'")))
        }
    }
}

/// Reads xtext (RFC 3461 section 4): printable ASCII without `=`, and `+` only before two
/// hexadecimal digits. As with sendmail they may be small letters; the next host gets the
/// capitals that the RFC has.
fn xtext(value: &[u8], key: &str) -> Result<String, Reply> {
    let mut out = String::with_capacity(value.len());
    let mut digits = 0;
    for octet in value.iter().copied() {
        let octet = match digits {
            0 if octet == b'+' => {
                digits = 2;
                octet
            }
            0 if octet == b'=' || !octet.is_ascii_graphic() => return Err(syntax(key)),
            0 => octet,
            _ if octet.is_ascii_hexdigit() => {
                digits -= 1;
                octet.to_ascii_uppercase()
            }
            _ => return Err(syntax(key)),
        };
        out.push(char::from(octet));
    }
    match digits {
        0 => Ok(out),
        _ => Err(syntax(key)),
    }
}

/// A value that is no longer than that: the lines of the next host may be no longer (RFC 3461
/// section 4).
fn within<'a>(value: &'a [u8], key: &str, most: usize) -> Result<&'a [u8], Reply> {
    match value.len() <= most {
        true => Ok(value),
        false => {
            let text = format!("{key} parameter value is longer than {most} characters");
            Err(bad(501, (5, 5, 4), text))
        }
    }
}

/// Decodes xtext that was checked before.
fn decode_xtext(value: &[u8]) -> Vec<u8> {
    let digit = |c: Option<&u8>| char::from(*c.unwrap_or(&b'0')).to_digit(16).unwrap_or(0);
    let mut out = Vec::with_capacity(value.len());
    let mut octets = value.iter();
    while let Some(&octet) = octets.next() {
        if octet == b'+' {
            let (high, low) = (digit(octets.next()), digit(octets.next()));
            out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
        } else {
            out.push(octet);
        }
    }
    out
}

fn once(seen: bool, key: &str) -> Result<(), Reply> {
    if seen {
        return Err(bad(501, (5, 5, 0), format!("Duplicate {key} parameter")));
    }
    Ok(())
}

fn dsn_allowed(offers: Offers, key: &str) -> Result<(), Reply> {
    if offers.has(Offer::Dsn) {
        return Ok(());
    }
    let text = format!("Sorry, {key} not supported, we do not allow DSN");
    Err(bad(504, (5, 7, 0), text))
}

fn syntax(key: &str) -> Reply {
    bad(
        501,
        (5, 5, 4),
        format!("Syntax error in {key} parameter value"),
    )
}

fn unrecognized(key: &[u8]) -> Reply {
    bad(
        555,
        (5, 5, 4),
        format!("{} parameter unrecognized", echo(key)),
    )
}

fn bad(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Reply {
    Reply::new(code, Some(Status::new(class, subject, detail)), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_octet_of_a_by_mode_makes_a_line_of_its_own() {
        for octet in 0..=u8::MAX {
            let value = [b"1;", [octet].as_slice()].concat();
            if let Err(reply) = by(&value, 0) {
                let text = reply.to_string();
                assert!(
                    !text.trim_end().chars().any(|c| c.is_control() && c != '\t'),
                    "{text:?}"
                );
            }
        }
        assert!(by(b"1;", 0).is_err());
    }

    #[test]
    fn xtext_takes_small_digits_and_passes_on_capitals() {
        for (value, want) in [
            ("q+3dx+2B", Some("q+3Dx+2B")),
            ("rfc822;a+2bb@d", Some("rfc822;a+2Bb@d")),
            ("plain", Some("plain")),
            ("", Some("")),
            ("a+3", None),
            ("a+", None),
            ("a+3gx", None),
            ("a=b", None),
            ("a b", None),
        ] {
            let found = xtext(value.as_bytes(), "ENVID").ok();
            assert_eq!(found.as_deref(), want, "{value}");
        }
    }

    #[test]
    fn orcpt_and_envid_are_no_longer_than_their_rfc_has_them() {
        let offers = Offers::of(&[Offer::Dsn]);
        let told = |refused: Option<Reply>| refused.map(|reply| reply.to_string());
        for (longer, want) in [
            (0, [None, None]),
            (
                1,
                [
                    Some("501 5.5.4 ENVID parameter value is longer than 100 characters"),
                    Some("501 5.5.4 ORCPT parameter value is longer than 500 characters"),
                ],
            ),
        ] {
            let envid = format!("ENVID={}", "y".repeat(100 + longer));
            let orcpt = format!("ORCPT=rfc822;{}", "y".repeat(493 + longer));
            let got = [
                told(mail(envid.as_bytes(), offers, 0).err()),
                told(rcpt(orcpt.as_bytes(), offers).err()),
            ];
            assert_eq!(got, want.map(|text| text.map(str::to_owned)));
        }
    }
}
