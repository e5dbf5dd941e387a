//! The parts of a notice that are about recipients: one for people, one for programs.

use super::line::{Action, Actual, Line};
use super::text::{Charset, address, from_xtext, one_line, status};
use super::write::Clerk;
use super::{Audience, Kind, Notice};
use crate::queue::{Envelope, Octets};

/// Lines that warn of a warning.
const WARNING: &str = "    **********************************************\r
    **      THIS IS A WARNING MESSAGE ONLY      **\r
    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **\r
    **********************************************\r
\r
";

/// The part for people, in sendmail's layout, without anything around it.
pub(super) fn for_people(
    clerk: &Clerk<'_>,
    notice: &Notice,
    envelope: &Envelope,
    charset: Charset,
) -> String {
    let mut out = String::new();
    let mut put = |line: &str| {
        out.push_str(line);
        out.push_str("\r\n");
    };
    if notice.kind == Kind::Delay {
        put(WARNING.trim_end_matches("\r\n"));
        put("");
    }
    let arrived = (clerk.date)(envelope.created_unix);
    put(&format!("The original message was received at {arrived}"));
    put(&format!("from {}", one_line(&envelope.relay, charset)));
    if notice.audience == Audience::Postmaster {
        put(&format!("with id {}", envelope.id));
    }
    put("");
    if !clerk.error_header.is_empty() {
        for line in clerk.error_header.lines() {
            put(&one_line(line, charset));
        }
        put("");
    }
    for (action, title) in [
        (Action::Failed, "permanent fatal errors"),
        (Action::Delayed, "transient non-fatal errors"),
    ] {
        let lines = of(notice, &[action]);
        if lines.is_empty() {
            continue;
        }
        put(&format!(
            "   ----- The following addresses had {title} -----"
        ));
        for line in lines {
            put(&shown(line, charset));
            if let Some(reason) = reason(line) {
                put(&format!("    (reason: {})", one_line(reason, charset)));
            }
            if let Some(Actual::Member(_) | Actual::Unix(_)) = &line.actual {
                let from = address(&line.recipient, charset);
                put(&format!("    (expanded from: <{from}>)"));
            }
        }
        put("");
    }
    let well = of(
        notice,
        &[Action::Delivered, Action::Relayed, Action::Expanded],
    );
    if !well.is_empty() {
        put("   ----- The following addresses had successful delivery notifications -----");
        for line in well {
            let what = match line.action {
                Action::Relayed => "relayed to non-DSN-aware mailer",
                Action::Expanded => "expanded by mailing list",
                _ => "successfully delivered to mailbox",
            };
            put(&format!("{}  ({what})", shown(line, charset)));
        }
        put("");
    }
    put("   ----- Transcript of session follows -----");
    for line in &notice.lines {
        transcript(line, charset).iter().for_each(|text| put(text));
    }
    for remark in clerk.remarks {
        put(&one_line(remark, charset));
    }
    out
}

fn of<'a>(notice: &'a Notice, actions: &[Action]) -> Vec<&'a Line> {
    let lines = notice.lines.iter();
    lines
        .filter(|line| actions.contains(&line.action))
        .collect()
}

/// The address as people see it: as the sender gave it, or what it led to.
fn shown(line: &Line, charset: Charset) -> String {
    match &line.actual {
        Some(Actual::Member(member)) => address(member, charset),
        // As a list has it, or what is left of that.
        Some(Actual::Unix(what)) if what.0.starts_with(b"\"") => address(what, charset),
        Some(Actual::Unix(what)) => format!("\"{}\"", address(what, charset)),
        Some(Actual::Recipient(_)) | None => format!("<{}>", address(&line.recipient, charset)),
    }
}

/// The words of the host that refused, or our own.
fn reason(line: &Line) -> Option<&str> {
    let reply = line.remote.as_ref().map(|r| r.reply.as_str());
    let text = reply.filter(|r| !r.is_empty()).unwrap_or(&line.text);
    (!text.is_empty()).then_some(text)
}

fn transcript(line: &Line, charset: Charset) -> Vec<String> {
    let who = shown(line, charset);
    let text = one_line(&line.text, charset);
    let mut all = Vec::new();
    if let Some(remote) = line.remote.as_ref().filter(|r| !r.reply.is_empty())
        && matches!(line.action, Action::Failed | Action::Delayed)
    {
        let host = one_line(&remote.host, charset);
        all.push(format!("... while talking to {host}:"));
        all.push(format!("<<< {}", one_line(&remote.reply, charset)));
    }
    all.push(match line.action {
        Action::Failed if begins_with_code(&text) => format!("{who}... {text}"),
        Action::Failed => {
            let status = status(&line.status, "5.0.0");
            let code = match status {
                "5.1.1" | "5.7.1" => 550,
                s if s.starts_with('4') => 451,
                _ => 554,
            };
            // A text of the expansion names the address itself, and before it file and line.
            let marks = ['<', '>', '"'];
            let plain = who.trim_matches(marks);
            let named = |before: &str| before.trim_matches(marks).ends_with(plain);
            match text.split_once("... ") {
                Some((before, _)) if before.contains(": line ") && named(before) => {
                    format!("{code} {status} {text}")
                }
                Some((before, why)) if named(before) => {
                    format!("{code} {status} {who}... {why}")
                }
                _ => format!("{code} {status} {who}... {text}"),
            }
        }
        Action::Delayed => format!("{who}... Deferred: {text}"),
        Action::Delivered => format!("{who}... Successfully delivered"),
        Action::Relayed => format!("{who}... relayed; expect no further notifications"),
        Action::Expanded => format!("{who}... expanded to multiple addresses"),
    });
    all
}

fn begins_with_code(text: &str) -> bool {
    let code = text.get(..3).unwrap_or_default();
    code.len() == 3 && code.bytes().all(|c| c.is_ascii_digit())
}

/// The part for programs: message/delivery-status (RFC 3464), or its UTF-8 form
/// (RFC 6533).
pub(super) fn for_programs(
    clerk: &Clerk<'_>,
    notice: &Notice,
    envelope: &Envelope,
    charset: Charset,
) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\r\n"));
    if let Some(envid) = &envelope.envid {
        field("Original-Envelope-Id", &from_xtext(envid));
    }
    field("Reporting-MTA", &format!("dns; {}", clerk.host));
    if let Some(client) = envelope.relay.split_whitespace().next() {
        // The name alone: of a message from this host the user stands before it.
        let name = client.rsplit_once('@').map_or(client, |(_, name)| name);
        let client = one_line(name, Charset::Ascii);
        field("Received-From-MTA", &format!("DNS; {client}"));
    }
    field("Arrival-Date", &(clerk.date)(envelope.created_unix));
    if let Some(by_unix) = clerk.by_unix {
        field("Deliver-By-Date", &(clerk.date)(by_unix));
    }
    for line in &notice.lines {
        out.push_str("\r\n");
        recipient(clerk, line, envelope, charset, &mut out);
    }
    out
}

fn recipient(
    clerk: &Clerk<'_>,
    line: &Line,
    envelope: &Envelope,
    charset: Charset,
    out: &mut String,
) {
    let mut field = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\r\n"));
    if let Some(orcpt) = &line.orcpt {
        field("Original-Recipient", &from_xtext(orcpt));
    }
    let full = qualified(&line.recipient, clerk.host);
    field("Final-Recipient", &typed(&full, "RFC822", charset));
    if clerk.actual == super::write::ShowActual::Yes {
        match &line.actual {
            Some(Actual::Recipient(actual) | Actual::Member(actual)) => {
                let actual = qualified(actual, clerk.host);
                field("X-Actual-Recipient", &typed(&actual, "rfc822", charset));
            }
            Some(Actual::Unix(what)) => {
                let what = address(what, Charset::Ascii);
                field("X-Actual-Recipient", &format!("X-Unix; {what}"));
            }
            None => {}
        }
    }
    let (action, other) = match line.action {
        Action::Failed => ("failed", "5.0.0"),
        Action::Delayed => ("delayed", "4.0.0"),
        Action::Delivered => ("delivered (to mailbox)", "2.1.5"),
        Action::Relayed => ("relayed (to non-DSN-aware mailer)", "2.0.0"),
        Action::Expanded => ("expanded (to multi-recipient alias)", "2.0.0"),
    };
    field("Action", action);
    let status = match (line.action, status(&line.status, other)) {
        (Action::Delivered, "2.0.0") => "2.1.5",
        (_, status) => status,
    };
    field("Status", status);
    if let Some(remote) = &line.remote {
        let host = one_line(&remote.host, Charset::Ascii);
        if !host.is_empty() {
            field("Remote-MTA", &format!("DNS; {host}"));
        }
        if !remote.reply.is_empty() {
            let reply = one_line(&remote.reply, charset);
            field("Diagnostic-Code", &format!("SMTP; {reply}"));
        }
    }
    let told = line.remote.as_ref().is_some_and(|r| !r.reply.is_empty());
    if !told && !line.text.is_empty() && matches!(line.action, Action::Failed | Action::Delayed) {
        let text = one_line(&line.text, charset);
        let kind = if begins_with_code(&text) {
            "SMTP"
        } else {
            "X-Unix"
        };
        field("Diagnostic-Code", &format!("{kind}; {text}"));
    }
    if envelope.tried_unix > 0 {
        field("Last-Attempt-Date", &(clerk.date)(envelope.tried_unix));
    }
    if let (Action::Delayed, Some(until_unix)) = (line.action, line.until_unix) {
        field("Will-Retry-Until", &(clerk.date)(until_unix));
    }
}

/// The address with our name where it has no domain.
fn qualified(address: &Octets, host: &str) -> Octets {
    if address.0.contains(&b'@') {
        address.clone()
    } else {
        Octets([address.0.as_slice(), b"@", host.as_bytes()].concat())
    }
}

/// With its type: `utf-8` where it needs that and may (RFC 6533 section 3).
fn typed(octets: &Octets, ascii_type: &str, charset: Charset) -> String {
    let text = address(octets, charset);
    if text.is_ascii() {
        format!("{ascii_type}; {text}")
    } else {
        format!("utf-8; {text}")
    }
}
