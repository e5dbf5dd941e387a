//! Asking saslauthd over its socket, with a deadline.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libmaps::opening;
use libmaps::sasl::mechanism::{AccountsError, PasswordChecker, Service};
use libmaps::sasl::password::{Password, SecretBytes};

use super::away::Away;

/// Longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for an answer: a wrong password takes PAM seconds, and it may be that others wait
/// before this one.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest field that saslauthd takes.
const MAX_FIELD_OCTETS: usize = 256;

/// A client of saslauthd.
pub(super) struct Saslauthd {
    path: PathBuf,
    away: Away,
    patience: Duration,
}

impl Saslauthd {
    pub(super) fn new(path: PathBuf) -> Self {
        Saslauthd {
            path,
            away: Away::default(),
            patience: PATIENCE,
        }
    }

    fn ask(&self, fields: [&[u8]; 4]) -> std::io::Result<bool> {
        let asked = Instant::now();
        let stream = opening::socket(&self.path, CONNECT_PATIENCE);
        let stream = stream.inspect_err(|_| self.away.not_there(Instant::now()))?;
        let answer = answer(stream, fields, self.patience);
        match &answer {
            Ok(_) => self.away.answered(Instant::now()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.away.silent_since(asked, Instant::now());
            }
            Err(_) => {}
        }
        answer
    }
}

fn answer(mut stream: UnixStream, fields: [&[u8]; 4], patience: Duration) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(patience))?;
    let mut request = Vec::new();
    for field in fields {
        let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
        request.extend_from_slice(&length.to_be_bytes());
        request.extend_from_slice(field);
    }
    let request = SecretBytes::new(request);
    stream.write_all(request.expose())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer.starts_with(b"OK"))
}

impl PasswordChecker for Saslauthd {
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        if self.away.rests(Instant::now()) {
            let why = "saslauthd did not answer a moment ago";
            return Err(AccountsError(why.into()));
        }
        // libsasl parts user and realm at the last `@` here.
        let (user, realm) = match name.iter().rposition(|c| *c == b'@') {
            Some(at) => (
                name.get(..at).unwrap_or_default(),
                name.get(at + 1..).unwrap_or_default(),
            ),
            None => (name, &b""[..]),
        };
        let fields = [user, password.expose(), service.name.as_bytes(), realm];
        if fields
            .iter()
            .any(|f| f.len() > MAX_FIELD_OCTETS || f.contains(&0))
        {
            return Ok(false);
        }
        self.ask(fields).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
                _ => error.to_string(),
            };
            AccountsError(format!("{}: {why}", self.path.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_server_that_is_stopped_does_not_hold_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mux");
        let _stopped = UnixListener::bind(&path).unwrap();
        let mut waiting = Vec::new();
        // It accepts nothing, and its queue is finite.
        let error = loop {
            match opening::socket(&path, Duration::from_millis(50)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    }

    /// One who is not answered in time says nothing of a server that answers others.
    #[test]
    fn a_slow_server_is_not_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mux");
        let listener = UnixListener::bind(&path).unwrap();
        let (answer_now, told) = std::sync::mpsc::channel::<()>();
        let served = std::thread::spawn(move || {
            let _slow = listener.accept().unwrap();
            told.recv().unwrap();
            for _ in 0..2 {
                let (mut quick, _) = listener.accept().unwrap();
                quick.read_exact(&mut [0; 20]).unwrap();
                quick.write_all(b"\0\x02OK").unwrap();
            }
        });
        let mut saslauthd = Saslauthd::new(path);
        saslauthd.patience = Duration::from_millis(1500);
        let service = Service::new("smtp", "mx.example", SecretBytes::new(vec![1; 32]));
        let check = |name: &[u8]| {
            let password = Password::new(b"secret".to_vec()).unwrap();
            PasswordChecker::check(&saslauthd, &service, name, &password)
        };
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| check(b"mallory"));
            answer_now.send(()).unwrap();
            // Whichever of the two came first and waits, one is answered meanwhile.
            let quick = check(b"alice");
            let both = [slow.join().unwrap(), quick];
            assert!(both.contains(&Ok(true)), "{both:?}");
        });
        assert_eq!(check(b"bob"), Ok(true));
        served.join().unwrap();
    }
}
