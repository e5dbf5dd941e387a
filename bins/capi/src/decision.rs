//! `maps_decision`: what is to happen, and why.

use std::ffi::{CString, c_char};

use libmaps::policy::Outcome;
use tools::serve::policy::{Judgement, MOMENTS};

use crate::border::{Status, borrowed, c_text, clear, free, guarded, hand_out, usage};
use crate::session::CSession;
use crate::site::CSite;

/// `enum maps_action`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `MAPS_ACCEPT`.
    Accept = 0,
    /// `MAPS_REFUSE`.
    Refuse = 1,
    /// `MAPS_DISCARD`.
    Discard = 2,
    /// `MAPS_QUARANTINE`.
    Quarantine = 3,
}

/// `maps_decision`.
pub struct CDecision {
    action: Action,
    reply: CString,
    trace: CString,
}

impl From<Judgement> for CDecision {
    fn from(judgement: Judgement) -> Self {
        let (action, reply) = match &judgement.outcome {
            Outcome::Accept | Outcome::Delayed => (Action::Accept, String::new()),
            Outcome::Refuse(refusal) => (Action::Refuse, refusal.reply().to_string()),
            Outcome::Discard => (Action::Discard, String::new()),
            Outcome::Quarantine(why) => (Action::Quarantine, why.to_string()),
        };
        CDecision {
            action,
            reply: c_text(reply.trim_end()),
            trace: c_text(&judgement.trace),
        }
    }
}

/// `maps_decide`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decide(
    site: *const CSite,
    session: *const CSession,
    decision: *mut *mut CDecision,
) -> Status {
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

/// `maps_decision_action`. No decision lets nobody in.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_action(decision: *const CDecision) -> Action {
    // SAFETY: the caller's promise.
    unsafe { borrowed(decision, "decision") }.map_or(Action::Refuse, |decision| decision.action)
}

/// `maps_decision_reply`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_reply(decision: *const CDecision) -> *const c_char {
    // SAFETY: the caller's promise; the text lives as long as the decision.
    let decision = unsafe { borrowed(decision, "decision") };
    decision.map_or(c"451 4.3.0 No decision".as_ptr(), |decision| {
        decision.reply.as_ptr()
    })
}

/// `maps_decision_trace`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_trace(decision: *const CDecision) -> *const c_char {
    // SAFETY: the caller's promise; the text lives as long as the decision.
    let decision = unsafe { borrowed(decision, "decision") };
    decision.map_or(c"".as_ptr(), |decision| decision.trace.as_ptr())
}

/// `maps_decision_free`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_decision_free(decision: *mut CDecision) {
    // SAFETY: the caller's promise.
    unsafe { free(decision) };
}
