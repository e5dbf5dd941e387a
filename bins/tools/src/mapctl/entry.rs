//! One entry, printed.

use std::io::{self, Write};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map as Object, Value};

/// Puts octets into an object: as text under `name`, or, where they are no UTF-8, as base64
/// under `name_base64`.
pub(crate) fn put(object: &mut Object<String, Value>, name: &str, octets: &[u8]) {
    match std::str::from_utf8(octets) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => object.insert(
            format!("{name}_base64"),
            BASE64_STANDARD.encode(octets).into(),
        ),
    };
}

/// An entry as a JSON object.
pub(crate) fn object(lhs: &[u8], rhs: Option<&[u8]>) -> Object<String, Value> {
    let mut object = Object::new();
    put(&mut object, "lhs", lhs);
    match rhs {
        Some(rhs) => put(&mut object, "rhs", rhs),
        None => {
            object.insert("rhs".into(), Value::Null);
        }
    }
    object
}

/// Prints an object on a line of its own.
pub(crate) fn print_object(out: &mut dyn Write, object: Object<String, Value>) -> io::Result<()> {
    writeln!(out, "{}", Value::Object(object))
}

/// Prints an entry as makemap dumps it.
pub(crate) fn print_text(out: &mut dyn Write, lhs: &[u8], rhs: &[u8]) -> io::Result<()> {
    out.write_all(lhs)?;
    out.write_all(b"\t")?;
    out.write_all(rhs)?;
    out.write_all(b"\n")
}

/// The octets without the NUL that alias maps end them with.
pub(crate) fn shown(octets: &[u8]) -> &[u8] {
    octets.strip_suffix(b"\0").unwrap_or(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_that_are_no_text_become_base64() {
        let shown = |lhs: &[u8], rhs| Value::Object(object(lhs, rhs)).to_string();
        assert_eq!(shown(b"a\t", Some(b"b")), r#"{"lhs":"a\t","rhs":"b"}"#);
        assert_eq!(
            shown(b"\xff", Some(b"")),
            r#"{"lhs_base64":"/w==","rhs":""}"#
        );
        assert_eq!(shown(b"a", None), r#"{"lhs":"a","rhs":null}"#);
    }
}
