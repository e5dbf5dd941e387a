//! Asking Dovecot for a password, by its authentication socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::opening;
use libmaps::sasl::dovecot::{self, Line, Verdict};
use libmaps::sasl::mechanism::{AccountsError, PasswordChecker, Service};
use libmaps::sasl::password::{Password, SecretBytes};

use super::away::Away;

/// Longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for an answer. Dovecot itself makes a wrong password wait for two seconds, and an
/// address that failed for more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most octets that a server may say: its greeting and the answer.
const MAX_SAID_OCTETS: usize = 65_536;
/// Why there is no answer where it did not come.
const LATE: &str = "no answer in time";
/// The number of the only exchange of a connection.
const NUMBER: u32 = 1;

/// A client of Dovecot's auth-client socket.
pub(super) struct Dovecot {
    path: PathBuf,
    away: Away,
}

impl Dovecot {
    pub(super) fn new(path: PathBuf) -> Self {
        Dovecot {
            path,
            away: Away::default(),
        }
    }

    fn ask(&self, service: &Service, response: &SecretBytes) -> Result<bool, String> {
        if self.away.rests(Instant::now()) {
            return Err("it did not answer a moment ago".into());
        }
        let asked = Instant::now();
        let failed = |e: std::io::Error| e.to_string();
        let stream = opening::socket(&self.path, CONNECT_PATIENCE);
        let stream = stream.inspect_err(|_| self.away.not_there(Instant::now()));
        let answer = self.answer(stream.map_err(failed)?, service, response);
        match &answer {
            Ok(_) => self.away.answered(Instant::now()),
            Err(why) if why == LATE => self.away.silent_since(asked, Instant::now()),
            Err(_) => {}
        }
        answer
    }

    fn answer(
        &self,
        mut stream: UnixStream,
        service: &Service,
        response: &SecretBytes,
    ) -> Result<bool, String> {
        let deadline = Instant::now() + PATIENCE;
        let failed = |e: std::io::Error| e.to_string();
        let mut talk = Vec::new();
        let (major, minor) = dovecot::VERSION;
        let (major, minor) = (major.to_string(), minor.to_string());
        let pid = std::process::id().to_string();
        dovecot::append(&mut talk, &[b"VERSION", major.as_bytes(), minor.as_bytes()]);
        dovecot::append(&mut talk, &[b"CPID", pid.as_bytes()]);
        stream.write_all(&talk).map_err(failed)?;
        let mut said = Said::default();
        while said.line(&mut stream, deadline)? != b"DONE" {}
        let mut auth = Vec::new();
        let name = format!("service={}", service.name);
        let response =
            SecretBytes::new(format!("resp={}", STANDARD.encode(response.expose())).into());
        // `secured`: whether a password may be said at all was decided before it came here.
        let number = NUMBER.to_string();
        // Dovecot logs this address. It would make an address that fails wait before it looks at the
        // next password, a right one too and longer than is waited here: who guesses is slowed down
        // by us.
        let peer = service.peer.map(|ip| format!("rip={ip}"));
        let mut words: Vec<&[u8]> = vec![b"AUTH", number.as_bytes(), b"PLAIN", name.as_bytes()];
        words.extend(peer.as_ref().map(String::as_bytes));
        words.extend([
            &b"no-penalty"[..],
            b"nologin",
            b"secured",
            response.expose(),
        ]);
        dovecot::append(&mut auth, &words);
        let auth = SecretBytes::new(auth);
        stream.write_all(auth.expose()).map_err(failed)?;
        loop {
            let line = said.line(&mut stream, deadline)?;
            match dovecot::verdict(&line, NUMBER) {
                None => {}
                Some(Verdict::In) => return Ok(true),
                Some(Verdict::Out) => return Ok(false),
                Some(Verdict::Unknown) => return Err("it can't tell now".into()),
                Some(Verdict::Asked) => return Err("it asks back after PLAIN".into()),
            }
        }
    }
}

/// What the server has said, and how much of it was looked at.
#[derive(Default)]
struct Said {
    octets: Vec<u8>,
    at: usize,
}

impl Said {
    fn line(&mut self, stream: &mut UnixStream, deadline: Instant) -> Result<Vec<u8>, String> {
        loop {
            let rest = self.octets.get(self.at..).unwrap_or_default();
            match dovecot::line(rest) {
                Line::Whole(line, used) => {
                    let line = line.to_vec();
                    self.at += used;
                    return Ok(line);
                }
                Line::TooLong => return Err("it says a line without end".into()),
                Line::More if self.octets.len() > MAX_SAID_OCTETS => {
                    return Err("it says too much".into());
                }
                Line::More => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LATE.into());
            }
            let mut block = [0; 4096];
            let read = stream
                .set_read_timeout(Some(left))
                .and_then(|()| stream.read(&mut block));
            match read {
                Ok(0) => return Err("it closed the connection".into()),
                Ok(got) => self
                    .octets
                    .extend_from_slice(block.get(..got).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(LATE.into());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

impl PasswordChecker for Dovecot {
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        if name.contains(&0) || password.expose().contains(&0) {
            return Ok(false);
        }
        let response = SecretBytes::new([b"\0", name, b"\0", password.expose()].concat());
        self.ask(service, &response)
            .map_err(|why| AccountsError(format!("{}: {why}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a Dovecot that answers so makes of a login.
    fn asked(greeting: &'static str, answer: &'static str) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth-client");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            let mut heard = Vec::new();
            let mut octet = [0];
            // One that greets nobody goes when the client has said what it can.
            let last = match greeting {
                GREETING => "AUTH\t",
                _ => "CPID\t",
            };
            while !heard.ends_with(b"\n") || !String::from_utf8_lossy(&heard).contains(last) {
                match stream.read(&mut octet) {
                    Ok(1) => heard.push(octet[0]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8(heard).unwrap()
        });
        let key = SecretBytes::new(vec![0; 32]);
        let mut service = Service::new("smtp", "mx.example", key);
        service.peer = Some("192.0.2.7".parse().unwrap());
        let password = Password::new(b"secret".to_vec()).unwrap();
        let found = Dovecot::new(path).check(&service, b"joe", &password);
        let found = match found {
            Ok(yes) => yes.to_string(),
            Err(error) => error.0.rsplit(": ").next().unwrap().to_owned(),
        };
        (found, server.join().unwrap())
    }

    const GREETING: &str =
        "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t5\nCUID\t1\nCOOKIE\tabc\nDONE\n";

    #[test]
    fn what_dovecot_says_and_what_it_means() {
        for (greeting, answer, want) in [
            (GREETING, "OK\t1\tuser=joe\n", "true"),
            (GREETING, "FAIL\t1\tuser=joe\n", "false"),
            (GREETING, "OK\t2\tuser=other\nFAIL\t1\n", "false"),
            (GREETING, "FAIL\t1\tuser=joe\ttemp\n", "it can't tell now"),
            (GREETING, "CONT\t1\t\n", "it asks back after PLAIN"),
            (GREETING, "", "it closed the connection"),
            ("", "", "it closed the connection"),
            ("220 mail ESMTP\n", "", "it closed the connection"),
        ] {
            let (found, heard) = asked(greeting, answer);
            assert_eq!(found, want, "{answer}");
            if greeting == GREETING {
                let want = "AUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.7\tno-penalty\tnologin\tsecured\tresp=AGpvZQBzZWNyZXQ=\n";
                assert!(heard.ends_with(want), "{heard}");
            }
        }
    }
}
