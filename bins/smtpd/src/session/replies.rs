//! The session's fixed replies, one list with their status codes.

use libmaps::reply::{Reply, Status};

use super::peer::Peer;

/// A reply of one line.
pub(super) fn say(
    code: u16,
    (class, subject, detail): (u8, u16, u16),
    text: impl Into<String>,
) -> Reply {
    Reply::new(code, Some(Status::new(class, subject, detail)), text)
}

pub(super) fn closing(host: &str) -> Reply {
    say(221, (2, 0, 0), format!("{host} closing connection"))
}

pub(super) fn ok() -> Reply {
    say(250, (2, 0, 0), "OK")
}

pub(super) fn reset() -> Reply {
    say(250, (2, 0, 0), "Reset state")
}

pub(super) fn unrecognized(line: &str) -> Reply {
    say(500, (5, 5, 1), format!("Command unrecognized: \"{line}\""))
}

pub(super) fn unimplemented(line: &str) -> Reply {
    say(
        502,
        (5, 5, 1),
        format!("Command not implemented: \"{line}\""),
    )
}

pub(super) fn too_many_bad_commands(host: &str) -> Reply {
    say(
        421,
        (4, 7, 0),
        format!("{host} Too many bad commands; closing connection"),
    )
}

/// FEATURE(check_other).
pub(super) fn bad_command() -> Reply {
    say(421, (4, 7, 0), "bad command".to_owned())
}

pub(super) fn too_many_failed_logins(host: &str) -> Reply {
    say(
        421,
        (4, 7, 0),
        format!("{host} Too many failed logins; closing connection"),
    )
}

pub(super) fn open_proxy(host: &str, peer: &Peer) -> Reply {
    say(
        421,
        (4, 7, 0),
        format!("{host} Rejecting open proxy {peer}"),
    )
}

pub(super) fn command_too_long(host: &str, peer: &Peer) -> Reply {
    let text = format!("{host} Command too long, possible attack {peer}");
    say(421, (4, 7, 0), text)
}

pub(super) fn protocol_error() -> Reply {
    say(554, (5, 5, 0), "SMTP protocol error")
}

pub(super) fn command_rejected() -> Reply {
    say(550, (5, 0, 0), "Command rejected")
}

pub(super) fn not_allowed() -> Reply {
    say(502, (5, 7, 0), "Sorry, we do not allow this operation")
}

pub(super) fn polite() -> Reply {
    say(503, (5, 0, 0), "Polite people say HELO first")
}

pub(super) fn introduce_yourself() -> Reply {
    say(503, (5, 0, 0), "I demand that you introduce yourself first")
}

pub(super) fn sender_already() -> Reply {
    say(503, (5, 5, 0), "Sender already specified")
}

pub(super) fn need_mail_before_rcpt() -> Reply {
    say(503, (5, 0, 0), "Need MAIL before RCPT")
}

pub(super) fn need_mail() -> Reply {
    say(503, (5, 0, 0), "Need MAIL command")
}

pub(super) fn need_rcpt() -> Reply {
    say(503, (5, 0, 0), "Need RCPT (recipient)")
}

pub(super) fn authentication_required() -> Reply {
    say(530, (5, 7, 0), "Authentication required")
}

pub(super) fn too_many_recipients() -> Reply {
    say(452, (4, 5, 3), "Too many recipients")
}

pub(super) fn size_declared(limit: u64) -> Reply {
    let text = format!("Message size exceeds fixed maximum message size ({limit})");
    say(552, (5, 2, 3), text)
}

pub(super) fn size_exceeded(limit: u64) -> Reply {
    say(
        552,
        (5, 2, 3),
        format!("Message exceeds maximum fixed size ({limit})"),
    )
}

pub(super) fn start_data() -> Reply {
    // RFC 5321 section 4.2.1: 354 has no enhanced status code.
    Reply::new(354, None, "End data with <CR><LF>.<CR><LF>")
}

pub(super) fn bare_cr() -> Reply {
    say(554, (5, 6, 0), "Bare carriage return (CR) not allowed")
}

pub(super) fn bare_lf() -> Reply {
    say(554, (5, 6, 0), "Bare linefeed (LF) not allowed")
}

pub(super) fn nul_in_text() -> Reply {
    say(554, (5, 6, 0), "NUL octet not allowed in a message")
}

pub(super) fn cannot_vrfy() -> Reply {
    let text = "Cannot VRFY user; try RCPT to attempt delivery (or try finger)";
    say(252, (2, 5, 2), text)
}

pub(super) fn argument_required() -> Reply {
    say(501, (5, 5, 2), "Argument required")
}

pub(super) fn parameter_required() -> Reply {
    say(500, (5, 5, 2), "Parameter required")
}

pub(super) fn no_parameters() -> Reply {
    say(501, (5, 5, 2), "Syntax error (no parameters allowed)")
}

pub(super) fn nul_in_command() -> Reply {
    say(501, (5, 5, 2), "Syntax error (NUL octet not allowed)")
}

pub(super) fn tls_ready() -> Reply {
    say(220, (2, 0, 0), "Ready to start TLS")
}

pub(super) fn tls_overrun(host: &str) -> Reply {
    let text = format!("{host} Nothing may follow STARTTLS; closing connection");
    say(503, (5, 5, 0), text)
}

pub(super) fn tls_unavailable() -> Reply {
    say(454, (4, 3, 3), "TLS not available after start")
}

pub(super) fn tls_not_offered() -> Reply {
    say(503, (5, 5, 0), "TLS not available")
}

pub(super) fn tls_in_transaction() -> Reply {
    say(
        503,
        (5, 5, 0),
        "TLS not permitted during a mail transaction",
    )
}

pub(super) fn auth_unavailable() -> Reply {
    say(503, (5, 3, 3), "AUTH not available")
}

pub(super) fn auth_twice() -> Reply {
    say(503, (5, 5, 0), "Already Authenticated")
}

pub(super) fn auth_in_transaction() -> Reply {
    say(
        503,
        (5, 5, 0),
        "AUTH not permitted during a mail transaction",
    )
}

pub(super) fn auth_no_mechanism() -> Reply {
    say(501, (5, 5, 2), "AUTH mechanism must be specified")
}

pub(super) fn auth_unknown(mechanism: &str) -> Reply {
    say(
        504,
        (5, 3, 3),
        format!("AUTH mechanism {mechanism} not available"),
    )
}

/// The original repeats what it could not decode; that may be half a password.
pub(super) fn auth_bad_base64() -> Reply {
    say(501, (5, 5, 4), "cannot decode AUTH parameter")
}

pub(super) fn auth_aborted() -> Reply {
    say(501, (5, 0, 0), "AUTH aborted")
}

pub(super) fn auth_failed() -> Reply {
    say(535, (5, 7, 0), "authentication failed")
}

pub(super) fn auth_temporary() -> Reply {
    say(454, (4, 7, 0), "Temporary authentication failure")
}

pub(super) fn auth_too_long() -> Reply {
    say(500, (5, 5, 6), "Authentication exchange line is too long")
}

pub(super) fn auth_ok() -> Reply {
    say(235, (2, 0, 0), "OK Authenticated")
}
