//! tls_client, tls_server, tls_rcpt: is this connection good enough?
//!
//! The requirement is the RHS of a `TLS_Clt:`, `TLS_Srv:` or `TLS_Rcpt:` entry
//! (cf/README, "STARTTLS"): `VERIFY`, `VERIFY:bits`, `ENCR:bits`, with `PERM+` or
//! `TEMP+` before it and `+CN`, `+CN:name`, `+CS:subject`, `+CI:issuer`,
//! `+CITag:tag` behind, several of those with `++` between.

use crate::address::{Address, is_one_token};
use crate::decision::{Found, Trace};
use crate::rhs::Rhs;
use crate::site::Site;
use crate::table::access::{Item, Tag, With};
use crate::table::verdict::is_word;

use super::canonify::{Trouble, canon_addr};
use super::check_relay::leading_number;
use super::facts::{Facts, Session};
use super::{Flow, Halt, Outcome, Policy, Ruling, Scene, rule};

/// Decides about the client's TLS: after STARTTLS, and at each MAIL whether there is TLS or not.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn tls_client(policy: Policy<'_>, session: &Session, facts: &Facts) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, require_client)
}

/// tls_client, as other rulesets call it.
pub(super) fn require_client(scene: &Scene<'_>, trace: &mut Trace) -> Result<Flow, Halt> {
    let session = scene.session;
    let rhs = scene.look_up_host_or_default(
        trace,
        Tag::TlsClt,
        &session.client_name,
        &session.client_addr,
    )?;
    connection(scene, trace, rhs.as_ref(), &session.client_name)
}

/// Decides about the server's TLS, after STARTTLS or where the server has none.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn tls_server(policy: Policy<'_>, session: &Session, facts: &Facts) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        let session = scene.session;
        let rhs = scene.look_up_host_or_default(
            trace,
            Tag::TlsSrv,
            &session.server_name,
            &session.server_addr,
        )?;
        connection(scene, trace, rhs.as_ref(), &session.server_name)
    })
}

/// Decides whether the connection with the server is good enough for this recipient.
///
/// # Errors
/// The fact that is missing.
pub fn tls_rcpt(
    policy: Policy<'_>,
    session: &Session,
    facts: &Facts,
    recipient: &Address,
) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        let Some(access) = scene.policy.maps.access(scene.site()) else {
            return Ok(Flow::Continue);
        };
        let recipient = match canon_addr(scene, trace, recipient) {
            Ok(canonical) => canonical,
            Err(Trouble::Refused(why)) => return Ok(Flow::Stop(Outcome::Refuse(why))),
            Err(Trouble::Halt(halt)) => return Err(halt),
        };
        let local = recipient.local.as_slice();
        let rhs = match &recipient.domain {
            Some(domain) => access.search(
                trace,
                Tag::TlsRcpt,
                With::TagOnly,
                &[
                    Item::Full(local, domain),
                    Item::User(local),
                    Item::Domain(domain),
                    Item::Exact(b""),
                ],
            ),
            None => access.search(
                trace,
                Tag::TlsRcpt,
                With::TagOnly,
                &[Item::User(local), Item::Exact(b"")],
            ),
        }?;
        match rhs {
            Some(rhs) => connection(scene, trace, Some(&rhs), &scene.session.server_name),
            None => Ok(Flow::Continue),
        }
    })
}

/// Reply code and status of a failed requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Codes {
    reply: &'static str,
    status: &'static str,
}

impl Codes {
    /// Neither `PERM+` nor `TEMP+`.
    const DEFAULT: Codes = Codes {
        reply: "454",
        status: "4.7.0",
    };
    /// The same on a site with TLS_PERM_ERR.
    const DEFAULT_PERMANENT: Codes = Codes {
        reply: "554",
        status: "5.7.0",
    };
    /// `PERM+`.
    const PERMANENT: Codes = Codes {
        reply: "503",
        status: "5.7.0",
    };
    /// `TEMP+`.
    const TEMPORARY: Codes = Codes {
        reply: "403",
        status: "4.7.0",
    };

    /// What counts where an entry has neither word.
    fn default_of(site: &Site) -> Codes {
        match site.features.tls_perm_err {
            true => Codes::DEFAULT_PERMANENT,
            false => Codes::DEFAULT,
        }
    }

    fn refuse(self, text: &str) -> Flow {
        Flow::refuse(self.status, &format!("{} {text}", self.reply))
    }
}

/// A requirement on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Requirement<'a> {
    codes: Codes,
    verify: Verify,
    /// Bits, as text: what is no number counts as 0.
    bits: Option<&'a str>,
    /// What stands behind the `+`.
    more: &'a str,
}

/// Whether the peer's certificate must have been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    Required,
    Any,
}

impl<'a> Requirement<'a> {
    /// Parses an RHS. What has another form requires nothing; the rules let it pass.
    fn parse(rhs: &'a str, default: Codes) -> Option<Self> {
        let rhs = rhs.trim();
        let (codes, rest) = match rhs.split_once('+') {
            Some((word, rest)) if word.trim().eq_ignore_ascii_case("PERM") => {
                (Codes::PERMANENT, rest.trim_start())
            }
            Some((word, rest)) if word.trim().eq_ignore_ascii_case("TEMP") => {
                (Codes::TEMPORARY, rest.trim_start())
            }
            _ => (default, rhs),
        };
        let end = rest.find([':', '+']).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        let verify = match word.trim() {
            word if word.eq_ignore_ascii_case("VERIFY") => Verify::Required,
            word if word.eq_ignore_ascii_case("ENCR") => Verify::Any,
            _ => return None,
        };
        let (bits, more) = match rest.strip_prefix(':') {
            Some(rest) => {
                let (bits, more) = match rest.split_once('+') {
                    Some((_, "")) => return None,
                    Some((bits, more)) => (bits, more),
                    None => (rest, ""),
                };
                let bits = bits.trim();
                if !is_one_token(bits.as_bytes()) {
                    return None;
                }
                (Some(bits), more)
            }
            None if verify == Verify::Any => return None,
            None => match rest.strip_prefix('+') {
                Some("") => return None,
                Some(more) => (None, more),
                None if rest.is_empty() => (None, ""),
                None => return None,
            },
        };
        Some(Requirement {
            codes,
            verify,
            bits,
            more: more.trim(),
        })
    }
}

/// TLS_connection.
fn connection(
    scene: &Scene<'_>,
    trace: &mut Trace,
    rhs: Option<&Rhs>,
    other_side: &str,
) -> Result<Flow, Halt> {
    let tls = &scene.session.tls;
    let rhs = rhs.map(|rhs| String::from_utf8_lossy(rhs.as_bytes()));
    let default = Codes::default_of(scene.site());
    let requirement = rhs
        .as_deref()
        .and_then(|rhs| Requirement::parse(rhs, default));
    let is = |word: &str| tls.verify.eq_ignore_ascii_case(word);
    let broken = [
        ("SOFTWARE", "TLS handshake failed."),
        ("PROTOCOL", "STARTTLS failed."),
        ("DANE_FAIL", "DANE check failed."),
        ("CONFIG", "STARTTLS temporarily not possible."),
    ];
    if let Some((_, text)) = broken.into_iter().find(|(word, _)| is(word)) {
        verified(scene, trace);
        let codes = requirement.map_or(default, |requirement| requirement.codes);
        return Ok(codes.refuse(text));
    }
    let Some(requirement) = requirement else {
        return Ok(Flow::Continue);
    };
    verified(scene, trace);
    if requirement.verify == Verify::Required && !is("OK") && !is("TRUSTED") {
        return Ok(requirement
            .codes
            .refuse(&unverified(&tls.verify, requirement.more)));
    }
    let strict = requirement.verify == Verify::Any || requirement.bits.is_some();
    if strict || !requirement.more.is_empty() {
        let wanted = requirement.bits.unwrap_or("0");
        let bits = tls
            .bits
            .max(scene.session.login.as_ref().map_or(0, |login| login.bits));
        trace.fact(
            "bits of encryption",
            other_side.as_bytes(),
            Found::Text(bits.to_string().into()),
        );
        if i64::from(bits) < leading_number(wanted.as_bytes()) {
            return Ok(requirement
                .codes
                .refuse(&format!("encryption too weak {bits} less than {wanted}")));
        }
    }
    let mut more = requirement.more;
    while !more.is_empty() {
        let (first, rest) = match more.split_once("++") {
            Some((first, rest)) if !first.is_empty() && !rest.is_empty() => (first, rest),
            _ => (more, ""),
        };
        match extension(scene, trace, first.trim(), other_side)? {
            Check::Met => more = rest,
            Check::Unknown => return Ok(Flow::Continue),
            Check::Failed(text) => return Ok(requirement.codes.refuse(&text)),
        }
    }
    Ok(Flow::Continue)
}

fn verified(scene: &Scene<'_>, trace: &mut Trace) {
    let tls = &scene.session.tls;
    trace.fact(
        "verification of the certificate",
        tls.cert_subject.as_bytes(),
        Found::Text(tls.verify.as_str().into()),
    );
}

fn unverified(verify: &str, more: &str) -> String {
    let upper = verify.to_ascii_uppercase();
    match upper.as_str() {
        "" => "authentication required".to_owned(),
        "FAIL" => "authentication failed".to_owned(),
        "NO" => "not authenticated".to_owned(),
        "NOT" => "no authentication requested".to_owned(),
        "NONE" => "other side does not support STARTTLS".to_owned(),
        "CLEAR" => "STARTTLS disabled locally".to_owned(),
        // The rule means to name `${verify}` and names the extensions.
        _ => format!("authentication failure {more}"),
    }
}

/// What a further requirement came to.
enum Check {
    Met,
    /// None of the words: the rules then let the connection pass, whatever follows.
    Unknown,
    Failed(String),
}

/// TLS_req: one further requirement.
fn extension(
    scene: &Scene<'_>,
    trace: &mut Trace,
    text: &str,
    other_side: &str,
) -> Result<Check, Halt> {
    let tls = &scene.session.tls;
    let (word, value) = match text.split_once(':') {
        Some((word, value)) => (word.trim(), Some(value.trim())),
        None => (text, None),
    };
    let compare = |what: &str, have: &str, want: &str| {
        if have.eq_ignore_ascii_case(want) {
            Check::Met
        } else {
            Check::Failed(format!("{what} {have} does not match {want}"))
        }
    };
    Ok(match (word.to_ascii_uppercase().as_str(), value) {
        ("CN", value) => {
            let want = value.unwrap_or(other_side);
            if want.is_empty() {
                return Ok(Check::Unknown);
            }
            if scene.site().features.check_cert_altnames {
                if in_altnames(&tls.altnames, want) {
                    return Ok(Check::Met);
                }
                return Ok(compare("CN", &tls.cn_subject, other_side));
            }
            compare("CN", &tls.cn_subject, want)
        }
        ("CS", Some(want)) if !want.is_empty() => compare("Cert Subject", &tls.cert_subject, want),
        ("CI", Some(want)) if !want.is_empty() => compare("Cert Issuer", &tls.cert_issuer, want),
        ("CITAG", Some(tag)) if is_one_token(tag.as_bytes()) => {
            let Some(access) = scene.policy.maps.access(scene.site()) else {
                return Ok(Check::Unknown);
            };
            let key = format!("{tag}:{}", tls.cert_issuer);
            match access.raw(trace, key.as_bytes())? {
                None => Check::Failed(format!("Cert Issuer {} not acceptable", tls.cert_issuer)),
                Some(rhs) if is_word(&rhs, "OK") => Check::Met,
                Some(_) => Check::Unknown,
            }
        }
        _ => Check::Unknown,
    })
}

/// Whether the certificate has the name among its alternative ones, as it is or by a wildcard for its first label.
fn in_altnames(altnames: &[String], name: &str) -> bool {
    let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    altnames.iter().any(|alt| {
        alt.eq_ignore_ascii_case(name)
            || wildcard
                .as_ref()
                .is_some_and(|wildcard| alt.eq_ignore_ascii_case(wildcard))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_in_every_form() {
        for (rhs, wanted) in [
            ("VERIFY", Some((Codes::DEFAULT, Verify::Required, None, ""))),
            (
                "verify:112",
                Some((Codes::DEFAULT, Verify::Required, Some("112"), "")),
            ),
            (
                "VERIFY+CN",
                Some((Codes::DEFAULT, Verify::Required, None, "CN")),
            ),
            (
                "ENCR:128",
                Some((Codes::DEFAULT, Verify::Any, Some("128"), "")),
            ),
            (
                "ENCR:abc",
                Some((Codes::DEFAULT, Verify::Any, Some("abc"), "")),
            ),
            (
                "PERM+ENCR:128+CN:x++CI:y",
                Some((Codes::PERMANENT, Verify::Any, Some("128"), "CN:x++CI:y")),
            ),
            (
                "TEMP + VERIFY",
                Some((Codes::TEMPORARY, Verify::Required, None, "")),
            ),
            ("ENCR", None),
            ("ENCR+CN", None),
            ("VERIFY:12.8", None),
            ("VERIFY:112+", None),
            ("VERIFY+", None),
            ("PERM+OK", None),
            ("OK", None),
            ("", None),
        ] {
            let got = Requirement::parse(rhs, Codes::DEFAULT)
                .map(|r| (r.codes, r.verify, r.bits, r.more));
            assert_eq!(got, wanted, "{rhs}");
        }
    }
}
