//! `maps_decision`: what is to happen, and why.

use std::ffi::{CString, c_char};

use libmaps::policy::Outcome;
use tools::serve::policy::{Judgement, MOMENTS};

use crate::border::{borrowed, c_text, clear, free, guarded, hand_out, maps_status, usage};
use crate::session::maps_session;
use crate::site::maps_site;

/// What is to happen to a client, a sender or a recipient.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum maps_action {
    /// Go on.
    MAPS_ACCEPT = 0,
    /// Refuse with maps_decision_reply().
    MAPS_REFUSE = 1,
    /// Say yes and drop the message.
    MAPS_DISCARD = 2,
    /// Say yes and hold the message; maps_decision_reply() says why.
    MAPS_QUARANTINE = 3,
}

/// What is to happen, and why.
pub struct maps_decision {
    action: maps_action,
    reply: CString,
    trace: CString,
}

impl From<Judgement> for maps_decision {
    fn from(judgement: Judgement) -> Self {
        let (action, reply) = match &judgement.outcome {
            Outcome::Accept | Outcome::Delayed => (maps_action::MAPS_ACCEPT, String::new()),
            Outcome::Refuse(refusal) => (maps_action::MAPS_REFUSE, refusal.reply().to_string()),
            Outcome::Discard => (maps_action::MAPS_DISCARD, String::new()),
            Outcome::Quarantine(why) => (maps_action::MAPS_QUARANTINE, why.to_string()),
        };
        maps_decision {
            action,
            reply: c_text(reply.trim_end()),
            trace: c_text(&judgement.trace),
        }
    }
}

/// Decides as sendmail's check_relay, check_mail and check_rcpt would. MAPS_ACCEPT at RCPT
/// says that the recipient is ours or that the client may relay. DNS lists are asked, which
/// may take seconds. Without a protocol_state from the list above it is MAPS_USAGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decide(
    site: *mut maps_site,
    session: *const maps_session,
    decision: *mut *mut maps_decision,
) -> maps_status {
    guarded(|| {
        // SAFETY: the caller's promises are the functions' own.
        unsafe {
            clear(decision);
            let site = borrowed(site, "site")?;
            let session = borrowed(session, "session")?;
            let moment = session.0.get("protocol_state");
            if !MOMENTS.contains(&moment) {
                // Nothing would be judged, which is not for the caller to take for a yes.
                let all = MOMENTS.join(", ");
                return Err(usage(&format!("protocol_state is none of {all}")));
            }
            let judgement = site.policy.judge(&session.0);
            hand_out(decision, judgement.into(), "decision")
        }
    })
}

/// What is to happen. A null pointer lets nobody in: MAPS_REFUSE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_action(decision: *const maps_decision) -> maps_action {
    // SAFETY: the caller's promise.
    unsafe { borrowed(decision, "decision") }
        .map_or(maps_action::MAPS_REFUSE, |decision| decision.action)
}

/// "550 5.7.1 Access denied", or why a message is held; empty for the other actions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_reply(decision: *const maps_decision) -> *const c_char {
    // SAFETY: the caller's promise; the text lives as long as the decision.
    let decision = unsafe { borrowed(decision, "decision") };
    decision.map_or(c"451 4.3.0 No decision".as_ptr(), |decision| {
        decision.reply.as_ptr()
    })
}

/// Every question that was asked and its answer, a line each. No secrets stand in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_trace(decision: *const maps_decision) -> *const c_char {
    // SAFETY: the caller's promise; the text lives as long as the decision.
    let decision = unsafe { borrowed(decision, "decision") };
    decision.map_or(c"".as_ptr(), |decision| decision.trace.as_ptr())
}

/// Frees a decision; null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_free(decision: *mut maps_decision) {
    // SAFETY: the caller's promise.
    unsafe { free(decision) };
}
