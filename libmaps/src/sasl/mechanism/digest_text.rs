//! The text of DIGEST-MD5's messages: `name=value,name="quoted value"` (RFC 2831 section 7.1).

/// How many directives a message may have.
const MAX_DIRECTIVES: usize = 64;

/// A message taken apart.
pub(super) struct Directives(Vec<(Vec<u8>, Vec<u8>)>);

/// Which directives may come more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// None: a response.
    Refuse,
    /// `realm`: a challenge.
    Realms,
}

impl Directives {
    /// Takes a message apart; names become lower case, quotes and backslashes go.
    pub(super) fn parse(text: &[u8], repeats: Repeats) -> Result<Self, &'static str> {
        let mut all = Directives(Vec::new());
        let mut rest = text;
        loop {
            rest = skip(rest, |b| b == b',' || is_blank(b));
            if rest.is_empty() {
                return Ok(all);
            }
            let end = rest.iter().position(|b| *b == b'=' || is_blank(*b));
            let (name, after) = rest
                .split_at_checked(end.ok_or("a directive without a value")?)
                .ok_or("a directive without a value")?;
            let after = skip(after, is_blank)
                .strip_prefix(b"=")
                .ok_or("a directive without a value")?;
            let (value, after) = read_value(skip(after, is_blank))?;
            let name = name.to_ascii_lowercase();
            let repeated = all.get(&name).is_some();
            if repeated && !(repeats == Repeats::Realms && name == b"realm") {
                return Err("a directive is given twice");
            }
            if all.0.len() == MAX_DIRECTIVES {
                return Err("too many directives");
            }
            all.0.push((name, value));
            rest = skip(after, is_blank);
            if !rest.is_empty() && !rest.starts_with(b",") {
                return Err("text after a directive's value");
            }
        }
    }

    /// The first value of a directive.
    pub(super) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let mut all = self.0.iter();
        all.find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip(text: &[u8], over: impl Fn(u8) -> bool) -> &[u8] {
    let start = text.iter().position(|b| !over(*b)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn read_value(text: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|b| *b == b',' || is_blank(*b));
        let (value, after) = text
            .split_at_checked(end.unwrap_or(text.len()))
            .unwrap_or((text, b""));
        if value.is_empty() {
            return Err("a directive without a value");
        }
        return Ok((value.to_vec(), after));
    };
    let mut value = Vec::new();
    let mut octets = quoted.iter().enumerate();
    while let Some((at, &b)) = octets.next() {
        match b {
            b'"' => return Ok((value, quoted.get(at + 1..).unwrap_or_default())),
            b'\\' => value.push(*octets.next().ok_or("an unfinished quotation")?.1),
            _ => value.push(b),
        }
    }
    Err("an unfinished quotation")
}

/// A value between quotes.
pub(super) fn quote(value: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &b in value {
        if b == b'"' || b == b'\\' {
            quoted.push(b'\\');
        }
        quoted.push(b);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, repeats: Repeats) -> String {
        match Directives::parse(text.as_bytes(), repeats) {
            Ok(all) => all
                .0
                .iter()
                .map(|(n, v)| {
                    format!(
                        "[{}|{}]",
                        String::from_utf8_lossy(n),
                        String::from_utf8_lossy(v)
                    )
                })
                .collect(),
            Err(why) => why.to_owned(),
        }
    }

    #[test]
    fn messages_taken_apart() {
        let cases = [
            ("", ""),
            (r#"realm="a b",NC=00000001"#, "[realm|a b][nc|00000001]"),
            (r#"a = "x\"y\\z" , b=2,,"#, r#"[a|x"y\z][b|2]"#),
            (r#"a="""#, "[a|]"),
            (r#"a="x"#, "an unfinished quotation"),
            (r#"a="x\"#, "an unfinished quotation"),
            ("a=", "a directive without a value"),
            ("a", "a directive without a value"),
            ("a b", "a directive without a value"),
            (r#"a="x"y"#, "text after a directive's value"),
            ("a=1,A=2", "a directive is given twice"),
            ("realm=1,realm=2", "a directive is given twice"),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text, Repeats::Refuse), want, "{text}");
        }
        assert_eq!(
            shown("realm=1,realm=2", Repeats::Realms),
            "[realm|1][realm|2]"
        );
        let many: String = (0..65).map(|i| format!("d{i}=1,")).collect();
        assert_eq!(shown(&many, Repeats::Refuse), "too many directives");
    }

    #[test]
    fn quotes_are_escaped() {
        assert_eq!(quote(br#"a"b\c"#), br#""a\"b\\c""#);
    }
}
