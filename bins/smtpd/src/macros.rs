//! Macros in texts of the configuration: the greeting and the Received header.
//!
//! `$x` and `${name}` stand for values, `$&x` too, `$?x then $| else $.` chooses by
//! whether a value is empty, `$$` is a dollar sign (op.me, section 5.1). Conditions
//! nest up to [`MAX_DEPTH`]; what is deeper is left out.

/// Deepest nesting of conditions.
const MAX_DEPTH: usize = 16;

/// Expands `text`; `value` knows the macros, and those it does not know are empty.
#[must_use]
pub fn expand<'v>(text: &str, value: &dyn Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether each open condition lets text through.
    let mut open: Vec<bool> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '$' {
            if open.iter().all(|o| *o) {
                out.push(c);
            }
            continue;
        }
        match chars.next() {
            Some('?') => {
                let name = macro_name(&mut chars);
                let given = value(&name).is_some_and(|v| !v.is_empty());
                open.push(given && open.len() < MAX_DEPTH);
            }
            Some('|') => {
                if let Some(last) = open.last_mut() {
                    *last = !*last;
                }
            }
            Some('.') => {
                open.pop();
            }
            Some('$') if open.iter().all(|o| *o) => out.push('$'),
            Some('&') => push_value(&mut out, &open, value, &macro_name(&mut chars)),
            Some('{') => push_value(&mut out, &open, value, &braced(&mut chars)),
            Some(name) => push_value(&mut out, &open, value, &name.to_string()),
            None => {}
        }
    }
    out
}

fn push_value<'v>(
    out: &mut String,
    open: &[bool],
    value: &dyn Fn(&str) -> Option<&'v str>,
    name: &str,
) {
    if open.iter().all(|o| *o) {
        out.push_str(value(name).unwrap_or_default());
    }
}

fn macro_name(chars: &mut std::str::Chars<'_>) -> String {
    match chars.next() {
        Some('{') => braced(chars),
        Some(c) => c.to_string(),
        None => String::new(),
    }
}

fn braced(chars: &mut std::str::Chars<'_>) -> String {
    chars.by_ref().take_while(|c| *c != '}').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_conditions() {
        let value = |name: &str| match name {
            "j" => Some("mx.example"),
            "s" => Some("client"),
            "tls_version" => Some("TLSv1.3"),
            _ => None,
        };
        let cases = [
            ("$j ok", "mx.example ok"),
            ("${tls_version}/$&j", "TLSv1.3/mx.example"),
            ("$?sfrom $s $.by", "from client by"),
            ("$?u for $u; $|; $.end", "; end"),
            ("$?{tls_version}(v=${tls_version})$.", "(v=TLSv1.3)"),
            ("$?s$?u1$|2$.$|3$.", "2"),
            ("$?u$?s1$|2$.$|3$.", "3"),
            ("a$$b$", "a$b"),
            ("$.$|x", "x"),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text, &value), want, "{text}");
        }
    }
}
