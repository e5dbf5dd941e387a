//! Asking saslauthd over its socket, with a deadline and a back-off.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libmaps::opening;
use libmaps::sasl::mechanism::{AccountsError, PasswordChecker, Service};
use libmaps::sasl::password::Password;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure it is left alone for 1, 2, 4, ... seconds and so many at the most.
const MAX_BACK_OFF: Duration = Duration::from_secs(32);
/// Longest field that saslauthd takes.
const MAX_FIELD_OCTETS: usize = 256;

/// A client of saslauthd.
pub(super) struct Saslauthd {
    path: PathBuf,
    back_off: Mutex<Option<(Instant, Duration)>>,
}

impl Saslauthd {
    pub(super) fn new(path: PathBuf) -> Self {
        Saslauthd {
            path,
            back_off: Mutex::new(None),
        }
    }

    fn ask(&self, fields: [&[u8]; 4]) -> std::io::Result<bool> {
        let mut stream = opening::socket(&self.path, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = Vec::new();
        for field in fields {
            let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
            request.extend_from_slice(&length.to_be_bytes());
            request.extend_from_slice(field);
        }
        stream.write_all(&request)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(answer.starts_with(b"OK"))
    }
}

impl PasswordChecker for Saslauthd {
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        let mut back_off = self.back_off.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match *back_off {
            Some((since, pause)) if since.elapsed() < pause => {
                return Err(AccountsError(
                    "saslauthd did not answer a moment ago".into(),
                ));
            }
            Some((_, pause)) => (pause * 2).min(MAX_BACK_OFF),
            None => Duration::from_secs(1),
        };
        drop(back_off);
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
        let answer = self.ask(fields);
        back_off = self.back_off.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(yes) => {
                *back_off = None;
                Ok(yes)
            }
            Err(error) => {
                *back_off = Some((Instant::now(), pause));
                Err(AccountsError(format!("{}: {error}", self.path.display())))
            }
        }
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
}
