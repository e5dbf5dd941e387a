//! Daemon modifiers `b` and `h`: mail leaves as it came.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};

use crate::client::Client;
use crate::site::Site;

/// An address of this machine that is not loopback.
fn outer() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses the address.
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

/// A server that takes everything; who came, and as whom.
fn sink(listener: TcpListener) -> Receiver<(IpAddr, String)> {
    let (sender, came) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            let _ = stream.write_all(b"220 sink ESMTP\r\n");
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                if let Some(name) = line.strip_prefix("EHLO ") {
                    let _ = sender.send((peer, name.to_owned()));
                }
                if line == "DATA" {
                    let _ = stream.write_all(b"354 go on\r\n");
                    while lines.next().is_some_and(|l| l.is_ok_and(|l| l != ".")) {}
                }
                let _ = stream.write_all(b"250 sink\r\n");
            }
        }
    });
    came
}

/// Sends a message for elsewhere through this listener's address: who came there.
fn through(own: IpAddr, modifiers: &str) -> (IpAddr, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let came = sink(listener);
    let site = Site::new(&format!(
        "FEATURE(`mailertable')dnl\nFEATURE(`access_db')dnl\n\
         define(`ESMTP_MAILER_ARGS', `TCP $h {port}')dnl\n\
         DAEMON_OPTIONS(`Name=MTA, Addr={own}, Port=0{modifiers}')dnl"
    ));
    site.table("etc/mail/mailertable", "far.example\tesmtp:[127.0.0.1]\n");
    site.table("etc/mail/access", "To:far.example\tRELAY\n");
    site.write(
        "etc/hosts",
        &format!("{own} interface.example.test\n127.0.0.9 mail.example.test\n"),
    );
    let server = site.start();
    let mut client = Client::connect_to(own, server.only_port());
    client.reply();
    client.talk(&[
        ("EHLO x", "250"),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<c@far.example>", "250 "),
        ("DATA", "354"),
        ("Subject: x\r\n\r\nx\r\n.", "250 "),
    ]);
    let patience = std::time::Duration::from_secs(20);
    came.recv_timeout(patience)
        .unwrap_or_else(|_| panic!("nobody came: {:#?}", server.log()))
}

#[test]
fn with_h_the_interface_has_the_name() {
    let own = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(through(own, "").1, "mail.example.test");
    assert_eq!(through(own, ", M=h").1, "interface.example.test");
}

#[test]
fn with_b_it_has_the_address() {
    let Some(own) = outer() else {
        return eprintln!("skipped: this machine has only loopback");
    };
    assert_eq!(through(own, "").0, IpAddr::from([127, 0, 0, 1]));
    assert_eq!(through(own, ", M=b").0, own);
}
