//! Any octets from a server: the SMTP or LMTP client comes to an end or waits, gives each
//! recipient one verdict, calls none taken without a reply that says so, and sends the
//! text only after a 354, or what else its first digit makes one (RFC 5321, 4.2.1).
//!
//! `cargo fuzz run client`
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::relay::client::{
    Action, Client, Letter, LoopCheck, Protocol, Receiver, Settings, StartTls, Verdict,
};
use smtpd::relay::reply::Class;

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (kind, size, recipients, octets) = input;
    let protocol = match kind % 3 {
        0 => Protocol::Esmtp,
        1 => Protocol::Smtp,
        _ => Protocol::Lmtp,
    };
    let mut client = Client::new(Settings {
        protocol,
        name: "me.example".into(),
        own_name: "me.example".into(),
        start_tls: StartTls::WhereOffered,
        login: None,
        loop_check: LoopCheck::Refuse,
    });
    let count = usize::from(recipients);
    let letter = Letter {
        sender: b"a@b".to_vec(),
        recipients: vec![Receiver::default(); count],
        ..Letter::default()
    };
    let mut said = octets.chunks(usize::from(size).max(1));
    let (mut begun, mut goes_on, mut secured) = (0, false, false);
    loop {
        match client.step() {
            Action::Write(_) => {}
            Action::Read(_) => match said.next() {
                Some(piece) => {
                    let is_asked = |w: &[u8]| w[0] == b'3' && w[1..].iter().all(u8::is_ascii_digit);
                    goes_on |= octets.windows(3).any(is_asked);
                    client.receive(piece);
                }
                None => client.lost("end"),
            },
            Action::Secure => {
                assert!(!secured);
                secured = true;
                client.secured(Vec::new());
            }
            Action::Judge => client.approve(),
            Action::SendText => {
                assert!(goes_on, "text that nobody asked for");
                client.text_sent();
            }
            Action::Ready | Action::Over(_) => {}
        }
        if let Some(report) = client.take_report() {
            assert_eq!(report.len(), count);
            for verdict in report {
                if let Verdict::Answered(_, reply) = verdict {
                    assert!(reply.class() != Class::GoOn);
                }
            }
        }
        match client.step() {
            Action::Ready if begun < 5 => {
                begun += 1;
                client.begin(letter.clone());
            }
            Action::Ready => client.quit(),
            Action::Over(_) => return,
            Action::Write(_) => {}
            _ => {}
        }
    }
});
