//! Readable cases: an RHS, what it means, and what the client is told.

use proptest::prelude::*;

use super::*;

#[test]
fn words_in_any_case() {
    for (rhs, verdict) in [
        ("OK", Verdict::Ok),
        ("relay", Verdict::Relay),
        ("Reject", Verdict::Reject),
        ("DISCARD", Verdict::Discard),
        ("skip", Verdict::Skip),
        (
            "QUARANTINE:held for review",
            Verdict::Quarantine("held for review".into()),
        ),
        ("quarantine:", Verdict::Quarantine("QUARANTINE".into())),
        ("QUARANTINE: \"\"", Verdict::Quarantine("QUARANTINE".into())),
    ] {
        assert_eq!(Verdict::parse(rhs.as_bytes()), verdict, "{rhs}");
    }
}

#[test]
fn everything_else_is_a_refusal() {
    for (rhs, at, text, reply) in [
        (
            "ERROR:5.7.1:550 Go away",
            "5.7.1",
            "550 Go away",
            "550 5.7.1 Go away",
        ),
        (
            "ERROR:550 no thanks",
            "",
            "550 no thanks",
            "550 5.0.0 no thanks",
        ),
        (
            "error:4.2.2:450 full",
            "4.2.2",
            "450 full",
            "450 4.2.2 full",
        ),
        (
            "ERROR:\"551 Quoted, text\"",
            "",
            "551 Quoted, text",
            "551 5.0.0 Quoted, text",
        ),
        ("550 old style", "", "550 old style", "550 5.0.0 old style"),
        ("451 4.7.1 later", "", "451 4.7.1 later", "451 4.7.1 later"),
        ("no code here", "", "no code here", "553 5.3.0 no code here"),
        ("QUARANTINE", "", "QUARANTINE", "553 5.3.0 QUARANTINE"),
        ("REJECT now", "", "REJECT now", "553 5.3.0 REJECT now"),
        ("ERROR:", "", "ERROR:", "553 5.3.0 ERROR:"),
        ("ERROR:5.7.1:", "", "5.7.1:", "553 5.3.0 5.7.1:"),
        ("ERROR:5.7:550 x", "", "5.7:550 x", "553 5.3.0 5.7:550 x"),
        (
            "ERROR:no.such.code:550 x",
            "no.such.code",
            "550 x",
            "550 5.0.0 x",
        ),
        ("ERROR:5.7.1:999 x", "5.7.1", "999 x", "553 5.3.0 999 x"),
    ] {
        let Verdict::Error(refusal) = Verdict::parse(rhs.as_bytes()) else {
            panic!("{rhs} is no refusal");
        };
        assert_eq!((&*refusal.at, &*refusal.text), (at, text), "{rhs}");
        assert_eq!(refusal.reply().to_string(), reply, "{rhs}");
    }
}

proptest! {
    #[test]
    fn any_octets_are_a_verdict(rhs in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Verdict::Error(refusal) = Verdict::parse(&rhs) {
            prop_assert!((400..600).contains(&refusal.reply().code));
        }
    }
}

#[test]
fn a_refusal_holds_nothing_that_controls() {
    let refusal = Refusal::new("4.4.0", " 450 \"no MX\" for\ta\x05b\r\n250 c\x7f\u{e4}\n");
    assert_eq!(
        refusal.reply().to_string(),
        "450 4.4.0 no MX for\ta?b??250 c?\u{e4}"
    );
}
