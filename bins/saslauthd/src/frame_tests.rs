use super::*;
use proptest::prelude::*;

fn request(login: &[u8], password: &[u8], service: &[u8], realm: &[u8]) -> Request {
    Request {
        login: login.to_vec(),
        password: Zeroizing::new(password.to_vec()),
        service: service.to_vec(),
        realm: realm.to_vec(),
    }
}

fn read_all(octets: &[u8]) -> Progress {
    RequestReader::default().push(octets)
}

#[test]
fn whole_requests_and_bad_ones() {
    let long = [b"\x01\x01".as_slice(), &[b'u'; 257]].concat();
    let cases: Vec<(&[u8], Progress)> = vec![
        (
            b"\0\x05alice\0\x06secret\0\x04smtp\0\x0bexample.org",
            Progress::Request(request(b"alice", b"secret", b"smtp", b"example.org")),
        ),
        (
            b"\0\x01a\0\x01b\0\0\0\0",
            Progress::Request(request(b"a", b"b", b"", b"")),
        ),
        (
            b"\0\x01a\0\x01b\0\0\0\0\0\x09127.0.0.1",
            Progress::Request(request(b"a", b"b", b"", b"")),
        ),
        (b"", Progress::More),
        (b"\0", Progress::More),
        (b"\0\x05alice\0\x06sec", Progress::More),
        (b"\0\x05alice\0\x06secret\0\x04smtp", Progress::More),
        (
            b"\0\0\0\x06secret\0\x04smtp\0\0",
            Progress::Refused(Refusal::Empty(Field::Login)),
        ),
        (b"\0\0\0\x06secret", Progress::More),
        (
            b"\0\x01a\0\0\0\x04smtp\0\0",
            Progress::Refused(Refusal::Empty(Field::Password)),
        ),
        (
            b"\0\x02\0a\0\x01b\0\0\0\0",
            Progress::Refused(Refusal::Empty(Field::Login)),
        ),
        (
            b"\0\x01a\0\x03b\0c\0\0\0\0",
            Progress::Refused(Refusal::Nul(Field::Password)),
        ),
        (
            b"\0\x01a\0\x01b\0\0\0\x03r\0s",
            Progress::Refused(Refusal::Nul(Field::Realm)),
        ),
        (&long, Progress::Refused(Refusal::TooLong(Field::Login))),
        (
            b"\xff\xff",
            Progress::Refused(Refusal::TooLong(Field::Login)),
        ),
        (
            b"\0\x01a\0\x01b\x01\x01",
            Progress::Refused(Refusal::TooLong(Field::Service)),
        ),
    ];
    for (octets, want) in cases {
        assert_eq!(read_all(octets), want, "{}", octets.escape_ascii());
    }
}

#[test]
fn fields_of_256_octets_are_taken() {
    let field = [b'x'; 256];
    let whole = request(&field, &field, &field, &field);
    let frame = whole.to_frame().unwrap();
    assert_eq!(frame.len(), REQUEST_LIMIT_OCTETS);
    assert_eq!(read_all(&frame), Progress::Request(whole));
}

#[test]
fn what_the_refused_client_reads() {
    assert_eq!(
        Refusal::TooLong(Field::Login).answer().to_frame(),
        b"\0\x03NO "
    );
    assert_eq!(
        Refusal::Empty(Field::Password).answer().to_frame(),
        b"\0\x19NO NULL password received"
    );
}

#[test]
fn debug_hides_the_password() {
    let shown = format!("{:?}", request(b"alice", b"hunter2", b"", b""));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("alice"), "{shown}");
}

#[test]
fn replies() {
    type Case<'a> = (&'a [u8], Result<Option<&'a [u8]>, BadReply>, BadReply);
    let cases: [Case; 7] = [
        (b"\0\x02OK", Ok(Some(b"OK")), BadReply::Cut),
        (b"\0\x02OKsurplus", Ok(Some(b"OK")), BadReply::Cut),
        (b"\0\x18NO cut", Ok(None), BadReply::Cut),
        (b"", Ok(None), BadReply::NoCount),
        (b"\0", Ok(None), BadReply::NoCount),
        (b"\0\0", Err(BadReply::TooShort), BadReply::Cut),
        (b"\0\x01O", Err(BadReply::TooShort), BadReply::Cut),
    ];
    for (octets, want, at_end) in cases {
        let mut reader = ReplyReader::default();
        let got = reader.push(octets);
        assert_eq!(
            got.as_ref().map(|a| a.as_ref().map(|a| a.text())),
            want.as_ref().map(|o| *o),
            "{}",
            octets.escape_ascii()
        );
        assert_eq!(reader.end(), at_end, "{}", octets.escape_ascii());
    }
}

proptest! {
    #[test]
    fn pieces_and_the_whole_agree(octets in proptest::collection::vec(0u8..8, 0..80), cut in 1usize..9) {
        let whole = read_all(&octets);
        let mut reader = RequestReader::default();
        let mut in_pieces = Progress::More;
        for piece in octets.chunks(cut) {
            in_pieces = reader.push(piece);
            if in_pieces != Progress::More {
                break;
            }
        }
        // A count over the limit is known as soon as it is read, so pieces
        // never say less than the whole, and the same where both say something.
        prop_assert_eq!(in_pieces, whole);
    }

    #[test]
    fn what_is_written_is_read_back(
        login in "[a-z]{1,256}", password in "[ -~]{1,256}", service in "[a-z]{0,20}", realm in "[a-z.]{0,256}"
    ) {
        let sent = request(login.as_bytes(), password.as_bytes(), service.as_bytes(), realm.as_bytes());
        prop_assert_eq!(read_all(&sent.to_frame().unwrap()), Progress::Request(sent));
    }

    #[test]
    fn the_reader_is_bounded(octets in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let mut reader = RequestReader::default();
        let _ = reader.push(&octets);
        prop_assert!(reader.held.capacity() <= REQUEST_LIMIT_OCTETS);
    }
}
