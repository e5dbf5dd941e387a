//! Reverse-paths and forward-paths as they stand on a command line.
//!
//! This finds where an address ends and whether its brackets, quotes and
//! comments balance; what the address means is decided by policy. Everything
//! within `<>`, quotes or a comment may hold blanks, as in sendmail.

use std::sync::Arc;

use libmaps::address::in_brackets;
use libmaps::reply::{Reply, Status};

use super::command::echo;

/// Longest word within an address, in octets.
const MAX_TOKEN_OCTETS: usize = 256;

/// An address as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    written: Arc<[u8]>,
    /// What stands in the innermost angle brackets, or all of it where there are none, in brackets.
    asked: Arc<[u8]>,
}

impl Path {
    /// The path with its angle brackets, if it had any.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// What stands in the innermost angle brackets, or all of it where there are none, within
    /// brackets; those in quotes and comments are none. This is what policy is asked about.
    #[must_use]
    pub fn asked(&self) -> &[u8] {
        &self.asked
    }

    /// The same without the brackets, which is what the queue holds; empty for the null sender.
    /// It is the one reading of the path, so that no address is checked and another one used.
    #[must_use]
    pub fn bare(&self) -> &[u8] {
        let inner = self.asked.strip_prefix(b"<");
        inner
            .and_then(|inner| inner.strip_suffix(b">"))
            .unwrap_or_default()
    }

    /// Whether this is the null sender, `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.bare().is_empty()
    }

    /// The path as it is kept: what a client writes around an address, which may be much, is
    /// forgotten.
    #[must_use]
    pub fn kept(self) -> Self {
        Path {
            written: Arc::clone(&self.asked),
            ..self
        }
    }

    /// The path as replies show it.
    #[must_use]
    pub fn shown(&self) -> String {
        echo(&self.written)
    }
}

impl From<&[u8]> for Path {
    fn from(octets: &[u8]) -> Self {
        let (mut from, mut to) = (0, octets.len());
        let mut hidden = Hidden::default();
        for (at, &octet) in octets.iter().enumerate() {
            match octet {
                _ if hidden.has(octet) => {}
                b'<' => from = at + 1,
                b'>' => {
                    to = at;
                    break;
                }
                _ => {}
            }
        }
        Path {
            written: octets.into(),
            asked: in_brackets(octets.get(from..to).unwrap_or_default().trim_ascii()).into(),
        }
    }
}

/// Reads `FROM:<path> parameters` or `TO:<path> parameters`.
///
/// # Errors
/// The reply that says what is wrong.
pub(super) fn parse<'a>(argument: &'a [u8], keyword: &str) -> Result<(Path, &'a [u8]), Reply> {
    let rest = skip_keyword(argument, keyword)?;
    let end = end_of_address(rest)?;
    let (path, parameters) = rest.split_at_checked(end).unwrap_or((rest, b""));
    Ok((Path::from(path), parameters.trim_ascii()))
}

fn skip_keyword<'a>(argument: &'a [u8], keyword: &str) -> Result<&'a [u8], Reply> {
    let end = argument
        .iter()
        .position(|c| *c == b':' || c.is_ascii_whitespace())
        .unwrap_or(argument.len());
    let (word, rest) = argument.split_at_checked(end).unwrap_or((argument, b""));
    let wrong = || {
        let text = format!("Syntax error in parameters scanning \"{}\"", echo(word));
        Reply::new(501, Some(Status::new(5, 5, 2)), text)
    };
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b":").ok_or_else(wrong)?.trim_ascii();
    if rest.is_empty() || !word.eq_ignore_ascii_case(keyword.as_bytes()) {
        return Err(wrong());
    }
    Ok(rest)
}

/// What quotes, comments and backslashes take the meaning from.
#[derive(Default)]
struct Hidden {
    escaped: bool,
    quoted: bool,
    comments: u32,
}

impl Hidden {
    /// Whether the next octet is one of theirs, or belongs to them.
    fn has(&mut self, octet: u8) -> bool {
        match octet {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' if self.comments == 0 => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'(' => self.comments += 1,
            b')' if self.comments > 0 => self.comments -= 1,
            _ => return self.comments > 0,
        }
        true
    }
}

/// Where the address ends: at the first blank outside of brackets, quotes and comments.
fn end_of_address(text: &[u8]) -> Result<usize, Reply> {
    let unbalanced = |what: char| {
        let text = format!("{}... Unbalanced '{what}'", echo(text));
        Reply::new(553, Some(Status::new(5, 0, 0)), text)
    };
    let (mut angles, mut token, mut hidden) = (0u32, 0usize, Hidden::default());
    for (at, &octet) in text.iter().enumerate() {
        // An octet and the backslash before it count as one.
        token += usize::from(!hidden.escaped);
        match octet {
            _ if hidden.has(octet) => {}
            b')' => return Err(unbalanced(')')),
            b'<' => angles += 1,
            b'>' if angles == 0 => return Err(unbalanced('>')),
            b'>' => angles -= 1,
            b' ' | b'\t' if angles == 0 => return Ok(at),
            b'@' | b'.' | b',' | b';' | b':' | b'%' | b'!' | b' ' | b'\t' => token = 0,
            _ => {}
        }
        if token > MAX_TOKEN_OCTETS {
            let text = format!("{}... prescan: token too long", echo(text));
            return Err(Reply::new(553, Some(Status::new(5, 1, 0)), text));
        }
    }
    match (hidden.quoted, hidden.comments, angles) {
        (true, _, _) => Err(unbalanced('"')),
        (_, 1.., _) => Err(unbalanced('(')),
        (_, _, 1..) => Err(unbalanced('<')),
        _ => Ok(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(argument: &str) -> String {
        match parse(argument.as_bytes(), "from") {
            Ok((path, rest)) => format!(
                "{} | {} | {}",
                path.shown(),
                String::from_utf8_lossy(path.bare()),
                String::from_utf8_lossy(rest)
            ),
            Err(reply) => reply.to_string(),
        }
    }

    #[test]
    fn paths_and_what_follows() {
        let cases = [
            ("FROM:<a@b> SIZE=1", "<a@b> | a@b | SIZE=1"),
            ("from : a@b", "a@b | a@b | "),
            ("FROM:<>", "<> |  | "),
            ("FROM:<\"a b\"@c> X", "<\"a b\"@c> | \"a b\"@c | X"),
            ("FROM:<a b@c>", "<a b@c> | a b@c | "),
            ("FROM:<<a@b>>", "<<a@b>> | a@b | "),
            ("FROM:<a@b>x", "<a@b>x | a@b | "),
            ("FROM:Joe <a@b>", "Joe | Joe | <a@b>"),
            (
                "FROM",
                "501 5.5.2 Syntax error in parameters scanning \"FROM\"",
            ),
            (
                "FROM:",
                "501 5.5.2 Syntax error in parameters scanning \"FROM\"",
            ),
            (
                "TO:<a>",
                "501 5.5.2 Syntax error in parameters scanning \"TO\"",
            ),
            ("", "501 5.5.2 Syntax error in parameters scanning \"\""),
            ("FROM:<a", "553 5.0.0 <a... Unbalanced '<'"),
            ("FROM:a>", "553 5.0.0 a>... Unbalanced '>'"),
            ("FROM:<a(b>", "553 5.0.0 <a(b>... Unbalanced '('"),
            ("FROM:<a)b>", "553 5.0.0 <a)b>... Unbalanced ')'"),
            ("FROM:<a\"b>", "553 5.0.0 <a\"b>... Unbalanced '\"'"),
            ("FROM:<a\\\"b>", "<a\\\"b> | a\\\"b | "),
            // None of these may be checked as one address and delivered to another.
            ("FROM:<a@b(<c@d>)>", "<a@b(<c@d>)> | a@b(<c@d>) | "),
            ("FROM:<\"x<c@d>\"@b>", "<\"x<c@d>\"@b> | \"x<c@d>\"@b | "),
            ("FROM:<a@b><c@d>", "<a@b><c@d> | a@b | "),
            ("FROM:(<c@d>)<a@b>", "(<c@d>)<a@b> | a@b | "),
            ("FROM:a@b\\>", "a@b\\> | a@b\\> | "),
            ("FROM:<a\\<c@d>", "<a\\<c@d> | a\\<c@d | "),
        ];
        for (argument, want) in cases {
            assert_eq!(shown(argument), want, "{argument}");
        }
        assert!(shown(&format!("FROM:<{}@b>", "a".repeat(300))).contains("token too long"));
    }
}
