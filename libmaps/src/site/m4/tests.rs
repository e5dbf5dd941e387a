use super::*;

/// Runs a text and gives what the main diversion holds; natives show as `<NAME:arg|arg>`.
fn run(text: &str) -> Result<String, String> {
    let mut m4 = M4::new(&["FEATURE", "LOCAL_CONFIG"]);
    m4.push_file(Path::new("test.mc"), text.as_bytes().to_vec())
        .map_err(|e| e.to_string())?;
    loop {
        match m4.step().map_err(|e| e.to_string())? {
            Step::Native(call) => {
                let arguments: Vec<_> = call
                    .arguments
                    .iter()
                    .map(|a| String::from_utf8_lossy(a))
                    .collect();
                let text = format!("<{}:{}>", call.name, arguments.join("|"));
                m4.write(text.as_bytes()).map_err(|e| e.to_string())?;
            }
            Step::Include { path, .. } => {
                let path = String::from_utf8_lossy(&path).into_owned();
                let text = format!("include(`{path}')");
                if path == "self" {
                    m4.push_file(Path::new("self"), text.into_bytes())
                        .map_err(|e| e.to_string())?;
                }
            }
            Step::End => return Ok(String::from_utf8_lossy(m4.output().text(0)).into_owned()),
        }
    }
}

/// Each case as GNU m4 1.4 answers it.
#[test]
fn texts_expand_as_m4_expands_them() {
    for (text, expected) in [
        (
            "plain (text), `quoted `twice''",
            "plain (text), quoted `twice'",
        ),
        ("define(`x', `y')x `x' xx x_", "y x xx x_"),
        (
            "define(`f', `$2-$1-$#-$*-$@-`$0'')f(a, `b,c', d)",
            "b,c-a-3-a,b,c,d-a,b,c,d-f",
        ),
        ("define(`f', `$#')f f() f(,) f(a,(b,c))", "0 1 2 2"),
        (
            "changequote([,])define([f], [$@])define([a], [b])f(a, [a])",
            "b,a",
        ),
        ("divert(6)x\ndivert(0)undivert(6)undivert(6)|", "x\n|"),
        ("define(`f', `[$10]')f(1,2,3,4,5,6,7,8,9,ten)", "[ten]"),
        (
            "define(`foo', `bar')define(`barbaz', `joined')foo`'baz foo()baz",
            "barbaz joined",
        ),
        ("define without(parentheses)", "define without(parentheses)"),
        ("a dnl comment\nb", "a b"),
        (
            "ifdef(`x', yes, no) define(`x')ifdef(`x', yes, no)",
            "no yes",
        ),
        (
            "ifelse(a, a, 1, 2) ifelse(a, b, 1, 2) ifelse(a, b, 1, c, c, 3, 4) ifelse(a, b, 1)|",
            "1 2 3 |",
        ),
        (
            "define(`x', `1')pushdef(`x', `2')x popdef(`x')x undefine(`x')x",
            "2 1 x",
        ),
        ("define(`a', `A')define(`b', defn(`a')`B')b", "AB"),
        (
            "divert(1)one\ndivert(-1)gone\ndivert`'zero undivert(1)",
            "zero one\n",
        ),
        (
            "changequote([, ])define([x], [it's])x changequote(`, ')`q'",
            "it's q",
        ),
        ("changecom(`#')define(`x', `y')x # x\nx", "y # x\ny"),
        (
            "len(`abc') index(`abc', `c') index(`abc', `z') substr(`abcdef', 2, 3) substr(`abc', 9)|",
            "3 2 -1 cde |",
        ),
        (
            "translit(`Hello-World', `A-Z', `a-z') translit(`a-b', `-')",
            "hello-world ab",
        ),
        (
            "eval(1 + 2 * 3) eval((1 + 2) * 3) eval(2 ** 3 ** 2) eval(-7 / 2) eval(!0 && 5 >= 5) eval(0x10 | 07)",
            "7 9 512 -3 1 23",
        ),
        ("eval(index(`a b', ` ') >= 0) eval(1 / 0)|", "1 |"),
        ("incr(1) decr(1) divnum", "2 0 0"),
        ("shift(a, `b', c)", "b,c"),
        ("m4wrap(`wrapped')text ", "text wrapped"),
        (
            "FEATURE(`a', `b c') FEATURE alone LOCAL_CONFIG\n",
            "<FEATURE:a|b c> FEATURE alone <LOCAL_CONFIG:>\n",
        ),
        ("define(`t', `FEATURE(`x', $1)')t(1)", "<FEATURE:x|1>"),
        ("ifdef(`FEATURE', `known')", "known"),
        (
            "define(`r', `ifelse($1, 0, done, `$1 r(decr($1))')')r(3)",
            "3 2 1 done",
        ),
        ("syscmd(`touch /tmp/x')esyscmd(`id')|", "|"),
    ] {
        assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn endless_texts_end_in_an_error_that_names_the_line() {
    for (text, expected) in [
        (
            "\n\ndefine(`x', `x')x",
            "test.mc:3: x is called without end",
        ),
        (
            "define(`x', `x x')x",
            "test.mc:1: a macro calls itself without end",
        ),
        (
            "define(`x', `x(x)')x",
            "test.mc:1: calls are nested too deeply",
        ),
        (
            "define(`f', `f($1$1)')f(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)",
            "test.mc:1: the configuration expands without end",
        ),
        (
            "define(`f', `f($@,$@)')f(a)",
            "test.mc:1: a call has too many arguments",
        ),
        ("include(`self')", "self:1: self includes itself"),
        (
            "\n`open",
            "test.mc:2: a quotation that starts here does not end",
        ),
        (
            "x\ndefine(`a', b",
            "test.mc:2: the file ends inside the arguments of define",
        ),
    ] {
        assert_eq!(run(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn lines_of_ten_mebibytes_are_read_in_time_that_grows_with_them() {
    let long = 10 << 20;
    assert_eq!(run(&"a".repeat(long)).map(|t| t.len()), Ok(long));
    assert_eq!(
        run(&format!("`{}'", "x ".repeat(long / 2))).map(|t| t.len()),
        Ok(long)
    );
    assert!(run(&format!("FEATURE({}", ",".repeat(long))).is_err());
    assert!(run(&"`".repeat(long)).is_err());
    assert!(run(&"len(".repeat(long / 4)).is_err());
}

/// Each of these would write gigabytes before anyone counts them.
#[test]
fn one_call_writes_no_more_than_a_run_may() {
    let long = "a".repeat(1 << 20);
    let many = |text: &str, times: usize| text.repeat(times);
    let endless = "test.mc:1: the configuration expands without end";
    for (what, text, expected) in [
        (
            "arguments",
            format!("define(`f', `{}')f({long})", many("$1", 20_000)),
            endless,
        ),
        (
            "all arguments",
            format!("define(`f', `{}')f({long},{long})", many("$*$@", 5_000)),
            endless,
        ),
        (
            "definitions",
            format!("define(`f', `{long}')defn(`f'{})", many(",`f'", 20_000)),
            endless,
        ),
        (
            "diversions",
            format!(
                "divert(1){long} {}",
                many("divert(2)undivert(1)divert(1)undivert(2)", 10_000)
            ),
            "test.mc:1: the configuration writes too much",
        ),
    ] {
        assert_eq!(run(&text), Err(expected.to_owned()), "{what}");
    }
}

#[test]
fn quotes_and_comment_marks_are_short() {
    let dots = ".".repeat(1 << 20);
    for name in ["changequote", "changecom"] {
        for text in [
            format!("{name}({dots})\n{dots}{dots}"),
            format!("{name}([,{dots})\n[{dots}{dots}"),
        ] {
            let expected = format!("test.mc:1: {name}: expected at most 256 octets");
            assert_eq!(run(&text), Err(expected));
        }
    }
    let mark = "<".repeat(256);
    assert_eq!(
        run(&format!("changequote({mark},])dnl\n{mark}dnl]")).as_deref(),
        Ok("dnl")
    );
}

#[test]
fn a_long_text_without_arguments_is_not_searched_for_ever() {
    let text = "$9".repeat(1 << 20);
    let text = format!("define(`f', `{text}'){}", "f() ".repeat(10_000));
    assert!(run(&text).is_err());
}

#[test]
fn the_depth_of_expansions_does_not_slow_what_is_written_there() {
    let words = ". x ".repeat(1 << 18);
    // Were the place searched through all expansions at each write, this would take minutes.
    let text = "define(`big', `WORDS')define(`f', `ifelse($1,4000,`big',`f(incr($1)) y')')f(1)";
    let text = text.replace("WORDS", &words);
    assert!(run(&text).is_ok_and(|text| text.len() >= 1 << 20));
}

#[test]
fn the_place_of_each_line_counts_as_output() {
    let lines = "\n".repeat(4 << 20);
    assert!(run(&lines).is_err_and(|e| e.ends_with("the configuration writes too much")));
}

#[test]
fn evaluation_is_apart_from_the_run() {
    let mut m4 = M4::new(&["FEATURE"]);
    m4.define("DIR", b"/etc/mail/");
    m4.define("FILE", b"DIR`'access");
    m4.define("LOOP", b"LOOP");
    assert_eq!(
        m4.value("FILE").unwrap(),
        Some(b"/etc/mail/access".to_vec())
    );
    assert_eq!(m4.value("NONE").unwrap(), None);
    assert_eq!(m4.evaluate(b"a, (b) FEATURE(x)c").unwrap(), b"a, (b) c");
    assert!(m4.evaluate(b"`open").is_err());
    assert!(m4.value("LOOP").is_err());
    assert_eq!(m4.step().unwrap(), Step::End);
}

#[test]
fn findings_point_at_the_call() {
    let mut m4 = M4::new(&[]);
    m4.push_file(
        Path::new("a.mc"),
        b"\n\nerrprint(`careful\n')define(\n`1x', y)".to_vec(),
    )
    .unwrap();
    assert_eq!(m4.step().unwrap(), Step::End);
    let findings: Vec<String> = m4.take_findings().iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "a.mc:3: warning: the file says: careful",
            "a.mc:4: warning: \"1x\" is defined, but is no macro name"
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-e`',()$#@0-9 \n]{0,80}|(define|ifelse|x|divert|eval|dnl|substr|`|'|\\(|\\)|,|\\$1|\n){0,40}") {
        let _ = run(&text);
    }

    #[test]
    fn quoted_text_comes_out_as_it_went_in(text in "[^`'\u{0}]{0,60}") {
        let out = run(&format!("`{text}'"));
        proptest::prop_assert_eq!(out, Ok(text));
    }
}
