//! trust_auth: may the one who logged in send as somebody else (AUTH= of MAIL)?

use crate::decision::Found;

use super::facts::{Facts, Session};
use super::{Flow, Policy, Ruling, Scene, rule};

/// Decides about the AUTH= parameter of MAIL (RFC 4954 section 5): only one's own name is believed.
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn trust_auth(policy: Policy<'_>, session: &Session, facts: &Facts, author: &[u8]) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        let login = scene
            .session
            .login
            .as_ref()
            .filter(|login| !login.mechanism.is_empty());
        let Some(login) = login else {
            trace.fact("login", b"", Found::Nothing);
            return Ok(Flow::refuse("5.7.1", "550 not authenticated"));
        };
        trace.fact("login", author, Found::Text(login.authid.as_str().into()));
        let bare = author
            .strip_prefix(b"<")
            .and_then(|inner| inner.strip_suffix(b">"))
            .unwrap_or(author);
        if bare.eq_ignore_ascii_case(login.authid.as_bytes()) {
            return Ok(Flow::Continue);
        }
        let shown = if login.author.is_empty() {
            String::from_utf8_lossy(bare)
        } else {
            login.author.as_str().into()
        };
        Ok(Flow::refuse(
            "5.7.1",
            &format!("550 {} not allowed to act as {shown}", login.authid),
        ))
    })
}
