//! Replies of a server (RFC 5321 section 4.2): octets in, whole replies out.
//!
//! A server is a stranger: a line may have [`MAX_LINE_OCTETS`], a reply
//! [`MAX_LINES`] lines and [`MAX_REPLY_OCTETS`] octets. What goes beyond that, or
//! is no reply, ends the connection.

/// Longest line. RFC 5321 section 4.5.3.1.5 allows 512; some servers say more.
pub const MAX_LINE_OCTETS: usize = 4096;
/// Most lines of a reply.
pub const MAX_LINES: usize = 200;
/// Most octets of a reply.
pub const MAX_REPLY_OCTETS: usize = 64 * 1024;
/// Octets of the text that is kept for logs and reports.
const MAX_TEXT_OCTETS: usize = 1000;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits, 200 to 599.
    pub code: u16,
    /// The texts of its lines, for people: controls and what is not UTF-8 replaced.
    pub lines: Vec<String>,
}

/// What is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that does not start with a code.
    #[error("a line that is no reply")]
    NoReply,
    /// Lines with different codes.
    #[error("a reply with two codes")]
    TwoCodes,
    /// Too long a line.
    #[error("a reply line of more than {MAX_LINE_OCTETS} octets")]
    LongLine,
    /// Too many lines, or octets.
    #[error("a reply without end")]
    Endless,
}

impl Reply {
    /// What kind of answer it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.code {
            200..=299 => Class::Yes,
            300..=399 => Class::GoOn,
            400..=499 => Class::NotNow,
            _ => Class::No,
        }
    }

    /// Code and text in one line, of at most a thousand octets.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = self.code.to_string();
        for line in self.lines.iter().filter(|l| !l.is_empty()) {
            text.push(' ');
            text.push_str(line);
            if text.len() > MAX_TEXT_OCTETS {
                break;
            }
        }
        let mut end = text.len().min(MAX_TEXT_OCTETS);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }

    /// The text of the first line.
    #[must_use]
    pub fn first_line(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }

    /// The enhanced status code: the server's own where it fits the code (RFC 2034
    /// section 4), else one that says as much as the code about a recipient.
    #[must_use]
    pub fn status(&self) -> String {
        self.status_or(derived(self.code))
    }

    /// The same of a reply to MAIL: a code alone says nothing about recipients (sendmail's
    /// `smtpmailfrom`).
    #[must_use]
    pub fn status_of_mail(&self) -> String {
        self.status_or(match self.code {
            501 => "5.5.2",
            552 => "5.3.4",
            553 => "5.1.3",
            500.. => "5.0.0",
            code => derived(code),
        })
    }

    /// The same of a reply about the connection as a whole.
    #[must_use]
    pub fn status_of_host(&self) -> String {
        self.status_or(match self.code {
            550..=553 => "5.5.0",
            code => derived(code),
        })
    }

    fn status_or(&self, other: &str) -> String {
        let class = match self.class() {
            Class::Yes | Class::GoOn => '2',
            Class::NotNow => '4',
            Class::No => '5',
        };
        let own = self.first_line().split(' ').next().unwrap_or_default();
        match is_status(own) && own.starts_with(class) {
            true => own.to_owned(),
            false => other.to_owned(),
        }
    }
}

/// The first digit of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 2xx.
    Yes,
    /// 3xx.
    GoOn,
    /// 4xx.
    NotNow,
    /// 5xx.
    No,
}

/// `d.s.n` with numbers of three digits at the most (RFC 3463 section 2).
fn is_status(word: &str) -> bool {
    let mut parts = word.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|c| c.is_ascii_digit()))
    };
    matches!(parts.next(), Some("2" | "4" | "5"))
        && number(parts.next())
        && number(parts.next())
        && parts.next().is_none()
}

/// sendmail's status for a code without one.
fn derived(code: u16) -> &'static str {
    match code {
        421 => "4.3.2",
        450 => "4.2.0",
        451 => "4.3.0",
        452 => "4.3.1",
        454 => "4.7.0",
        500 => "5.5.2",
        501 => "5.5.4",
        502 | 503 => "5.5.1",
        504 => "5.5.4",
        530 | 534 | 535 | 538 => "5.7.0",
        550 => "5.1.1",
        551 => "5.1.6",
        552 => "5.2.2",
        553 => "5.1.3",
        other if other < 400 => "2.0.0",
        other if other < 500 => "4.0.0",
        _ => "5.0.0",
    }
}

/// Makes replies out of octets.
#[derive(Debug, Default)]
pub struct ReplyParser {
    input: Vec<u8>,
    /// Octets of the input that hold no line end.
    searched: usize,
    code: Option<u16>,
    lines: Vec<String>,
    octets: usize,
}

impl ReplyParser {
    /// Takes octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// Whether octets are there that belong to no reply taken so far.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.input.is_empty() || self.code.is_some()
    }

    /// The next reply, if it is whole.
    ///
    /// # Errors
    /// When what came is none.
    pub fn take(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let fresh = self.input.get(self.searched..).unwrap_or_default();
            let Some(at) = fresh.iter().position(|c| *c == b'\n') else {
                self.searched = self.input.len();
                if self.searched > MAX_LINE_OCTETS {
                    return Err(ReplyError::LongLine);
                }
                return Ok(None);
            };
            let end = self.searched + at;
            self.searched = 0;
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if line.len() > MAX_LINE_OCTETS {
                return Err(ReplyError::LongLine);
            }
            self.octets += line.len();
            let last = self.line(line.trim_ascii_end())?;
            if self.octets > MAX_REPLY_OCTETS || self.lines.len() > MAX_LINES {
                return Err(ReplyError::Endless);
            }
            if last {
                self.octets = 0;
                let lines = std::mem::take(&mut self.lines);
                if let Some(code) = self.code.take() {
                    return Ok(Some(Reply { code, lines }));
                }
            }
        }
    }

    /// Notes a line; whether it is the last of its reply.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let (digits, rest) = line.split_at_checked(3).ok_or(ReplyError::NoReply)?;
        let code = match digits {
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
            _ => return Err(ReplyError::NoReply),
        };
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyError::TwoCodes);
        }
        let (last, text) = match rest.split_first() {
            None => (true, &b""[..]),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::NoReply),
        };
        self.lines.push(printable(text));
        Ok(last)
    }
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8], size: usize) -> (Vec<Reply>, Option<ReplyError>) {
        let (mut parser, mut all) = (ReplyParser::default(), Vec::new());
        for piece in text.chunks(size) {
            parser.push(piece);
            loop {
                match parser.take() {
                    Ok(Some(reply)) => all.push(reply),
                    Ok(None) => break,
                    Err(error) => return (all, Some(error)),
                }
            }
        }
        (all, None)
    }

    #[test]
    fn replies_of_one_and_of_many_lines() {
        let text = b"250-mx\r\n250-SIZE\r\n250 HELP\r\n354\r\n451 4.3.0 l\xc3\xa4ter\x1b\n";
        for size in [1, 2, 5, 1000] {
            let (all, error) = read(text, size);
            assert_eq!(error, None);
            let shown: Vec<String> = all.iter().map(Reply::shown).collect();
            assert_eq!(shown, ["250 mx SIZE HELP", "354", "451 4.3.0 l\u{e4}ter?"]);
        }
    }

    #[test]
    fn what_is_no_reply() {
        use ReplyError::{Endless, LongLine, NoReply, TwoCodes};
        for (text, error) in [
            (b"hello\r\n".to_vec(), NoReply),
            (b"25\r\n".to_vec(), NoReply),
            (b"199 x\r\n".to_vec(), NoReply),
            (b"600 x\r\n".to_vec(), NoReply),
            (b"250x\r\n".to_vec(), NoReply),
            (b"250-a\r\n251 b\r\n".to_vec(), TwoCodes),
            ([b"220 ".to_vec(), vec![b'x'; 10_000]].concat(), LongLine),
            ([&b"220 "[..], &[b'x'; 5000], b"\r\n"].concat(), LongLine),
            (b"220-x\r\n".repeat(1000), Endless),
            (
                [&b"220-"[..], &[b'x'; 1000], b"\r\n"].concat().repeat(100),
                Endless,
            ),
        ] {
            for size in [7, 100_000] {
                assert_eq!(read(&text, size).1, Some(error));
            }
        }
    }

    #[test]
    fn statuses() {
        let status = |code, text: &str| {
            Reply {
                code,
                lines: vec![text.into()],
            }
            .status()
        };
        for (code, text, want) in [
            (550, "5.7.1 no", "5.7.1"),
            (550, "4.7.1 no", "5.1.1"),
            (550, "5.7.1.2 no", "5.1.1"),
            (550, "5.7.1234 no", "5.1.1"),
            (450, "no", "4.2.0"),
            (499, "no", "4.0.0"),
            (250, "ok", "2.0.0"),
            (250, "2.1.5 ok", "2.1.5"),
            (599, "", "5.0.0"),
        ] {
            assert_eq!(status(code, text), want, "{code} {text}");
        }
    }

    #[test]
    fn a_code_alone_says_nothing_of_recipients_where_none_was_named() {
        let statuses = |code, text: &str| {
            let reply = Reply {
                code,
                lines: vec![text.into()],
            };
            [reply.status_of_mail(), reply.status_of_host()]
        };
        for (code, text, want) in [
            (550, "Access denied", ["5.0.0", "5.5.0"]),
            (550, "5.1.1 no", ["5.1.1", "5.1.1"]),
            (501, "what", ["5.5.2", "5.5.4"]),
            (552, "too much", ["5.3.4", "5.5.0"]),
            (553, "who", ["5.1.3", "5.5.0"]),
            (554, "no", ["5.0.0", "5.0.0"]),
            (451, "later", ["4.3.0", "4.3.0"]),
        ] {
            assert_eq!(statuses(code, text), want, "{code} {text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_strangers_octets_depends_on_their_pieces(
            octets in proptest::collection::vec(prop_oneof![
                Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'\r'), Just(b'\n'), any::<u8>()
            ], 0..200),
            size in 1usize..50,
        ) {
            prop_assert_eq!(read(&octets, size), read(&octets, 1000));
        }
    }
}
