//! Smuggling (CVE-2023-51764, -51765, -51766): a line end that some other server takes for the
//! end of a message ends none here, and none goes out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use smtpd::queue::{Envelope, Octets, Queue, QueuedRecipient};

use crate::client::Client;
use crate::play::{BOTH, Packets, octets};
use crate::site::Site;

/// The false ends.
fn list() -> Vec<Vec<u8>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/smtp/attacks/smuggling.list");
    let text = std::fs::read_to_string(path).unwrap();
    let all: Vec<_> = text.lines().map(octets).collect();
    assert!(all.len() >= 15);
    all
}

/// A message with a second one behind the false end, up to its true end.
fn smuggler(false_end: &[u8]) -> Vec<u8> {
    [
        b"Subject: carrier\r\n\r\nx".as_slice(),
        false_end,
        b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<archive>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n",
    ]
    .concat()
}

fn begin(client: &mut Client) {
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
    ]);
}

#[test]
fn no_false_end_lets_a_message_in() {
    let site = Site::new("");
    let server = site.start();
    for false_end in list() {
        // One of them is a line with a dot and a blank, which is honest text.
        let honest = false_end == b"\r\n .\r\n";
        let want = if honest { "250 2.0.0 " } else { "554 5.6.0 " };
        for packets in BOTH {
            let context = format!("{:?}, {packets:?}", String::from_utf8_lossy(&false_end));
            let (mut client, _) = Client::hello(server.only_port());
            begin(&mut client);
            client.talk(&[("DATA", "354 ")]);
            packets.send(&mut client, &smuggler(&false_end));
            packets.send(&mut client, b".\r\n");
            let reply = client.reply();
            assert!(reply.starts_with(want), "{context}: {reply}");
            begin(&mut client);
            let text = smuggler(&false_end);
            let chunk = [format!("BDAT {} LAST\r\n", text.len()).as_bytes(), &text].concat();
            packets.send(&mut client, &chunk);
            let reply = client.reply();
            assert!(reply.starts_with(want), "by BDAT, {context}: {reply}");
            let reply = client.say("QUIT");
            assert!(reply.starts_with("221 "), "{context}: {reply}");
        }
    }
    let text = site.text_with("etc/mail/out.mbox", "Subject: carrier");
    assert!(!text.contains("Return-Path: <evil@b.example>"), "{text}");
}

/// A server that keeps every octet of what it is sent behind its 354.
fn raw_sink() -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let _ = take(stream.unwrap(), &sender);
            });
        }
    });
    (port, receiver)
}

fn take(stream: TcpStream, sender: &std::sync::mpsc::Sender<Vec<u8>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    writer.write_all(b"220 sink ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line != "DATA\r\n" {
            writer.write_all(b"250 ok\r\n")?;
            continue;
        }
        writer.write_all(b"354 go\r\n")?;
        // The strictest reading: up to the first CRLF . CRLF, and then nothing may follow
        // before the reply.
        let mut text = b"\r\n".to_vec();
        let mut octet = [0];
        while !text.ends_with(b"\r\n.\r\n") {
            reader.read_exact(&mut octet)?;
            text.push(octet[0]);
        }
        text.extend_from_slice(reader.buffer());
        let _ = sender.send(text);
        writer.write_all(b"250 taken\r\n")?;
    }
}

#[test]
fn no_false_end_goes_out() {
    let (port, taken) = raw_sink();
    let site = Site::new("FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl");
    site.table(
        "etc/mail/mailertable",
        &format!("far.example\tesmtp:[127.0.0.1]:{port}\n"),
    );
    // As an older program, or one with a fault, could have left them in the queue.
    let folder = site.path("var/spool/mqueue");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queue = Queue::open(&folder).unwrap();
    let list = list();
    for (number, false_end) in list.iter().enumerate() {
        let text = smuggler(false_end);
        let id = format!("FALSEEND{number:06}");
        let mut spool = queue.spool(&id);
        spool.push(&text).unwrap();
        let envelope = Envelope {
            id: id.into(),
            created_unix: smtpd::clock::now_unix(),
            sender: "a@b.example".into(),
            size_octets: text.len() as u64,
            recipients: vec![QueuedRecipient {
                address: Octets(b"joe@far.example".to_vec()),
                ..QueuedRecipient::default()
            }],
            ..Envelope::default()
        };
        let body = spool.finish().unwrap();
        runtime.block_on(queue.add(envelope, body)).unwrap();
    }
    drop(queue);
    let _server = site.start();
    for _ in &list {
        let text = taken.recv_timeout(Duration::from_secs(60)).unwrap();
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert!(text.ends_with(b"\r\n.\r\n"), "{shown:?}");
        let inner = &text[2..text.len() - 5];
        for line in inner.split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(!line.contains(&b'\r'), "{shown:?}");
            assert!(
                !line.starts_with(b".") || line.starts_with(b".."),
                "{shown:?}"
            );
        }
        let ends = inner.iter().filter(|octet| **octet == b'\n').count();
        let pairs = inner.windows(2).filter(|pair| *pair == b"\r\n").count();
        assert_eq!(ends, pairs, "{shown:?}");
        assert!(shown.contains("Subject: smuggled"), "{shown:?}");
    }
}

#[test]
fn single_octets_are_as_good_as_packets() {
    let site = Site::new("");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    begin(&mut client);
    client.talk(&[("DATA", "354 ")]);
    Packets::SingleOctets.send(&mut client, b"Subject: slow\r\n\r\n..dot\r\n.\r\n");
    assert!(client.reply().starts_with("250 "));
    let text = site.text_with("etc/mail/out.mbox", "Subject: slow");
    assert!(text.contains("\n.dot\n"), "{text}");
}
