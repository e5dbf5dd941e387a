//! Command lines: the verb and what follows it.

/// The verbs that the session knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Helo,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Vrfy,
    Expn,
    Help,
    Noop,
    Quit,
    Etrn,
    Verbose,
    Auth,
    StartTls,
    /// TURN, SEND, SAML and SOML: known, never done.
    Unimplemented,
    /// Anything else.
    Unknown,
}

const VERBS: [(&[u8], Verb); 20] = [
    (b"helo", Verb::Helo),
    (b"ehlo", Verb::Ehlo),
    (b"mail", Verb::Mail),
    (b"rcpt", Verb::Rcpt),
    (b"data", Verb::Data),
    (b"bdat", Verb::Bdat),
    (b"rset", Verb::Rset),
    (b"vrfy", Verb::Vrfy),
    (b"expn", Verb::Expn),
    (b"help", Verb::Help),
    (b"noop", Verb::Noop),
    (b"quit", Verb::Quit),
    (b"etrn", Verb::Etrn),
    (b"verb", Verb::Verbose),
    (b"auth", Verb::Auth),
    (b"starttls", Verb::StartTls),
    (b"turn", Verb::Unimplemented),
    (b"send", Verb::Unimplemented),
    (b"saml", Verb::Unimplemented),
    (b"soml", Verb::Unimplemented),
];

/// Splits a line into its verb and its argument, blanks around both left out.
pub(super) fn split(line: &[u8]) -> (Verb, &[u8]) {
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(|c| c.is_ascii_whitespace())
        .unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let verb = VERBS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map_or(Verb::Unknown, |(_, verb)| *verb);
    (verb, rest.trim_ascii())
}

/// What follows the verb, with the blanks at its end: after a base64 text they are wrong.
pub(super) fn rest(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace);
    let rest = line.get(end.unwrap_or(line.len())..).unwrap_or_default();
    rest.trim_ascii_start()
}

/// What requests of HTTP begin with (RFC 9110 section 9, RFC 5789), and those of FTP and POP.
const FOREIGN: [&[u8]; 10] = [
    b"get", b"post", b"connect", b"user", b"put", b"head", b"delete", b"options", b"trace",
    b"patch",
];

/// Whether a line is a browser's, or an open proxy's. In the body of its request a stranger
/// may have put commands of SMTP, so nothing behind such a line is obeyed.
pub(super) fn is_foreign_protocol(line: &[u8]) -> bool {
    FOREIGN.iter().any(|word| {
        line.split_at_checked(word.len())
            .is_some_and(|(head, tail)| {
                head.eq_ignore_ascii_case(word) && tail.first().is_some_and(u8::is_ascii_whitespace)
            })
    })
}

/// Client text for a reply: control octets and the eighth bit taken off, long
/// text shortened in the middle to about 200 octets, as sendmail does.
pub fn echo(text: &[u8]) -> String {
    const MOST: usize = 203;
    if text.len() <= MOST
        && text.iter().all(|c| matches!(c, b' '..=b'~'))
        && let Ok(text) = std::str::from_utf8(text)
    {
        return text.to_owned();
    }
    let plain: String = text
        .iter()
        .map(|c| match c & 0x7f {
            b'\t' => '\t',
            c if c < 0x20 || c == 0x7f => '?',
            c => char::from(c),
        })
        .collect();
    if plain.len() <= MOST {
        return plain;
    }
    let half = (MOST - 3) / 2;
    let head: String = plain.chars().take(half).collect();
    let tail: String = plain.chars().skip(plain.len() - half).collect();
    format!("{head}...{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_comes_back() {
        assert_eq!(echo(b"a\x1b\x7f\xff\t\x80b"), "a???\t?b");
    }

    #[test]
    fn verbs_in_any_case_and_any_blanks() {
        assert_eq!(split(b" mail\tFROM:<a> "), (Verb::Mail, &b"FROM:<a>"[..]));
        assert_eq!(split(b"QUIT"), (Verb::Quit, &b""[..]));
        assert_eq!(split(b"MAILFROM:<a>").0, Verb::Unknown);
        assert_eq!(split(b"").0, Verb::Unknown);
    }

    #[test]
    fn echoes_are_bounded_and_plain() {
        assert_eq!(echo(b"j\xf6e\x01"), "jve?");
        assert_eq!(echo(&[b'a'; 4000]).len(), 203);
    }

    #[test]
    fn foreign_protocols() {
        assert!(is_foreign_protocol(b"POST / HTTP/1.1"));
        assert!(!is_foreign_protocol(b"POSTMASTER"));
        assert!(!is_foreign_protocol(b"GET"));
    }
}
