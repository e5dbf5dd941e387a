//! Readable cases: what is written, and what it is taken for.

use proptest::prelude::*;

use super::*;

fn parts(written: &str) -> Result<(String, String), AddressError> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Address::parse(written.as_bytes()).map(|address| {
        (
            text(address.local()),
            address
                .domain()
                .map(|domain| text(domain.as_bytes()))
                .unwrap_or_default(),
        )
    })
}

#[test]
fn addresses_are_taken_apart() {
    for (written, local, domain) in [
        ("<joe@a.example>", "joe", "a.example"),
        ("joe@a.example", "joe", "a.example"),
        ("<joe>", "joe", ""),
        ("<joe@>", "joe", ""),
        ("<Joe.Doe+x@A.Example.>", "Joe.Doe+x", "A.Example."),
        ("<joe@[192.0.2.1]>", "joe", "[192.0.2.1]"),
        ("<joe@[IPv6:2001:db8::1]>", "joe", "[IPv6:2001:db8::1]"),
        ("<@a.example:joe@b.example>", "joe", "b.example"),
        ("<@a.example,@b.example:joe@c.example>", "joe", "c.example"),
        ("<@[IPv6:::1]:joe@b.example>", "joe", "b.example"),
        ("<joe%b.example@a.example>", "joe%b.example", "a.example"),
        ("<b.example!joe>", "b.example!joe", ""),
        ("<\"a@b\"@c.example>", "\"a@b\"", "c.example"),
        ("<\"a b\"@c.example>", "\"a b\"", "c.example"),
        ("<a b@c.example>", "a.b", "c.example"),
        ("< a @ c.example >", "a", "c.example"),
        ("joe (the man) <joe@a.example> (him)", "joe", "a.example"),
        ("<a\\@b@c.example>", "a\\@b", "c.example"),
        ("<a\\!b>", "a!b", ""),
        ("<\"\\\"\"@c.example>", "\"\\\"\"", "c.example"),
    ] {
        let expected = (local.to_owned(), domain.to_owned());
        assert_eq!(parts(written), Ok(expected), "{written}");
    }
}

#[test]
fn what_is_no_address_says_why() {
    use AddressError::{Colon, Group, Host, Literal, NoUser, Quote, Route, Unbalanced};
    for (written, error) in [
        ("", NoUser),
        ("<>", NoUser),
        ("<@a.example>", NoUser),
        ("<\"\"@a.example>", NoUser),
        ("<joe", Unbalanced('<')),
        ("joe>", Unbalanced('>')),
        ("joe (", Unbalanced('(')),
        ("joe )", Unbalanced(')')),
        ("<\"joe@a.example>", Quote),
        ("<a@b@c.example>", Route),
        ("<a,b@c.example>", Route),
        ("<list:;>", Group),
        ("<joe@a..example>", Host),
        ("<joe@.example>", Host),
        ("<joe@[1.2.3.4]x>", Literal),
        ("<joe@[1.2.3.4>", Literal),
        ("<joe@[]>", Literal),
        ("<joe@a:b>", Colon),
        ("<joe@a\0b>", AddressError::Control),
        ("<joe@a\nb>", AddressError::Control),
    ] {
        assert_eq!(parts(written), Err(error), "{written:?}");
    }
    let long = vec![b'a'; 10 * 1024];
    assert_eq!(Address::parse(&long), Err(AddressError::TooLong));
}

#[test]
fn only_the_reverse_path_may_be_null() {
    assert_eq!(ReversePath::parse(b"<>"), Ok(ReversePath::Null));
    assert_eq!(ReversePath::parse(b""), Ok(ReversePath::Null));
    assert_eq!(Address::parse(b"<>"), Err(AddressError::NoUser));
}

#[test]
fn literals_are_read_in_every_spelling() {
    let one: IpAddr = "2001:db8::1".parse().unwrap();
    for written in [
        "[IPv6:2001:db8::1]",
        "[ipv6:2001:DB8:0:0:0:0:0:1]",
        "[IPv6:2001:0db8:0000:0000:0000:0000:0000:0001]",
        "[IPv6:2001:db8::0.0.0.1]",
    ] {
        assert_eq!(parse_literal(written.as_bytes()), Some(one), "{written}");
    }
    for bad in [
        "[2001:db8::1]",
        "[IPv6:1.2.3.4]",
        "[1.2.3]",
        "1.2.3.4",
        "[x]",
    ] {
        assert_eq!(parse_literal(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn details() {
    assert_eq!(split_detail(b"a+b+c"), Some((&b"a"[..], &b"b+c"[..])));
    assert_eq!(split_detail(b"a+"), Some((&b"a"[..], &b""[..])));
    assert_eq!(split_detail(b"+a"), None);
    assert_eq!(split_detail(b"\"a+b\""), None);
}

proptest! {
    #[test]
    fn any_octets_are_parsed_or_refused(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(address) = Address::parse(&text) {
            prop_assert!(!address.local().is_empty());
            prop_assert!(address.local().len() <= MAX_ADDRESS_OCTETS);
        }
    }

    #[test]
    fn simple_addresses_are_read_as_all_are(text in "<?[a-z@.%!+<>\\[\\]:,; ]{0,12}>?") {
        prop_assert_eq!(lex(text.as_bytes()), lex_all(text.as_bytes()));
    }

    /// What was parsed is written so that it parses to the same.
    #[test]
    fn parsing_is_stable(text in "[a-z@.%!+\"\\\\<>\\[\\]:, ()]{0,24}") {
        if let Ok(address) = Address::parse(text.as_bytes()) {
            let mut again = b"<".to_vec();
            again.extend_from_slice(address.local());
            if let Some(domain) = address.domain() {
                again.push(b'@');
                again.extend_from_slice(domain.as_bytes());
            }
            again.push(b'>');
            let again = Address::parse(&again).unwrap();
            prop_assert_eq!((again.local(), again.domain()), (address.local(), address.domain()));
        }
    }
}
