use super::*;
use proptest::prelude::*;

#[test]
fn quotes_go_where_what_is_inside_stands_alone() {
    for (token, want) in [
        ("joe", "joe"),
        ("\"joe\"", "joe"),
        ("\"a@b\"", "a@b"),
        ("\"\"", ""),
        ("\"a b\"", "\"a b\""),
        ("\"a(b\"", "\"a(b\""),
        ("\"(a)\"", "\"(a)\""),
        ("\"a\\\"b\"", "a\\\"b"),
    ] {
        assert_eq!(dequote(token.as_bytes()), want.as_bytes(), "{token}");
    }
}

#[test]
fn commas_stand_only_before_operators() {
    assert!(stray_comma(b"a,b"));
    assert!(stray_comma(b"a,"));
    assert!(!stray_comma(b"a,@b"));
    assert!(!stray_comma(b"\"a,b\""));
}

proptest! {
    #[test]
    fn what_takes_the_short_way_is_right_by_the_long_one(
        local in "[ab.+%!@,\\[\"]{0,5}",
        host in "[ab.@,\\[\\]:]{0,7}",
    ) {
        let host = Host::plain(host);
        let long_way = syntax_error_of(local.as_bytes(), &host.dotted());
        let mailbox = Mailbox::new(local, Some(host));
        prop_assert_eq!(syntax_error(&mailbox), long_way);
    }
}
