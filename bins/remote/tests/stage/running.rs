//! A running smtpd, and the programs that it has started.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::{Host, PATIENCE, Process};

/// A running smtpd.
pub struct Running {
    pub process: Process,
    port: u16,
    lines: Receiver<String>,
    /// What was said so far, and up to where it was waited for.
    said: RefCell<(Vec<String>, usize)>,
}

impl Running {
    pub fn start(host: &Host) -> Running {
        let root = host.path("").display().to_string();
        let mut child = host
            .command(&format!("smtpd --root {root}"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut running = Running {
            process: Process(child),
            port: 0,
            lines,
            said: RefCell::default(),
        };
        let line = running.ever("listening name=MTA addr=127.0.0.1:");
        running.port = line.rsplit(':').next().unwrap().parse().unwrap();
        running
    }

    /// Has it read its configuration anew.
    pub fn hang_up(&self) {
        let process = self.process.0.id().to_string();
        let told = Command::new("kill").args(["-HUP", &process]).status();
        assert!(told.unwrap().success());
    }

    /// Waits for a line after the one that was waited for last.
    pub fn wait(&self, text: &str) -> String {
        let from = self.said.borrow().1;
        let (line, at) = self.hear(text, from);
        self.said.borrow_mut().1 = at + 1;
        line
    }

    /// Waits for a line, unless it was said already.
    pub fn ever(&self, text: &str) -> String {
        self.hear(text, 0).0
    }

    fn hear(&self, text: &str, mut from: usize) -> (String, usize) {
        loop {
            let said = &mut self.said.borrow_mut().0;
            let found = said.iter().skip(from).position(|l| l.contains(text));
            if let Some(at) = found {
                return (said[from + at].clone(), from + at);
            }
            from = said.len();
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(e) => panic!("{text}: {e}\n{}", said.join("\n")),
            }
        }
    }

    /// The reply to RCPT in a session of its own, or the greeting that ends it.
    pub fn rcpt(&self, from: &str, to: &str) -> String {
        let (stream, greeting) = self.connect();
        if !greeting.starts_with("220") {
            return greeting;
        }
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut reply = || {
            let mut line = String::new();
            input.read_line(&mut line).unwrap();
            line
        };
        let mut last = String::new();
        for line in [
            "HELO client.example",
            &format!("MAIL FROM:<{from}>"),
            &format!("RCPT TO:<{to}>"),
        ] {
            (&stream)
                .write_all(format!("{line}\r\n").as_bytes())
                .unwrap();
            last = reply();
            if !last.starts_with("250") {
                break;
            }
        }
        let _ = (&stream).write_all(b"QUIT\r\n");
        last
    }

    /// The process that follows; its parent, which the server started, starts it again.
    pub fn follower(&self) -> Option<u32> {
        child_of(child_of(self.process.0.id())?)
    }

    /// A connection, and what it is greeted with.
    pub fn connect(&self) -> (TcpStream, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = String::new();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        input.read_line(&mut greeting).unwrap();
        (stream, greeting)
    }

    /// A connection from this address that is welcome: 127.0.0.1 may relay anywhere.
    pub fn from(&self, address: &str) -> TcpStream {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let connected = async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(address.parse().unwrap()).unwrap();
            let to = std::net::SocketAddr::from(([127, 0, 0, 1], self.port));
            socket.connect(to).await.unwrap().into_std().unwrap()
        };
        let stream = runtime.enable_all().build().unwrap().block_on(connected);
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = String::new();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        input.read_line(&mut greeting).unwrap();
        assert!(greeting.starts_with("220"), "{greeting}");
        stream
    }

    /// A connection that is welcome.
    pub fn welcome(&self) -> TcpStream {
        let (stream, greeting) = self.connect();
        assert!(greeting.starts_with("220"), "{greeting}");
        stream
    }
}

/// The mapremote that a process has started.
pub fn child_of(parent: u32) -> Option<u32> {
    let parent = format!("PPid:\t{parent}\n");
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let is_it = status.starts_with("Name:\tmapremote") && status.contains(&parent);
        is_it
            .then(|| entry.file_name().to_str()?.parse().ok())
            .flatten()
    })
}
