//! IMAP's LOGIN (RFC 9051 section 6.2.3), the client's side, without the socket.
//!
//! Lines in, steps out. The words of the answers are the original's.

use zeroize::Zeroizing;

use crate::answer::Answer;

/// The longest line that is taken, in octets, and the most lines before the answer.
const LINE_LIMIT_OCTETS: usize = 8192;
const LINES_LIMIT: u32 = 100;

const TAG: &str = "saslauthd";

/// Whether STARTTLS (RFC 9051 section 6.2.1) comes before LOGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Never; TLS is there already, or isn't wanted.
    No,
    /// Always; a server that doesn't do it gets no password.
    Required,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read on.
    Read,
    /// Send this, then read on.
    Send(Zeroizing<Vec<u8>>),
    /// Do the TLS handshake, then call [`ImapLogin::secured`].
    Handshake,
    /// Send this, close, and give this answer.
    Done(Answer, &'static [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    StartTls,
    Handshake,
    Login,
    Over,
}

/// One dialogue.
pub struct ImapLogin {
    state: State,
    start_tls: StartTls,
    command: Zeroizing<Vec<u8>>,
    line: Vec<u8>,
    lines: u32,
}

impl std::fmt::Debug for ImapLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImapLogin({:?})", self.state)
    }
}

/// The server is there, but says what no IMAP server says.
#[must_use]
pub fn unexpected() -> Answer {
    Answer::refused("[ALERT] Unexpected response from remote authentication server")
}

/// The server can't be reached.
#[must_use]
pub fn unreachable() -> Answer {
    Answer::refused("[ALERT] Couldn't contact remote authentication server")
}

impl ImapLogin {
    /// A dialogue that waits for the greeting. `None` where login or password
    /// hold a CR, LF or NUL: a quoted string can't carry them.
    #[must_use]
    pub fn new(login: &[u8], password: &[u8], start_tls: StartTls) -> Option<Self> {
        let mut command =
            Zeroizing::new(Vec::with_capacity(2 * (login.len() + password.len()) + 32));
        command.extend_from_slice(format!("{TAG} LOGIN ").as_bytes());
        quote(login, &mut command)?;
        command.push(b' ');
        quote(password, &mut command)?;
        command.extend_from_slice(b"\r\n");
        Some(ImapLogin {
            state: State::Greeting,
            start_tls,
            command,
            line: Vec::new(),
            lines: 0,
        })
    }

    /// Takes what the server sent. After anything else than [`Step::Read`] the
    /// rest of `input` is dropped: a server has nothing to say before it is asked,
    /// and after STARTTLS such words would be a forger's.
    pub fn on_input(&mut self, input: &[u8]) -> Step {
        for octet in input {
            if *octet != b'\n' {
                self.line.push(*octet);
                if self.line.len() > LINE_LIMIT_OCTETS {
                    return self.over(unexpected());
                }
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            self.lines = self.lines.saturating_add(1);
            if self.lines > LINES_LIMIT {
                return self.over(unexpected());
            }
            match self.on_line(&line) {
                Step::Read => {}
                step => return step,
            }
        }
        Step::Read
    }

    /// TLS is up: nothing said before counts.
    pub fn secured(&mut self) -> Step {
        if self.state != State::Handshake {
            return self.over(unexpected());
        }
        self.line.clear();
        self.login()
    }

    /// The connection ended.
    pub fn on_end(&mut self) -> Answer {
        self.state = State::Over;
        unexpected()
    }

    fn on_line(&mut self, line: &[u8]) -> Step {
        match self.state {
            State::Greeting if line.starts_with(b"* OK") => match self.start_tls {
                StartTls::No => self.login(),
                StartTls::Required => {
                    self.state = State::StartTls;
                    Step::Send(Zeroizing::new(b"starttls STARTTLS\r\n".to_vec()))
                }
            },
            State::Greeting if line.starts_with(b"* BYE") => self.over(Answer::refused(
                "[ALERT] The remote authentication server is currently unavailable",
            )),
            State::Greeting => self.over(unexpected()),
            State::StartTls if line.starts_with(b"starttls OK") => {
                self.state = State::Handshake;
                Step::Handshake
            }
            State::Login if line.starts_with(b"saslauthd OK") => {
                self.over(Answer::ok_with("remote authentication successful"))
            }
            State::Login if line.starts_with(b"saslauthd NO") => {
                self.over(Answer::refused("remote server rejected your credentials"))
            }
            // Untagged lines, such as CAPABILITY, may stand before the tagged one.
            State::StartTls | State::Login
                if line.starts_with(b"* ") && !line.starts_with(b"* BYE") =>
            {
                Step::Read
            }
            State::StartTls | State::Login | State::Handshake | State::Over => {
                self.over(unexpected())
            }
        }
    }

    fn login(&mut self) -> Step {
        self.state = State::Login;
        Step::Send(std::mem::take(&mut self.command))
    }

    fn over(&mut self, answer: Answer) -> Step {
        let farewell: &[u8] = match self.state {
            State::Login => b"saslauthd LOGOUT\r\n",
            _ => b"",
        };
        self.state = State::Over;
        Step::Done(answer, farewell)
    }
}

/// Writes a quoted string (RFC 9051 section 9); octets above 127 as they are.
fn quote(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'"');
    for b in text {
        match b {
            b'\r' | b'\n' | 0 => return None,
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *b]),
            _ => out.push(*b),
        }
    }
    out.push(b'"');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the server's pieces; gives what was sent, and the answer.
    fn play(pieces: &[&[u8]], start_tls: StartTls) -> (String, Option<Answer>) {
        let mut imap = ImapLogin::new(b"us\"er", b"pa\\ss", start_tls).unwrap();
        let mut sent = Vec::new();
        for piece in pieces {
            let mut step = imap.on_input(piece);
            if step == Step::Handshake {
                sent.extend_from_slice(b"<TLS>");
                step = imap.secured();
            }
            match step {
                Step::Read | Step::Handshake => {}
                Step::Send(octets) => sent.extend_from_slice(&octets),
                Step::Done(answer, farewell) => {
                    sent.extend_from_slice(farewell);
                    return (String::from_utf8(sent).unwrap(), Some(answer));
                }
            }
        }
        (String::from_utf8(sent).unwrap(), None)
    }

    const LOGIN: &str = "saslauthd LOGIN \"us\\\"er\" \"pa\\\\ss\"\r\n";

    #[test]
    fn dialogues_without_tls() {
        let greeting: &[u8] = b"* OK hi\r\n";
        let long = [b"* OK ".as_slice(), &[b'x'; 9000], b"\r\n"].concat();
        let cases: Vec<(Vec<&[u8]>, &str, bool)> = vec![
            (
                vec![greeting, b"saslauthd OK yes\r\n"],
                "OK remote authentication successful",
                true,
            ),
            (
                vec![
                    b"* O",
                    b"K hi\r",
                    b"\n",
                    b"* CAPABILITY IMAP4\r\nsaslauthd ",
                    b"OK\r\n",
                ],
                "OK remote authentication successful",
                true,
            ),
            (
                vec![greeting, b"saslauthd NO [AUTH] no\r\n"],
                "NO remote server rejected your credentials",
                true,
            ),
            (
                vec![greeting, b"saslauthd BAD what\r\n"],
                "NO [ALERT] Unexpected response from remote authentication server",
                true,
            ),
            (
                vec![greeting, b"* BYE out\r\nsaslauthd OK x\r\n"],
                "NO [ALERT] Unexpected response from remote authentication server",
                true,
            ),
            (
                vec![b"* BYE no\r\n"],
                "NO [ALERT] The remote authentication server is currently unavailable",
                false,
            ),
            (
                vec![b"* PREAUTH x\r\n"],
                "NO [ALERT] Unexpected response from remote authentication server",
                false,
            ),
            (
                vec![&long],
                "NO [ALERT] Unexpected response from remote authentication server",
                false,
            ),
        ];
        for (pieces, want, asked) in cases {
            let (sent, answer) = play(&pieces, StartTls::No);
            let answer = answer.unwrap();
            assert_eq!(String::from_utf8_lossy(answer.text()), want);
            let want = if asked {
                format!("{LOGIN}saslauthd LOGOUT\r\n")
            } else {
                String::new()
            };
            assert_eq!(sent, want, "{pieces:?}");
        }
    }

    #[test]
    fn a_password_follows_starttls_only() {
        let greeting: &[u8] = b"* OK hi\r\n";
        let (sent, answer) = play(
            &[greeting, b"starttls OK go\r\n", b"saslauthd OK\r\n"],
            StartTls::Required,
        );
        assert_eq!(
            sent,
            format!("starttls STARTTLS\r\n<TLS>{LOGIN}saslauthd LOGOUT\r\n")
        );
        assert!(answer.unwrap().is_ok());
        let refused = play(&[greeting, b"starttls BAD no\r\n"], StartTls::Required);
        assert_eq!(
            refused,
            ("starttls STARTTLS\r\n".to_owned(), Some(unexpected()))
        );
    }

    #[test]
    fn words_before_the_handshake_are_dropped() {
        let greeting: &[u8] = b"* OK hi\r\n";
        let (sent, answer) = play(
            &[greeting, b"starttls OK go\r\nsaslauthd OK forged\r\n"],
            StartTls::Required,
        );
        assert_eq!(sent, format!("starttls STARTTLS\r\n<TLS>{LOGIN}"));
        assert_eq!(answer, None);
    }

    #[test]
    fn endless_untagged_lines_end_it() {
        let noise = b"* OK still here\r\n".repeat(200);
        let (_, answer) = play(&[b"* OK hi\r\n", &noise], StartTls::No);
        assert_eq!(answer, Some(unexpected()));
    }

    #[test]
    fn no_command_is_smuggled_in() {
        for bad in [b"a\r\nx".as_slice(), b"a\nb", b"a\0"] {
            assert!(ImapLogin::new(bad, b"p", StartTls::No).is_none());
            assert!(ImapLogin::new(b"u", bad, StartTls::No).is_none());
        }
    }
}
