//! What makes an address no address, and when quotes may go.

use crate::policy::route::canonify::{Host, Mailbox};
use crate::policy::route::parse::Resolved;
use crate::tokens::{self, tidy, tokens};

/// What is wrong with an address, whoever it is for.
pub(super) fn syntax_error(mailbox: &Mailbox) -> Option<Resolved> {
    let local = &mailbox.local;
    let Some(host) = &mailbox.host else {
        return stray_comma(local).then(|| Resolved::refused("5.1.3", "Invalid route address"));
    };
    if is_plain_name(host) && tokens::is_plain(local) && !local.contains(&b'@') && !local.is_empty()
    {
        return None;
    }
    syntax_error_of(local, &host.dotted())
}

/// Whether the host is atoms with a dot between each two: nothing of that can be wrong.
fn is_plain_name(host: &Host) -> bool {
    let Host::Name { text, .. } = host else {
        return false;
    };
    tokens::is_plain(text)
        && text
            .split(|octet| *octet == b'.')
            .all(|label| !label.is_empty())
        && !text.contains(&b'@')
}

fn syntax_error_of(local: &[u8], host: &[u8]) -> Option<Resolved> {
    let refused = |status, text| Some(Resolved::refused(status, text));
    if local.is_empty() && !host.is_empty() {
        return refused("5.1.3", "User address required");
    }
    if host.is_empty() {
        return refused("5.1.3", "Hostname required");
    }
    let all: Vec<_> = tokens(host).collect();
    let is = |at: usize, operator: u8| all.get(at).is_some_and(|token| token.is(operator));
    let close = all.iter().position(|token| token.is(b']'));
    match close.filter(|_| is(0, b'[')) {
        // `[a]:b` and `[a],b` are routes of literals.
        Some(close) if is(close + 1, b':') || is(close + 1, b',') => {}
        Some(close) if close + 1 < all.len() => return refused("5.1.2", "Invalid address"),
        Some(_) => {}
        None if all.iter().any(|token| token.is(b':')) => {
            return refused("5.1.3", "Colon illegal in host name part");
        }
        None => {}
    }
    let double_dot = all.windows(2).any(|pair| match pair {
        [first, second] => first.is(b'.') && second.is(b'.'),
        _ => false,
    });
    if is(0, b'.') || double_dot {
        return refused("5.1.2", "Invalid host name");
    }
    if all.last().is_some_and(|token| token.is(b'@')) {
        return refused("5.1.2", "Invalid route address");
    }
    if tokens::find(local, b'@').is_some() || stray_comma(local) || stray_comma(host) {
        return refused("5.1.3", "Invalid route address");
    }
    None
}

/// A comma that no route explains.
fn stray_comma(text: &[u8]) -> bool {
    let mut all = tokens(text).peekable();
    while let Some(token) = all.next() {
        let next = all.peek();
        if token.is(b',') && !next.is_some_and(|n| n.is(b'@') || n.is(b'%') || n.is(b'!')) {
            return true;
        }
    }
    false
}

/// Takes quotes off where what is inside can stand without them (the dequote map): no blank,
/// brackets and comments in pairs.
pub(crate) fn dequote(token: &[u8]) -> Vec<u8> {
    let inner = token
        .strip_prefix(b"\"")
        .and_then(|t| t.strip_suffix(b"\""));
    let Some(inner) = inner.filter(|inner| stands_alone(inner)) else {
        return token.to_vec();
    };
    match tidy(inner) {
        Ok(text) if text.is_empty() && !inner.is_empty() => token.to_vec(),
        Ok(text) => text,
        Err(_) => token.to_vec(),
    }
}

fn stands_alone(text: &[u8]) -> bool {
    let (mut comments, mut angles, mut escaped) = (0i32, 0i32, false);
    for octet in text {
        if escaped {
            escaped = false;
            continue;
        }
        match octet {
            b'\\' => escaped = true,
            b' ' | b'\t' => return false,
            b'(' => comments += 1,
            b')' => comments -= 1,
            b'<' => angles += 1,
            b'>' => angles -= 1,
            _ => {}
        }
        if comments < 0 || angles < 0 {
            return false;
        }
    }
    comments == 0 && angles == 0 && !escaped
}

#[cfg(test)]
#[path = "syntax_tests.rs"]
mod tests;
