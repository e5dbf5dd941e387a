//! The PROXY protocol, versions 1 and 2, from listed networks.

use crate::client::Client;
use crate::site::Site;

const MC: &str =
    "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, Proxy=127.0.0.1/32;10.0.0.0/8')dnl";

fn version_2(command: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, addresses.len() as u8]);
    header.extend(addresses);
    header
}

#[test]
fn the_client_is_who_the_balancer_says() {
    let site = Site::new(&format!("{MC}\nFEATURE(`access_db')dnl"));
    site.table("etc/mail/access", "Connect:192.0.2.7\tREJECT\n");
    let server = site.start();
    let hello = |header: &[u8]| {
        let mut client = Client::connect(server.only_port());
        client.send(header);
        let greeting = client.reply();
        if greeting.starts_with("220 ") {
            client.say("EHLO x")
        } else {
            greeting
        }
    };
    let said = hello(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 25\r\n");
    assert!(said.contains("Hello [192.0.2.1], pleased"), "{said}");
    let said = hello(&version_2(
        0x21,
        &[192, 0, 2, 3, 192, 0, 2, 2, 0x0f, 0xa0, 0, 25],
    ));
    assert!(said.contains("Hello [192.0.2.3], pleased"), "{said}");
    let said = hello(&version_2(0x20, &[]));
    assert!(
        said.contains("[127.0.0.1], pleased"),
        "a health check: {said}"
    );
    // Policy sees the client, not the balancer.
    let mut client = Client::connect(server.only_port());
    client.send(b"PROXY TCP4 192.0.2.7 192.0.2.2 4000 25\r\nEHLO x\r\n");
    assert!(client.reply().starts_with("220 "));
    client.reply();
    let reply = client.say("MAIL FROM:<a@b.example>");
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
}

#[test]
fn who_is_listed_must_send_it_and_nobody_else_may() {
    let site = Site::new(MC);
    let (status, said) = site.run_to_end(&["check"]);
    assert!(status.success(), "{said}");
    assert!(said.contains(" proxies=127.0.0.1/32;10.0.0.0/8"), "{said}");
    let server = site.start();
    let mut client = Client::connect(server.only_port());
    client.send(b"EHLO x\r\n");
    assert!(client.is_closed());
    server.log_with("a listed proxy without PROXY header");
    let mut client = Client::connect_from("127.0.0.2", server.only_port());
    assert!(client.reply().starts_with("220 "));
    let reply = client.say("PROXY TCP4 192.0.2.1 192.0.2.2 4000 25");
    assert!(reply.starts_with("500 5.5.1"), "{reply}");
    assert!(
        client
            .say("EHLO x")
            .contains("client.example.com [127.0.0.2]")
    );
}
