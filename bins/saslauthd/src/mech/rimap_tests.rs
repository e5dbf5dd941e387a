use super::*;
use std::net::TcpListener;
use std::thread;
use zeroize::Zeroizing;

fn request() -> Request {
    Request {
        login: b"erin".to_vec(),
        password: Zeroizing::new(b"secret".to_vec()),
        service: b"smtp".to_vec(),
        realm: Vec::new(),
    }
}

fn parsed(option: &str) -> Option<(String, u16, Tls)> {
    Remote::parse(option).ok().map(|r| (r.host, r.port, r.tls))
}

#[test]
fn the_option() {
    let some = |host: &str, port, tls| Some((host.to_owned(), port, tls));
    let cases = [
        ("imap.example.org", some("imap.example.org", 143, Tls::Off)),
        ("127.0.0.1/1143", some("127.0.0.1", 1143, Tls::Off)),
        ("::1/imap", some("::1", 143, Tls::Off)),
        ("h/993", some("h", 993, Tls::Implicit)),
        ("h/imaps", some("h", 993, Tls::Implicit)),
        ("tls:h", some("h", 993, Tls::Implicit)),
        ("tls:h/10993", some("h", 10_993, Tls::Implicit)),
        ("starttls:h", some("h", 143, Tls::StartTls)),
        ("", None),
        ("/143", None),
        ("h/none", None),
        ("h/70000", None),
        ("h/0", None),
    ];
    for (option, want) in cases {
        assert_eq!(parsed(option), want, "{option:?}");
    }
}

#[test]
fn a_server_that_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"* OK ready\r\n").unwrap();
        let mut got = [0; 200];
        let count = socket.read(&mut got).unwrap();
        socket.write_all(b"saslauthd OK in\r\n").unwrap();
        String::from_utf8(got[..count].to_vec()).unwrap()
    });
    let mut rimap = Rimap::new(Remote::parse(&format!("127.0.0.1/{port}")).unwrap()).unwrap();
    let answer = rimap.check(&request());
    assert_eq!(answer.text(), b"OK remote authentication successful");
    let asked = server.join().unwrap();
    assert_eq!(asked, "saslauthd LOGIN \"erin\" \"secret\"\r\n");
}

#[test]
fn nobody_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut rimap = Rimap::new(Remote::parse(&format!("127.0.0.1/{port}")).unwrap()).unwrap();
    assert_eq!(rimap.check(&request()), imap::unreachable());
}

#[test]
fn tls_without_authorities_does_not_start() {
    let remote = Remote::parse("tls:imap.example.org").unwrap();
    let refused = Rimap::with_roots(remote, RootCertStore::empty());
    assert!(matches!(refused, Err(RimapError::NoAuthorities)));
}

/// A server that offers TLS but has no certificate we trust gets no password.
#[test]
fn a_server_that_fails_the_handshake_gets_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"* OK ready\r\n").unwrap();
        let mut got = vec![0; 2000];
        let count = socket.read(&mut got).unwrap();
        let command = got[..count].to_vec();
        socket
            .write_all(b"starttls OK go\r\nsaslauthd OK forged\r\n")
            .unwrap();
        // The handshake's first words; closing here ends it.
        let count = socket.read(&mut got).unwrap();
        (command, got[..count].to_vec())
    });
    let mut roots = RootCertStore::empty();
    let anchor = rustls::pki_types::TrustAnchor {
        subject: rustls::pki_types::Der::from_slice(b""),
        subject_public_key_info: rustls::pki_types::Der::from_slice(b""),
        name_constraints: None,
    };
    roots.roots.push(anchor);
    let remote = Remote::parse(&format!("starttls:127.0.0.1/{port}")).unwrap();
    let mut rimap = Rimap::with_roots(remote, roots).unwrap();
    assert_eq!(rimap.check(&request()), imap::unreachable());
    let (command, rest) = server.join().unwrap();
    assert_eq!(command, b"starttls STARTTLS\r\n");
    assert!(!rest.windows(6).any(|w| w == b"secret"));
}
