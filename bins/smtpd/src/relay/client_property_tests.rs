//! Any server: the client comes to an end, and each recipient has one verdict.

use proptest::prelude::*;

use super::{Action, Client, letter, settings};
use crate::relay::client::{Protocol, Verdict};
use crate::relay::reply::Class;

fn piece() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        4 => Just(&b"250 ok\r\n"[..]),
        2 => Just(&b"220 hi\r\n"[..]),
        2 => Just(&b"354 go\r\n"[..]),
        1 => Just(&b"250-mx\r\n250 PIPELINING\r\n"[..]),
        1 => Just(&b"250-mx\r\n250 STARTTLS\r\n"[..]),
        1 => Just(&b"452 4.5.3 many\r\n"[..]),
        1 => Just(&b"550 5.1.1 no\r\n"[..]),
        1 => Just(&b"421 bye\r\n"[..]),
        1 => Just(&b"25"[..]),
        1 => Just(&b"0 ok\r\n"[..]),
        1 => Just(&b"\xff\r\n"[..]),
    ]
}

proptest! {
    #[test]
    fn every_recipient_has_one_verdict(
        pieces in proptest::collection::vec(piece(), 0..40),
        lmtp in proptest::bool::ANY,
        count in 1usize..5,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Esmtp };
        let mut client = Client::new(settings(protocol));
        let mut pieces = pieces.into_iter();
        let names = ["a@b", "c@d", "e@f", "g@h", "i@j"];
        let mut texts = 0;
        let mut open = false;
        for _ in 0..1000 {
            match client.step() {
                Action::Write(_) => {}
                Action::Read(_) => match pieces.next() {
                    Some(piece) => client.receive(piece),
                    None => client.lost("end"),
                },
                Action::Secure => client.secured(Vec::new()),
                Action::Judge => client.approve(),
                Action::SendText => {
                    prop_assert!(open, "text outside of a transaction");
                    texts += 1;
                    client.text_sent();
                }
                Action::Ready | Action::Over(_) => {
                    if open {
                        let report = client.take_report().expect("a report");
                        prop_assert_eq!(report.len(), count);
                        for verdict in report {
                            // Nobody has it without a text and a reply that says so.
                            if let Verdict::Answered(_, reply) = verdict {
                                prop_assert!(reply.class() != Class::GoOn);
                                prop_assert!(reply.class() != Class::Yes || texts > 0);
                            }
                        }
                    }
                    texts = 0;
                    if matches!(client.step(), Action::Over(_)) {
                        return Ok(());
                    }
                    open = true;
                    client.begin(letter(names.get(..count).unwrap_or_default()));
                }
            }
        }
        prop_assert!(false, "no end");
    }
}
