//! A small SMTP client, for the demo.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::net::TcpSocket;

use super::{Failure, HOST};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A connection, in clear or under TLS.
pub(super) struct Client(BufReader<Stream>);

enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Clear(s) => s.read(buffer),
            Stream::Tls(s) => s.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Clear(s) => s.write(octets),
            Stream::Tls(s) => s.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Clear(s) => s.flush(),
            Stream::Tls(s) => s.flush(),
        }
    }
}

impl Client {
    /// Connects from this address of loopback and says EHLO.
    pub(super) fn connect(from: &str, port: u16) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from.parse()?, 0))?;
            let stream = socket.connect(SocketAddr::new(LOOPBACK, port)).await?;
            Ok::<_, Failure>(stream.into_std()?)
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut client = Client(BufReader::new(Stream::Clear(stream)));
        client.reply()?;
        client.say("EHLO client.example")?;
        Ok(client)
    }

    /// Switches to TLS, trusting the site's certificate alone, and says EHLO again.
    pub(super) fn start_tls(mut self, root: &Path) -> Result<Self, Failure> {
        self.say("STARTTLS")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(
            root.join("etc/mail/server.crt"),
        )?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(HOST)?)?;
        let Stream::Clear(stream) = self.0.into_inner() else {
            return Err("TLS is on already".into());
        };
        let stream = StreamOwned::new(connection, stream);
        let mut client = Client(BufReader::new(Stream::Tls(Box::new(stream))));
        client.say("EHLO client.example")?;
        Ok(client)
    }

    /// AUTH PLAIN.
    pub(super) fn log_in(&mut self, user: &str, password: &str) -> Result<String, Failure> {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        self.say(&format!("AUTH PLAIN {response}"))
    }

    /// Sends a message; the reply that decided about it.
    pub(super) fn send(&mut self, from: &str, to: &str, text: &str) -> Result<String, Failure> {
        for command in [
            format!("MAIL FROM:<{from}>"),
            format!("RCPT TO:<{to}>"),
            "DATA".into(),
        ] {
            let reply = self.say(&command)?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        self.say(&format!("{}\r\n.", text.replace('\n', "\r\n")))
    }

    /// Sends a line; the last line of the reply.
    pub(super) fn say(&mut self, line: &str) -> Result<String, Failure> {
        let stream = self.0.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        stream.flush()?;
        self.reply()
    }

    fn reply(&mut self) -> Result<String, Failure> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}
