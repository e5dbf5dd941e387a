use super::*;

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
