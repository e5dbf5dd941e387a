//! Addresses as the rules hold them: tokens with blanks between, the host in focus
//! brackets, `local < @ host . >`.

use libmaps::policy::route::canonify::{Canonical, Host, Mailbox};
use libmaps::policy::route::parse::Resolved;
use libmaps::tokens::tidy;

/// Operators of addresses (OperatorChars and those that are always).
const OPERATORS: &[u8] = b".:%@!^/[]+()<>,;";

/// The text as sendmail prints a workspace: a blank before each token.
#[must_use]
pub(super) fn tokens(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        out.push(' ');
        out.push(c);
        if c == '"' {
            quoted(&mut chars, &mut out);
        } else if c == '$' && chars.peek().is_some_and(|next| "|#@:".contains(*next)) {
            out.extend(chars.next());
        } else if !is_operator(c) {
            while let Some(next) = chars.next_if(|n| !n.is_whitespace() && !is_operator(*n)) {
                if next == '"' {
                    out.push(' ');
                }
                out.push(next);
                if next == '"' {
                    quoted(&mut chars, &mut out);
                    break;
                }
            }
        }
    }
    out
}

fn is_operator(c: char) -> bool {
    u8::try_from(c).is_ok_and(|octet| OPERATORS.contains(&octet))
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '\\' => out.extend(chars.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// A canonical address in focus brackets.
#[must_use]
pub(super) fn of_canonical(address: &Canonical) -> String {
    match address {
        Canonical::Null => "<@>".to_owned(),
        Canonical::List(name) => format!("{}:;<@>", text(name)),
        Canonical::Mailbox(mailbox) => of_mailbox(mailbox),
    }
}

fn of_mailbox(mailbox: &Mailbox) -> String {
    let local = text(&mailbox.local);
    match &mailbox.host {
        None => local,
        Some(Host::Here) => format!("{local}<@*LOCAL*>"),
        Some(Host::Name {
            text: host,
            canonical,
        }) => {
            let dot = if *canonical { "." } else { "" };
            format!("{local}<@{}{dot}>", text(host))
        }
    }
}

/// What ruleset 0 gives: `$# mailer $@ host $: user`.
#[must_use]
pub(super) fn of_resolved(resolved: &Resolved) -> String {
    match resolved {
        Resolved::Triple(triple) => {
            let mut out = format!("$# {}", text(&triple.mailer));
            if let Some(host) = &triple.host {
                out.push_str(&format!(" $@ {}", text(host)));
            }
            out.push_str(&format!(" $: {}", of_mailbox(&triple.user)));
            out
        }
        Resolved::Error(refusal) => {
            let at = refusal.status.as_deref().map(text).unwrap_or_default();
            error(&at, &text(&refusal.text))
        }
    }
}

/// The error mailer: `$# error $@ 5 . 7 . 1 $: "550 Access denied"`.
#[must_use]
pub(super) fn error(at: &str, why: &str) -> String {
    let at = if at.is_empty() {
        String::new()
    } else {
        format!(" $@ {at}")
    };
    let quoted = why.starts_with('"');
    let coded = why.starts_with(|c: char| c.is_ascii_digit());
    if coded && !quoted {
        format!("$# error{at} $: \"{why}\"")
    } else {
        format!("$# error{at} $: {why}")
    }
}

/// A workspace as it was typed or came from the ruleset before: with or without focus.
///
/// # Errors
/// The words about what can't be read.
pub(super) fn to_canonical(workspace: &str) -> Result<Canonical, String> {
    let joined: String = workspace.trim().to_owned();
    let tidied = |part: &str| tidy(part.as_bytes()).map_err(|e| e.to_string());
    let Some((local, rest)) = split_focus(&joined) else {
        let local = tidied(&joined)?;
        return Ok(match local.as_slice() {
            b"" => Canonical::Null,
            _ => Canonical::Mailbox(Mailbox { local, host: None }),
        });
    };
    let host: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    let local = tidied(local)?;
    if host.is_empty() && local.is_empty() {
        return Ok(Canonical::Null);
    }
    let host = match host.strip_suffix('.') {
        _ if host == "*LOCAL*" => Host::Here,
        Some(name) => Host::Name {
            text: name.as_bytes().to_vec(),
            canonical: true,
        },
        None => Host::Name {
            text: host.into_bytes(),
            canonical: false,
        },
    };
    Ok(Canonical::Mailbox(Mailbox {
        local,
        host: Some(host),
    }))
}

/// `local` and `host` of `local < @ host >`.
fn split_focus(text: &str) -> Option<(&str, &str)> {
    let (local, rest) = text.split_once('<')?;
    let rest = rest.trim_start().strip_prefix('@')?;
    let (host, _) = rest.split_once('>')?;
    Some((local.trim(), host))
}

/// What ruleset 4 (`final`) makes of a workspace: an address for the world.
#[must_use]
pub(super) fn external(workspace: &str, here: &str) -> String {
    let Some((local, host)) = split_focus(workspace) else {
        return workspace.split_whitespace().collect();
    };
    let host: String = host.chars().filter(|c| !c.is_whitespace()).collect();
    let host = if host == "*LOCAL*" {
        here
    } else {
        host.trim_end_matches('.')
    };
    let local: String = local.split_whitespace().collect();
    match (local.is_empty(), host.is_empty()) {
        (true, true) => String::new(),
        (_, true) => local,
        _ => format!("{local}@{host}"),
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces() {
        let cases = [
            ("bob@test.example", " bob @ test . example"),
            ("<a@b>", " < a @ b >"),
            (
                "host.spam.example $| 10.1.1.1",
                " host . spam . example $| 10 . 1 . 1 . 1",
            ),
            (
                "$# error $@ 5.7.1 $: \"550 Access denied\"",
                " $# error $@ 5 . 7 . 1 $: \"550 Access denied\"",
            ),
            ("\"a b\"@c", " \"a b\" @ c"),
            ("bob<@test.example.>", " bob < @ test . example . >"),
        ];
        for (text, want) in cases {
            assert_eq!(tokens(text), want);
        }
        for text in [
            "bob<@test.example.>",
            "bob<@x>",
            "bob",
            "bob<@*LOCAL*>",
            "<@>",
        ] {
            let back = of_canonical(&to_canonical(&tokens(text)).unwrap());
            assert_eq!(back, text);
        }
        assert_eq!(
            external(" bob < @ test . example . >", "mx"),
            "bob@test.example"
        );
        assert_eq!(external(" bob < @ *LOCAL* >", "mx"), "bob@mx");
        assert_eq!(external(" bob", "mx"), "bob");
    }

    proptest::proptest! {
        #[test]
        fn nothing_typed_makes_it_panic(text in "\\PC{0,40}") {
            let _ = tokens(&text);
            let _ = to_canonical(&text);
            let _ = external(&text, "mx");
        }
    }
}
