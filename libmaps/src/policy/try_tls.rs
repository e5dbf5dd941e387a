//! try_tls: shall we start TLS with this server?

use crate::table::access::Tag;
use crate::table::verdict::is_word;

use super::facts::{Facts, Session};
use super::{Flow, Policy, Ruling, Scene, rule};

/// Decides before STARTTLS as client; a refusal means "go on without".
///
/// # Errors
/// Never at present; the type is that of all rulesets.
pub fn try_tls(policy: Policy<'_>, session: &Session, facts: &Facts) -> Ruling {
    let scene = Scene {
        policy,
        session,
        facts,
    };
    rule(scene, |scene, trace| {
        let session = scene.session;
        let rhs = scene.look_up_host_or_default(
            trace,
            Tag::TryTls,
            &session.server_name,
            &session.server_addr,
        )?;
        let refused = rhs.is_some_and(|rhs| is_word(&rhs, "NO"));
        Ok(if refused {
            Flow::refuse(
                "5.7.1",
                &format!(
                    "550 do not try TLS with {} [{}]",
                    session.server_name, session.server_addr
                ),
            )
        } else {
            Flow::Continue
        })
    })
}
