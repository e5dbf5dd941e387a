//! An SMTP server for tests: takes everything, or does what a script says, and keeps
//! what it saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a sink is like. `replies` maps the beginning of a command to its reply, the first
/// that fits; `#CLOSE` hangs up, `#SLEEP` is silent for good.
#[derive(Clone, Default)]
pub(crate) struct Habits {
    pub(crate) greeting: Option<String>,
    /// Keywords behind `250-sink`, with a blank between.
    pub(crate) keywords: Vec<&'static str>,
    pub(crate) lmtp: bool,
    /// Asked for each command before the usual answer.
    pub(crate) replies: Vec<(&'static str, &'static str)>,
    /// Reply to the final dot; `None` is 250.
    pub(crate) at_dot: Option<&'static str>,
    /// Octets sent at once behind the reply to STARTTLS.
    pub(crate) injected: &'static str,
    /// Breaks the TLS handshake.
    pub(crate) breaks_tls: bool,
    /// Most recipients of a transaction; then 452, or this.
    pub(crate) most_recipients: usize,
    pub(crate) too_many: Option<&'static str>,
}

/// One message that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    pub(crate) mail: String,
    pub(crate) rcpt: Vec<String>,
    pub(crate) text: Vec<u8>,
    pub(crate) tls: bool,
    pub(crate) login: String,
    /// The client's address.
    pub(crate) from: String,
}

impl Got {
    /// The text as lines with LF.
    pub(crate) fn lines(&self) -> String {
        let text: String = self.text.iter().map(|c| char::from(*c)).collect();
        text.replace("\r\n", "\n")
    }
}

#[derive(Default)]
struct Seen {
    messages: Mutex<Vec<Got>>,
    commands: Mutex<Vec<String>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// Runs until it is dropped.
pub(crate) struct Sink {
    pub(crate) addr: SocketAddr,
    /// Its certificate, as PEM.
    pub(crate) certificate: String,
    seen: Arc<Seen>,
}

impl Sink {
    pub(crate) fn start(habits: Habits) -> Self {
        Sink::on("127.0.0.1:0", habits)
    }

    pub(crate) fn on(addr: &str, habits: Habits) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let (tls, certificate) = server_config();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    break;
                }
                let (habits, seen, tls) = (habits.clone(), Arc::clone(&shared), Arc::clone(&tls));
                seen.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let _ = serve(stream.unwrap(), &habits, &seen, tls);
                });
            }
        });
        Sink {
            addr,
            certificate,
            seen,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Waits until so many messages have come, and takes them.
    pub(crate) fn take(&self, count: usize) -> Vec<Got> {
        for _ in 0..600 {
            if self.seen.messages.lock().unwrap().len() >= count {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        let got = std::mem::take(&mut *self.seen.messages.lock().unwrap());
        assert!(
            got.len() >= count,
            "only {} of {count} messages; {:?}",
            got.len(),
            self.commands()
        );
        got
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.seen.commands.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn serve(
    stream: TcpStream,
    habits: &Habits,
    seen: &Seen,
    tls: Arc<ServerConfig>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let clear = stream.try_clone()?;
    let mut wire: BufReader<Box<dyn Wire>> = BufReader::new(Box::new(stream));
    let greeting = habits.greeting.clone().unwrap_or("220 sink ESMTP".into());
    say(&mut wire, &greeting)?;
    let mut got = Got {
        from: clear.peer_addr()?.ip().to_string(),
        ..Got::default()
    };
    let mut accepted = 0;
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        seen.commands.lock().unwrap().push(line.clone());
        let upper = line.to_uppercase();
        let scripted = habits
            .replies
            .iter()
            .find(|(start, _)| line.starts_with(start));
        if let Some((_, reply)) = scripted {
            match *reply {
                "#CLOSE" => return Ok(()),
                "#SLEEP" => std::thread::sleep(Duration::from_secs(60)),
                reply => {
                    say(&mut wire, reply)?;
                    if reply.starts_with("421") {
                        return Ok(());
                    }
                    if line.starts_with("AUTH") && reply.starts_with("235") {
                        got.login.clone_from(&line);
                    }
                    continue;
                }
            }
        }
        if upper.starts_with("EHLO") || upper.starts_with("LHLO") {
            let mut lines = vec!["sink".to_owned()];
            let hidden = |k: &&&str| !(got.tls && **k == "STARTTLS");
            lines.extend(
                habits
                    .keywords
                    .iter()
                    .filter(hidden)
                    .map(|k| (*k).to_owned()),
            );
            let last = lines.len() - 1;
            let text: Vec<String> = lines
                .iter()
                .enumerate()
                .map(|(at, l)| format!("250{}{l}", if at < last { '-' } else { ' ' }))
                .collect();
            say(&mut wire, &text.join("\r\n"))?;
        } else if upper == "STARTTLS" {
            say_raw(&mut wire, &format!("220 go\r\n{}", habits.injected))?;
            if habits.breaks_tls {
                wire.fill_buf()?;
                say(&mut wire, "this is not TLS at all, and nobody said it was")?;
                return Ok(());
            }
            let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
            let stream = StreamOwned::new(connection, clear.try_clone()?);
            wire = BufReader::new(Box::new(stream));
            got.tls = true;
        } else if upper.starts_with("MAIL") {
            got.mail = line;
            got.rcpt.clear();
            accepted = 0;
            say(&mut wire, "250 2.1.0 ok")?;
        } else if upper.starts_with("RCPT") {
            if habits.most_recipients > 0 && accepted >= habits.most_recipients {
                let reply = habits.too_many.unwrap_or("452 4.5.3 too many recipients");
                say(&mut wire, reply)?;
            } else {
                accepted += 1;
                got.rcpt.push(line);
                say(&mut wire, "250 2.1.5 ok")?;
            }
        } else if upper == "DATA" {
            if got.rcpt.is_empty() {
                say(&mut wire, "554 5.5.1 no valid recipients")?;
                continue;
            }
            say(&mut wire, "354 go")?;
            got.text = text(&mut wire)?;
            match habits.at_dot {
                Some("#CLOSE") => {
                    seen.messages.lock().unwrap().push(got);
                    return Ok(());
                }
                Some(reply) => say(&mut wire, reply)?,
                None => {
                    seen.messages.lock().unwrap().push(got.clone());
                    let times = if habits.lmtp { got.rcpt.len() } else { 1 };
                    for _ in 0..times {
                        say(&mut wire, "250 2.0.0 taken as 4711")?;
                    }
                }
            }
        } else if upper == "QUIT" {
            return say(&mut wire, "221 bye");
        } else {
            say(&mut wire, "250 2.0.0 ok")?;
        }
    }
}

/// Octets up to the final dot, dots taken off.
fn text(wire: &mut BufReader<Box<dyn Wire>>) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut line = Vec::new();
        if wire.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert!(line.ends_with(b"\r\n"), "a bare LF came in: {line:?}");
        if line == b".\r\n" {
            return Ok(all);
        }
        all.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn say(wire: &mut BufReader<Box<dyn Wire>>, text: &str) -> std::io::Result<()> {
    say_raw(wire, &format!("{text}\r\n"))
}

fn say_raw(wire: &mut BufReader<Box<dyn Wire>>, text: &str) -> std::io::Result<()> {
    wire.get_mut().write_all(text.as_bytes())?;
    wire.get_mut().flush()
}

fn server_config() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["sink.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let pem = made.cert.pem();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key)
        .unwrap();
    (Arc::new(config), pem)
}
