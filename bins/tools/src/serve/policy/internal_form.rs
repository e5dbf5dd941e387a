//! Addresses as Postfix tells them: in its internal form, without the quotes of SMTP.
//!
//! `"<u@here>"@there` is told as `<u@here>@there`. Read as SMTP's text that would be another
//! address, of another domain. So quotes are put back before our rules read it.

use libmaps::address::is_operator;

/// The address as SMTP has it: a local part that holds more than atoms and dots is in quotes
/// (RFC 5321 section 4.1.2). One that is in quotes already stays so.
#[must_use]
pub(super) fn quoted(text: &str) -> String {
    let whole = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'));
    let (local, domain) = match whole.unwrap_or(text).rsplit_once('@') {
        Some((local, domain)) => (local, Some(domain)),
        None => (whole.unwrap_or(text), None),
    };
    let mut out = String::with_capacity(text.len() + 2);
    if local.chars().all(is_atom_or_dot) || is_quoted(local) {
        out.push_str(local);
    } else {
        out.push('"');
        for c in local.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    if let Some(domain) = domain {
        out.push('@');
        out.push_str(domain);
    }
    out
}

/// Whether nobody can read this address in two ways: one `@`, and nothing that Postfix's
/// address rewriting (`swap_bangpath`, `allow_percent_hack`), its tables or our rules take for
/// a route, a quote or a list.
#[must_use]
pub(super) fn is_plain(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let literal = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']'));
    let of_a_host =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || !c.is_ascii();
    let plain_domain = match literal {
        Some(literal) => literal.chars().all(|c| c == ':' || of_a_host(c)),
        None => domain.chars().all(of_a_host),
    };
    let plain_local = local
        .chars()
        .all(|c| is_atom_or_dot(c) && !matches!(c, '%' | '!' | '/'));
    !local.is_empty() && !domain.is_empty() && plain_local && plain_domain
}

/// `atext` of RFC 5322 section 3.2.3 and RFC 6531, or a dot.
fn is_atom_or_dot(c: char) -> bool {
    match c {
        '.' | '!' | '%' | '+' | '/' | '^' => true,
        '"' | '\\' | ' ' => false,
        _ if c.is_control() || c.is_whitespace() => false,
        _ => u8::try_from(c).map_or(true, |octet| !octet.is_ascii() || !is_operator(octet)),
    }
}

/// Whether this is one quoted string from end to end.
fn is_quoted(local: &str) -> bool {
    let inner = local.strip_prefix('"').and_then(|l| l.strip_suffix('"'));
    // The quotes of the whole hide every octet; another quote within would show what follows,
    // or nothing at all: `"a""b"`.
    inner.is_some_and(|inner| {
        let mut escaped = false;
        let bare = inner.chars().any(|c| {
            let bare = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            bare
        });
        !bare && !escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_put_back() {
        for (told, want) in [
            ("", ""),
            ("joe", "joe"),
            ("joe+x@a.example", "joe+x@a.example"),
            ("<joe@a.example>", "joe@a.example"),
            ("a..b.@a.example", "a..b.@a.example"),
            ("grün@a.example", "grün@a.example"),
            ("a%b!c/d@a.example", "a%b!c/d@a.example"),
            ("<u@here>@there", "\"<u@here>\"@there"),
            ("a b@there", "\"a b\"@there"),
            ("a@b@there", "\"a@b\"@there"),
            ("@a:b@there", "\"@a:b\"@there"),
            ("a,b@there", "\"a,b\"@there"),
            ("x(y)@there", "\"x(y)\"@there"),
            ("a\"b\\c@there", "\"a\\\"b\\\\c\"@there"),
            ("\"a b\"@there", "\"a b\"@there"),
            ("\"a\"@b\"@there", "\"\\\"a\\\"@b\\\"\"@there"),
            (
                "\"a\"@here,\"b\"@there",
                "\"\\\"a\\\"@here,\\\"b\\\"\"@there",
            ),
            ("\"a\\\"@there", "\"\\\"a\\\\\\\"\"@there"),
        ] {
            assert_eq!(quoted(told), want, "{told}");
        }
    }

    #[test]
    fn plain_addresses_and_others() {
        for text in [
            "joe@a.example",
            "joe+x.y-z=_{}|~'`*&$#?^@a.example",
            "joe@[192.0.2.1]",
            "joe@[IPv6:2001:db8::1]",
            "grün@grün.example",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "",
            "joe",
            "@a.example",
            "joe@",
            "<joe@a.example>",
            "a@b@c",
            "a%b@c",
            "a!b@c",
            "a@b!c",
            "a@b%c",
            "a b@c",
            "a\tb@c",
            "\"a\"@c",
            "a\\b@c",
            "a(b)@c",
            "a<b@c",
            "a,b@c",
            "a;b@c",
            "a:b@c",
            "a/b@c",
            "a\u{a0}b@c",
            "a@b c",
            "a@[b]c",
            "a@b>",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
