//! Any octets from an IMAP server: the dialogue ends or waits, says at most one
//! LOGIN and sends no password before TLS where TLS is wanted.
//!
//! `cargo fuzz run imap`
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslauth::mech::imap::{ImapLogin, StartTls, Step};

const PASSWORD: &[u8] = b"pa\\ss\"word";

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (tls, size, octets) = input;
    let start_tls = if tls {
        StartTls::Required
    } else {
        StartTls::No
    };
    let mut imap = ImapLogin::new(b"user", PASSWORD, start_tls).expect("no CR, LF or NUL");
    let (mut secured, mut logins) = (false, 0);
    for piece in octets.chunks(usize::from(size).max(1)) {
        let mut step = imap.on_input(piece);
        if step == Step::Handshake {
            assert!(tls && !secured);
            secured = true;
            step = imap.secured();
        }
        match step {
            Step::Read => {}
            Step::Send(sent) => {
                assert!(sent.ends_with(b"\r\n"));
                if sent.starts_with(b"saslauthd LOGIN") {
                    logins += 1;
                    assert!(secured || !tls, "a password in clear");
                }
            }
            Step::Done(answer, _) => {
                assert!(!answer.is_ok() || logins == 1);
                return;
            }
            Step::Handshake => panic!("a second handshake"),
        }
        assert!(logins <= 1);
    }
});
