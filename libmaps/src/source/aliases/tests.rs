//! Readable cases: a file, then `LHS=RHS` and faults in order, each after its line number.

use super::*;
use crate::sysexits::SysExit;
use proptest::prelude::*;

fn parsed(text: &[u8], grammar: &Grammar) -> Vec<String> {
    let mut parser = Aliases::new(text, grammar);
    let mut out = Vec::new();
    while let Some(line) = parser.next().unwrap() {
        for fault in line.faults {
            out.push(format!("{}: {fault}", line.line));
        }
        if let Some(alias) = line.alias {
            let text = |octets| String::from_utf8_lossy(octets).into_owned();
            out.push(format!(
                "{}: {}={}",
                line.line,
                text(alias.lhs),
                text(alias.rhs)
            ));
        }
    }
    out
}

fn check(cases: &[(&str, &[&str])], grammar: &Grammar) {
    for (text, want) in cases {
        assert_eq!(parsed(text.as_bytes(), grammar), *want, "{text:?}");
    }
}

fn sendmail() -> Grammar {
    Grammar {
        limits: Limits::Sendmail,
        ..Grammar::default()
    }
}

#[test]
fn entries() {
    check(
        &[
            ("a: b\n", &["1: a=b"]),
            ("a:b\nb : c\nc\t:\td", &["1: a=b", "2: b=c", "3: c=d"]),
            ("# c\n\nFoo: Bar\n", &["3: foo=Bar"]),
            (
                "a: |/bin/x y\nb: \"|/bin/x, y\"\n",
                &["1: a=|/bin/x y", "2: b=\"|/bin/x, y\""],
            ),
            (
                "a: \\a, /var/x, :include:/y\n",
                &["1: a=\\a, /var/x, :include:/y"],
            ),
            (
                "owner-l: x\nl-request: owner-l\n",
                &["1: owner-l=x", "2: l-request=owner-l"],
            ),
        ],
        &Grammar::default(),
    );
}

#[test]
fn continuation() {
    check(
        &[
            ("a: b,\n  c\n\td\ne: f\n", &["3: a=b,  c\td", "4: e=f"]),
            ("a:\n  x\n", &["2: a=x"]),
            ("a: b\\\nc: d\n", &["2: a=bc: d"]),
            ("fo\\\no: bar\n", &["2: foo=bar"]),
            ("a: b\\", &["1: a=b\\"]),
            ("a: b\n \nc: d\n", &["2: a=b ", "3: c=d"]),
            (
                "a: b,\n\n c\n",
                &["1: a=b,", "3: Non-continuation line starts with space"],
            ),
            ("# c \\\na: b\n", &["2: a=b"]),
            ("a: b,\n  # c\n  d\ne: f\n", &["3: a=b,  d", "4: e=f"]),
            ("# c\n  more\na: b\n", &["3: a=b"]),
            ("foo\n bar\na: b", &["2: missing colon", "3: a=b"]),
        ],
        &Grammar::default(),
    );
}

#[test]
fn a_comment_that_is_not_indented_ends_an_alias() {
    let cut = |line, comment| {
        format!(
            "{line}: what is indented here belongs to the comment of line {comment}, not to the unfinished alias above it"
        )
    };
    let [below_2, below_3] = [cut(3, 2), cut(5, 3)];
    check(
        &[
            // Aliases of several lines that were put aside.
            (
                "sales: ann\n#press: bob,\n\tcarol,\n\tdave\nsupport:ann@example.com\n#old: x,\n   y\n",
                &["1: sales=ann", "5: support=ann@example.com"],
            ),
            (
                "a: b,\n# c \\\n  d\ne: f\n",
                &["1: a=b,", &below_2, "4: e=f"],
            ),
            ("a: b,\n# c\n# x\n  d\n e\n", &["1: a=b,", &below_3]),
            (
                "a: b, \n  c ,\t\n#\n\td\n\te",
                &["2: a=b,   c ,\t", &below_3],
            ),
            (
                "a:\n# c\n  d\n",
                &["1: a:... missing value for alias", &below_2],
            ),
            ("a: b,\n# c\ne: f\n", &["1: a=b,", "3: e=f"]),
            ("a: b\n# c\n  , d\ne: f\n", &["1: a=b", "4: e=f"]),
            ("a: b,\n\n# c\n  d\n", &["1: a=b,"]),
            ("a: b,\n  # c\n# x\n  d\n", &["1: a=b,", &cut(4, 3)]),
            ("a: b,\n#c", &["1: a=b,"]),
        ],
        &Grammar::default(),
    );
}

#[test]
fn line_ends() {
    check(
        &[
            ("a: b\r\nc: d\\\r\n e\r\n", &["1: a=b", "3: c=d e"]),
            ("a: b\\\r\nc: d\r\n", &["1: a=b\\\r", "2: c=d\r"]),
        ],
        &Grammar::default(),
    );
}

#[test]
fn names() {
    check(
        &[
            ("foo@localhost: x\n", &["1: foo=x"]),
            ("foo@LocalHost: x\n", &["1: foo=x"]),
            (
                "a@b.example: x\n",
                &["1: a@b.example... cannot alias non-local names"],
            ),
            ("@: @\n", &["1: =@"]),
            (
                "a@: x\n",
                &[
                    "1: a@... Hostname required",
                    "1: a@... cannot alias non-local names",
                ],
            ),
            (
                "@a: x\n",
                &[
                    "1: @a... User address required",
                    "1: @a... cannot alias non-local names",
                ],
            ),
            (
                "a,b: c\n",
                &[
                    "1: a,b... Invalid route address",
                    "1: a,b... cannot alias non-local names",
                ],
            ),
            ("\"First Last\": x\n", &["1: \"first last\"=x"]),
            ("\"joe\": x\n", &["1: joe=x"]),
            ("\"a:b\": c\n", &["1: a:b=c"]),
            (
                "\"a@b\": c\n",
                &["1: \"a@b\"... cannot alias non-local names"],
            ),
            (
                "\"|/bin/x y\": c\n",
                &["1: \"|/bin/x y\"... cannot alias non-local names"],
            ),
            (
                "\":include:/x\": c\n",
                &["1: \":include:/x\"... cannot alias non-local names"],
            ),
            ("a  b c: y\n", &["1: a.b.c=y"]),
            ("a%localhost: b\nlocalhost!c: d\n", &["1: a=b", "2: c=d"]),
            ("a%b@localhost: b\n", &["1: a%b=b"]),
            ("A <b> c: d\n", &["1: b=d"]),
            (
                "foo(a(b)c): x\nbar(a:b): y\n",
                &["1: foo=x", "2: bar=b): y"],
            ),
            ("a): b\n", &["1: a): b... Unbalanced ')'", "1: a=b"]),
            ("x>: b\n", &["1: x>: b... Unbalanced '>'"]),
            ("\"a: b\n", &["1: \"a: b... Unbalanced '\"'"]),
            (": x\n", &["1: : x... illegal alias name"]),
            ("\\: x\n", &["1: \\: x... illegal alias name"]),
            (
                "caf\u{e9}: x\n\u{df}\u{c9}: y\n",
                &["1: caf\u{e9}=x", "2: \u{df}\u{c9}=y"],
            ),
            ("a:   \n", &["1: a:   ... missing value for alias"]),
        ],
        &Grammar::default(),
    );
}

#[test]
fn octets_that_are_no_text() {
    let eight_bit = [
        "1: 8-bit character in mailbox address \"?\"",
        "1: ?: x... illegal alias name",
    ];
    assert_eq!(parsed(b"\x80: x\n", &Grammar::default()), eight_bit);
    let got = parsed(b"a\xffb: x\nc: d\n", &Grammar::default());
    assert_eq!(got.last().unwrap(), "2: c=d");
    assert!(got[0].contains("(non-printable character)"));
    let nul = b"a: b\nc\0d: e\nf: g\nh: i\n";
    assert_eq!(
        parsed(nul, &Grammar::default()),
        ["1: a=b", "2: NUL in alias line", "3: f=g", "4: h=i"]
    );
    assert_eq!(
        parsed(nul, &sendmail()),
        ["1: a=b", "2: alias line too long", "4: h=i"]
    );
    assert_eq!(parsed(b"a: b\nc: d\0\n", &sendmail()), ["1: a=b", "2: c=d"]);
    assert_eq!(
        parsed(b"c: d\0\n e\nf: g\n", &sendmail()),
        ["2: c=d e", "3: f=g"]
    );
}

#[test]
fn sendmail_s_line_limit_is_8190_octets() {
    let v = |n: usize| "v".repeat(n);
    let summary = |text: String, grammar: &Grammar| -> Vec<String> {
        let cut = |s: String| s.chars().take(24).collect::<String>();
        parsed(text.as_bytes(), grammar)
            .into_iter()
            .map(cut)
            .collect()
    };
    let long = "1: alias line too long";
    let fits = "1: a=vvvvvvvvvvvvvvvvvvv";
    let cases: &[(String, &[&str])] = &[
        (format!("a: {}\nx: y\n", v(8187)), &[fits, "2: x=y"]),
        (format!("a: {}\nx: y\n", v(8188)), &[long, "2: x=y"]),
        (format!("a: {}", v(8188)), &[fits]),
        (format!("a: {}", v(8189)), &[long]),
        (format!("a: {}\\\nz: q\nx: y\n", v(8188)), &[long, "3: x=y"]),
        (format!("a: {}\\\nz: q\nx: y\n", v(9000)), &[long, "3: x=y"]),
        (format!("a: {}\n z: q\nx: y\n", v(9000)), &[long, "3: x=y"]),
        (
            format!("a: {}\n vvvvvvv\nx: y\n", v(8180)),
            &["2: alias line too long", "3: x=y"],
        ),
        (format!("#{}\n y\nx: y\n", v(8191)), &[long, "3: x=y"]),
        (format!("#{}\nx: y\n", v(8189)), &["2: x=y"]),
    ];
    for (text, want) in cases {
        assert_eq!(
            summary(text.clone(), &sendmail()),
            *want,
            "{} octets",
            text.len()
        );
    }
    let mib = format!("a: {}\nx: y\n", v(1 << 20));
    assert_eq!(summary(mib, &Grammar::default()), [fits, "2: x=y"]);
}

#[test]
fn members_are_checked_when_asked_for() {
    let grammar = Grammar {
        members: Members::Checked,
        ..Grammar::default()
    };
    check(
        &[
            (
                "a: b, d@e.example, \"|/bin/x\", /f, :include:/y\n",
                &["1: a=b, d@e.example, \"|/bin/x\", /f, :include:/y"],
            ),
            (
                "a: b,\n  c@,\n  d\n",
                &["3: c@,  d... Hostname required", "3: a=b,  c@,  d"],
            ),
            ("a: \"b\n", &["1: \"b... Unbalanced '\"'", "1: a=\"b"]),
            (
                "d: (only)\n",
                &["1: (only)... (only)... bad address", "1: d=(only)"],
            ),
            ("a: b,,c\nd: ,\n", &["1: a=b,,c", "2: d=,"]),
        ],
        &grammar,
    );
}

#[test]
fn faults_of_a_long_line_are_listed_up_to_a_hundred_and_hold_little() {
    let grammar = Grammar {
        members: Members::Checked,
        ..Grammar::default()
    };
    // The bad members, how often, and what the first and the last listed fault are.
    let cases = [
        ("b@,", 100, 100, 0, SysExit::Usage, SysExit::Usage),
        ("b@,", 30_000, 100, 29_900, SysExit::Usage, SysExit::Usage),
        ("(b),", 500, 100, 400, SysExit::Ok, SysExit::Ok),
    ];
    for (member, times, listed, unlisted, first, last) in cases {
        let text = format!("a: {}c\n", member.repeat(times));
        let mut parser = Aliases::new(text.as_bytes(), &grammar);
        let parsed = parser.next().unwrap().unwrap();
        assert!(parsed.alias.is_some());
        assert_eq!((parsed.faults.len(), parsed.unlisted), (listed, unlisted));
        assert_eq!(parsed.faults[0].exit(), first);
        assert_eq!(parsed.faults[listed - 1].exit(), last);
        let held: usize = parsed.faults.iter().map(|f| format!("{f:?}").len()).sum();
        assert!(held < 200_000, "{held}");
    }
    // An error among too many warnings still makes the exit code.
    let text = format!("a: {}b@\n", "(b),".repeat(500));
    let mut parser = Aliases::new(text.as_bytes(), &grammar);
    let parsed = parser.next().unwrap().unwrap();
    assert_eq!((parsed.faults.len(), parsed.unlisted), (100, 401));
    assert_eq!(parsed.faults[99].exit(), SysExit::Usage);
    // What is told of a long text is the same whether it was shortened before or not.
    for octets in [201, 202, 203, 204, 1000] {
        let long = "x".repeat(octets);
        let shown = |shown: &[u8]| {
            AliasFault::BadMember {
                shown: shown.into(),
            }
            .to_string()
        };
        assert_eq!(
            shown(&fault::shortened(long.as_bytes())),
            shown(long.as_bytes())
        );
    }
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(text: Vec<u8>) {
        parsed(&text, &Grammar::default());
        parsed(&text, &sendmail());
    }

    #[test]
    fn no_odd_names_make_it_panic(text in "[a\"()<>,@%!:|/\\\\ \t\r\n#\u{e9}]{0,60}") {
        let grammar = Grammar { members: Members::Checked, ..Grammar::default() };
        parsed(text.as_bytes(), &grammar);
    }

    /// An entry written out again gives the same entry.
    #[test]
    fn entries_read_back(text in "[a-c\"@. +:|,\n]{0,60}") {
        let grammar = Grammar::default();
        let mut parser = Aliases::new(text.as_bytes(), &grammar);
        let mut again = Vec::new();
        let mut want = Vec::new();
        while let Some(line) = parser.next().unwrap() {
            if let Some(alias) = line.alias && !alias.lhs.is_empty() {
                want.push((alias.lhs.to_vec(), alias.rhs.to_vec()));
                again.extend_from_slice(&[alias.written, b": ", alias.rhs, b"\n"].concat());
            }
        }
        let mut parser = Aliases::new(again.as_slice(), &grammar);
        let mut got = Vec::new();
        while let Some(line) = parser.next().unwrap() {
            let alias = line.alias.unwrap();
            got.push((alias.lhs.to_vec(), alias.rhs.to_vec()));
        }
        prop_assert_eq!(got, want);
    }
}
