//! Plays one dialogue, and compares what was said.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::site::Running;
use bench::anything::Anything;

/// A client, in clear or under TLS.
enum Client {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Client::Clear(s) => s,
            Client::Tls(s) => s.as_mut(),
        }
    }

    /// One reply: its lines without line ends; the last is `<closed>` when there is no more.
    fn reply(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut octet = [0];
            loop {
                match self.stream().read(&mut octet) {
                    Ok(1) if octet[0] == b'\n' => break,
                    Ok(1) => line.push(octet[0]),
                    _ => {
                        lines.push("<closed>".into());
                        return lines;
                    }
                }
            }
            let line: String = line.into_iter().map(char::from).collect();
            let line = line.trim_end_matches('\r').to_owned();
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return lines;
            }
        }
    }

    fn send(&mut self, text: &str) {
        let octets: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let _ = self
            .stream()
            .write_all(&octets)
            .and_then(|()| self.stream().flush());
    }

    fn start_tls(self) -> Self {
        let Client::Clear(stream) = self else {
            panic!("TLS twice")
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        let name = ServerName::try_from("mx.polkatistas.org").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Client::Tls(Box::new(StreamOwned::new(connection, stream)))
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Each step with what was recorded and what was said, as lists of replies.
pub(crate) fn play(running: &Running, dialogue: &Value) -> Vec<(Value, Vec<String>, Vec<String>)> {
    let port = if dialogue["port"] == 2 {
        running.ports[1]
    } else {
        running.ports[0]
    };
    let from = dialogue["from"].as_str().unwrap_or("127.0.0.2");
    let mut client = Some(Client::Clear(connect(from, port)));
    let mut out = Vec::new();
    for step in dialogue["steps"].as_array().unwrap() {
        let lines = |v: &Value| -> Vec<String> {
            v.as_array()
                .unwrap()
                .iter()
                .map(|l| l.as_str().unwrap().to_owned())
                .collect()
        };
        let this = client.as_mut().unwrap();
        if let Some(seconds) = step["sleep"].as_f64() {
            std::thread::sleep(Duration::from_secs_f64(seconds));
        } else if step["tls"] == true {
            client = client.take().map(Client::start_tls);
        } else if step["eof"] == true {
            let closed = this.stream().read(&mut [0]).is_ok_and(|n| n == 0);
            out.push((
                step.clone(),
                vec![step["s"].to_string()],
                vec![closed.to_string()],
            ));
        } else if let Some(raw) = step["raw"].as_str() {
            this.send(raw);
            for want in step["s"].as_array().unwrap() {
                out.push((step.clone(), lines(want), this.reply()));
            }
        } else {
            if let Some(command) = step["c"].as_str() {
                this.send(&format!("{command}\r\n"));
            }
            out.push((step.clone(), lines(&step["s"]), this.reply()));
        }
    }
    if let Some(want) = dialogue["mailbox"].as_str() {
        let step = serde_json::json!({"mailbox": true});
        out.push((
            step,
            vec![want.to_owned()],
            vec![running.mailbox(messages(want).len())],
        ));
    }
    out
}

/// Whether this is what was recorded: names of the program, dates and ids aside, to the letter.
pub(crate) fn same(step: &Value, want: &[String], got: &[String]) -> bool {
    if step["mailbox"] == true {
        // Two messages are delivered at the same time, and either may come first.
        let mut got = messages(&got[0]);
        let in_order = fits(&want[0], &got.concat());
        got.reverse();
        return in_order || fits(&want[0], &got.concat());
    }
    let closed = |lines: &[String]| lines.last().is_some_and(|l| l.starts_with('<'));
    if closed(want) || closed(got) {
        return closed(want) == closed(got);
    }
    let is_ehlo = step["c"]
        .as_str()
        .is_some_and(|c| c.to_lowercase().starts_with("ehlo"));
    if is_ehlo && want[0].starts_with("250") {
        let keyword = |l: &String| l[4..].split(' ').next().unwrap().to_owned();
        let got_words: Vec<String> = got.iter().skip(1).map(keyword).collect();
        return got[0] == want[0]
            && want
                .iter()
                .skip(1)
                .map(keyword)
                .all(|w| got_words.contains(&w));
    }
    want.len() == got.len() && want.iter().zip(got).all(|(w, g)| fits(w, g))
}

/// The messages of a mailbox.
fn messages(mailbox: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in mailbox.split_inclusive('\n') {
        match all.last_mut() {
            Some(message) if !(line.starts_with("From ") && message.ends_with("\n\n")) => {
                message.push_str(line);
            }
            _ => all.push(line.to_owned()),
        }
    }
    all
}

/// Whether a line fits a recorded one with its placeholders; our own name stands where
/// the original's stood.
fn fits(want: &str, got: &str) -> bool {
    let want = want
        .replace("Sendmail {VERSION};", "smtpd {VERSION};")
        .replace("({VERSION})", "(smtpd {VERSION})");
    let want: Vec<String> = want.lines().map(without_time_of_id).collect();
    let want = want.join("\n").trim_end_matches('\n').to_owned();
    // Runs of blanks are as good as one.
    let got: Vec<String> = got
        .trim_end_matches('\n')
        .split('\n')
        .map(squeezed)
        .collect();
    let got = got.join("\n");
    let want: Vec<String> = want.split('\n').map(squeezed).collect();
    let want = want.join("\n");
    let mut rest = got.as_str();
    for (at, piece) in want.split(['{', '}']).enumerate() {
        if at % 2 == 1 {
            // A placeholder: any text up to what follows it.
            continue;
        }
        match rest.find(piece) {
            Some(found) if at > 0 || found == 0 => rest = &rest[found + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || want.ends_with('}')
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The id that the original made begins with the minute of the recording.
fn without_time_of_id(line: &str) -> String {
    match line.split_once("Message-Id: <") {
        Some((before, id)) if id.contains(".{QID}") => {
            let (_, rest) = id.split_once('.').unwrap();
            format!("{before}Message-Id: <{{MINUTE}}.{rest}")
        }
        _ => line.to_owned(),
    }
}

/// A connection from another address of loopback.
fn connect(from: &str, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let to = format!("127.0.0.1:{port}").parse().unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}
