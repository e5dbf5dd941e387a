//! A browser that somebody in between leads to the server (ALPACA): he says EHLO and STARTTLS
//! in its stead, and hands the handshake to the browser.

use crate::certificates::{Authority, TLS_MC};
use crate::client::Client;
use crate::site::{HOST, Site};

#[test]
fn a_request_of_http_under_tls_ends_the_session() {
    let authority = Authority::new("CA");
    let site = Site::new(TLS_MC);
    site.write("etc/mail/ca.crt", &authority.pem);
    authority.sign(HOST, 1).install(&site);
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    assert!(client.say("STARTTLS").starts_with("220 "));
    client.handshake(None);
    client.send(b"POST / HTTP/1.1\r\nHost: mx\r\n\r\nMAIL FROM:<evil@b.example>\r\n");
    assert!(client.reply().starts_with("421 4.7.0 "));
    assert!(client.is_closed());
}
