use super::*;

/// The elements as text; what is unbalanced stands behind its sign.
fn listed(list: &str, separator: Separator) -> Vec<String> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    addresses(list.as_bytes(), separator)
        .iter()
        .map(|element| match element {
            Listed::Address(address) => text(address),
            Listed::Unbalanced(written, sign) => format!("{sign}? {}", text(written)),
        })
        .collect()
}

#[test]
fn lists() {
    let cases: [(&str, &[&str]); 26] = [
        ("ann", &["ann"]),
        (" ann , bob,,", &["ann", "bob"]),
        (
            "\"Q, R\" <zoe@x.example> (c), ann",
            &["zoe@x.example", "ann"],
        ),
        ("ann (a, b (c, d)), bob", &["ann", "bob"]),
        (
            "list: bob, ann@test.example; zoe",
            &["bob", "ann@test.example", "zoe"],
        ),
        ("undisclosed-recipients:;", &[]),
        ("\"a, b\"@c.example", &["\"a, b\"@c.example"]),
        ("<@a,@b:c@d>", &["@a,@b:c@d"]),
        ("Joe\n\t<joe@b>", &["joe@b"]),
        (":include:/x", &[":include:/x"]),
        ("<>", &[]),
        ("a\\,b", &["a\\,b"]),
        ("<\"x>y\"@b>", &["\"x>y\"@b"]),
        ("node::user@b", &["node::user@b"]),
        ("", &[]),
        ("a b, c", &["a b", "c"]),
        // What is open at the end has swallowed the rest.
        ("ann, \"unbalanced, b", &["ann", "\"? \"unbalanced, b"]),
        ("ann (unbalanced, bob", &["(? ann (unbalanced, bob"]),
        ("Ann <ann@x> (a (b), bob", &["(? Ann <ann@x> (a (b), bob"]),
        ("<ann@x, bob", &["<? <ann@x, bob"]),
        ("<\"ann@x>, bob", &["\"? <\"ann@x>, bob"]),
        // What was never open has not.
        ("ann@x>, bob", &[">? ann@x>", "bob"]),
        ("ann), bob", &[")? ann)", "bob"]),
        ("Ann :-> <ann@x>, bob", &["ann@x", "bob"]),
        ("<ann@x>>, bob", &["ann@x", "bob"]),
        ("(", &["(? ("]),
    ];
    for (list, want) in cases {
        assert_eq!(listed(list, Separator::Comma), want, "{list}");
    }
}

#[test]
fn lists_of_the_old_style() {
    let cases: [(&str, &[&str]); 9] = [
        ("ann bob", &["ann", "bob"]),
        (" ann@x \n\tbob@y\tzoe@z ", &["ann@x", "bob@y", "zoe@z"]),
        ("\"a b\" c", &["\"a b\"", "c"]),
        ("\"a b\"@x c", &["\"a b\"@x", "c"]),
        ("a\\ b c", &["a\\ b", "c"]),
        ("ann @ x @y bob", &["ann @ x @y", "bob"]),
        ("list: a b", &["a", "b"]),
        (":include:/x b", &[":include:/x", "b"]),
        ("ann> bob", &[">? ann>", "bob"]),
    ];
    for (list, want) in cases {
        assert_eq!(listed(list, Separator::Blank), want, "{list}");
    }
}

#[test]
fn signs_of_the_new_style() {
    for (list, want) in [
        ("a b", Separator::Blank),
        ("a: b", Separator::Blank),
        ("\"a b\"", Separator::Blank),
        ("a, b", Separator::Comma),
        ("a;", Separator::Comma),
        ("<a", Separator::Comma),
        ("a (b)", Separator::Comma),
    ] {
        assert_eq!(Separator::Blank.after(list.as_bytes()), want, "{list}");
    }
    assert_eq!(Separator::Comma.after(b"a b"), Separator::Comma);
}

proptest::proptest! {
    #[test]
    fn no_list_makes_it_panic(list in "[a-c@<>(),;:\"\\\\ \n]{0,40}", old in proptest::bool::ANY) {
        let separator = if old { Separator::Blank } else { Separator::Comma };
        for element in addresses(list.as_bytes(), separator) {
            let (Listed::Address(text) | Listed::Unbalanced(text, _)) = element;
            proptest::prop_assert!(!text.is_empty());
            proptest::prop_assert!(!text.contains(&b'\n'));
        }
    }

    #[test]
    fn nothing_of_a_list_is_lost(list in "[a-c@<>(),;\"\\\\ ]{0,40}") {
        // Of what is written outside comments, quotes and display names each word is in
        // an element: an open one has taken all the rest.
        for element in addresses(list.as_bytes(), Separator::Comma) {
            if let Listed::Unbalanced(text, '(' | '<' | '"') = element {
                let tail = list.as_bytes().trim_ascii();
                let rest: Vec<u8> = text.into_iter().filter(|c| *c != b' ').collect();
                let tail: Vec<u8> = tail.iter().copied().filter(|c| *c != b' ').collect();
                proptest::prop_assert!(tail.ends_with(&rest));
            }
        }
    }
}
