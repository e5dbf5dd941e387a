//! Another host's server, for the demo: takes every message and keeps its lines.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the client may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a free port of loopback; it ends with the process.
pub(super) struct Sink {
    pub(super) port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &kept);
            }
        });
        Ok(Sink { port, lines })
    }

    /// Waits a moment for a line of a message.
    pub(super) fn has(&self, line: &str) -> String {
        for _ in 0..100 {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.iter().any(|l| l == line) {
                return "relayed".into();
            }
            drop(lines);
            std::thread::sleep(Duration::from_millis(50));
        }
        "not relayed within 5 seconds".into()
    }
}

fn serve(stream: TcpStream, lines: &Mutex<Vec<String>>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut output = stream.try_clone()?;
    let mut in_text = false;
    output.write_all(b"220 friend.example ESMTP\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let reply: &[u8] = match (in_text, line.get(..4).unwrap_or(&line)) {
            (true, ".") => {
                in_text = false;
                b"250 2.0.0 taken\r\n"
            }
            (true, _) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line);
                continue;
            }
            (false, "DATA") => {
                in_text = true;
                b"354 go on\r\n"
            }
            (false, "QUIT") => return output.write_all(b"221 bye\r\n"),
            (false, _) => b"250 ok\r\n",
        };
        output.write_all(reply)?;
    }
    Ok(())
}
