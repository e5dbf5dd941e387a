//! An SMTP client, in clear or under TLS.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use bench::anything::Anything;

/// A connection.
pub(crate) struct Client {
    stream: Stream,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Between,
}

/// A certificate chain with its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Client {
    /// A connection from 127.0.0.1; the greeting is still to be read.
    pub(crate) fn connect(port: u16) -> Self {
        Client::connect_from("127.0.0.1", port)
    }

    /// A connection to another address.
    pub(crate) fn connect_to(addr: IpAddr, port: u16) -> Self {
        let stream = TcpStream::connect((addr, port)).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        Client {
            stream: Stream::Clear(stream),
        }
    }

    /// A connection from another address of loopback.
    pub(crate) fn connect_from(from: &str, port: u16) -> Self {
        let from: IpAddr = from.parse().unwrap();
        let domain = socket2::Domain::for_address((from, 0).into());
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        let to: SocketAddr = match from {
            IpAddr::V4(_) => ([127, 0, 0, 1], port).into(),
            IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, port).into(),
        };
        socket.connect(&to.into()).unwrap();
        let stream: TcpStream = socket.into();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream: Stream::Clear(stream),
        }
    }

    /// A stranger's connection whose greeting was read and that said EHLO; the reply to EHLO.
    pub(crate) fn hello(port: u16) -> (Self, String) {
        let mut client = Client::connect_from("127.0.0.2", port);
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        let offers = client.say("EHLO client.example.com");
        (client, offers)
    }

    fn io(&mut self) -> &mut dyn ReadWrite {
        match &mut self.stream {
            Stream::Clear(s) => s,
            Stream::Tls(s) => s.as_mut(),
            Stream::Between => panic!("no stream"),
        }
    }

    /// One reply, its lines joined by LF; `<closed>` behind it when there is no more.
    pub(crate) fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut octet = [0];
            loop {
                match self.io().read(&mut octet) {
                    Ok(1) if octet[0] == b'\n' => break,
                    Ok(1) => line.push(octet[0]),
                    _ => {
                        lines.push("<closed>".into());
                        return lines.join("\n");
                    }
                }
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r').to_owned();
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return lines.join("\n");
            }
        }
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        let io = self.io();
        let _ = io.write_all(octets).and_then(|()| io.flush());
    }

    /// Sends a line and reads the reply.
    pub(crate) fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Says each line, and asserts that the reply begins so.
    pub(crate) fn talk(&mut self, lines: &[(&str, &str)]) {
        for (line, want) in lines {
            let reply = self.say(line);
            assert!(reply.starts_with(want), "{line}: {reply}");
        }
    }

    /// STARTTLS, and EHLO under it; the reply to that.
    pub(crate) fn secure(&mut self, identity: Option<&Identity>) -> String {
        let reply = self.say("STARTTLS");
        assert!(reply.starts_with("220 "), "{reply}");
        self.handshake(identity);
        self.say("EHLO client.example.com")
    }

    /// The TLS handshake.
    pub(crate) fn handshake(&mut self, identity: Option<&Identity>) {
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Between) else {
            panic!("TLS twice");
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything));
        let config = match identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("mail.example.test").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                break;
            }
        }
        self.stream = Stream::Tls(Box::new(stream));
    }

    /// The TLS connection.
    pub(crate) fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Tls(s) => &s.conn,
            _ => panic!("no TLS"),
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(self.io().read(&mut [0]), Ok(1))
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
