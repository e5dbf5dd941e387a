//! A client's side of a dialogue.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection.
#[derive(Debug)]
pub(super) struct Talk {
    reader: BufReader<TcpStream>,
}

impl Talk {
    pub(super) fn connect(port: u16) -> io::Result<Self> {
        Talk::over(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// A connection from another address than all others.
    pub(super) fn connect_alone(port: u16) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let connected = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, 9], 0)))?;
            let server = SocketAddr::from(([127, 0, 0, 1], port));
            socket.connect(server).await?.into_std()
        });
        let stream = connected?;
        stream.set_nonblocking(false)?;
        Talk::over(stream)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // A small buffer: there may be ten thousand of them.
        let reader = BufReader::with_capacity(512, stream);
        Ok(Talk { reader })
    }

    /// Sends octets as they are.
    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(octets)
    }

    /// The last line of the next reply.
    pub(super) fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    /// Sends a line, nothing where it is empty, and reads the reply.
    pub(super) fn say(&mut self, line: &str) -> io::Result<String> {
        if !line.is_empty() {
            self.send(format!("{line}\r\n").as_bytes())?;
        }
        self.reply()
    }

    /// As [`Talk::say`]; another reply than one that begins so is an error.
    pub(super) fn exchange(&mut self, line: &str, want: &str) -> io::Result<String> {
        let reply = self.say(line)?;
        match reply.starts_with(want) {
            true => Ok(reply),
            false => Err(io::Error::other(format!("{line:?} was answered {reply:?}"))),
        }
    }

    /// Whether the server has closed the connection, as far as is known at once.
    pub(super) fn is_gone(&mut self) -> bool {
        let stream = self.reader.get_mut();
        let _ = stream.set_nonblocking(true);
        let mut some = [0; 512];
        let gone = loop {
            match stream.read(&mut some) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(e) => break e.kind() != io::ErrorKind::WouldBlock,
            }
        };
        let _ = stream.set_nonblocking(false);
        gone
    }
}
