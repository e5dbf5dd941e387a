//! CSV (RFC 4180), strict: what is not well-formed is an error with its line.
//!
//! Rows end in LF or CRLF; a field in double quotes may hold commas, line ends
//! and doubled quotes. A quote inside an unquoted field, text after a closing
//! quote and a quotation that never ends are errors, since each of them would
//! otherwise change a field without notice.

/// The most octets of one row, its quotes included.
pub const MAX_ROW_OCTETS: usize = 64 * 1024;

/// UTF-8's, which some programs write first.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Its fields, unquoted.
    pub fields: Vec<Vec<u8>>,
}

/// A row that is not well-formed; reading goes on after the end of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct CsvError {
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: &'static str,
}

/// The rows of a text; empty lines are passed over.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    rest: &'a [u8],
    line: u64,
}

impl<'a> Rows<'a> {
    /// Reads `text` from its beginning; a UTF-8 byte order mark there is skipped.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Rows {
            rest: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
            line: 1,
        }
    }

    fn skip(&mut self, octets: usize) {
        let (read, rest) = self
            .rest
            .split_at_checked(octets)
            .unwrap_or((self.rest, b""));
        self.line += memchr::memchr_iter(b'\n', read).count() as u64;
        self.rest = rest;
    }

    fn fail(&mut self, why: &'static str) -> CsvError {
        let line = self.line;
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        self.skip(end);
        CsvError { line, why }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(octets) = line_end(self.rest) {
            self.skip(octets);
        }
        if self.rest.is_empty() {
            return None;
        }
        let window = self.rest.get(..MAX_ROW_OCTETS).unwrap_or(self.rest);
        let cut = window.len() < self.rest.len();
        Some(match read_row(window, cut) {
            Ok((fields, octets)) => {
                let line = self.line;
                self.skip(octets);
                Ok(Row { line, fields })
            }
            Err(why) => Err(self.fail(why)),
        })
    }
}

/// The octets of a line end at the start of `text`.
fn line_end(text: &[u8]) -> Option<usize> {
    match text {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

/// Reads a row; `cut`: the text goes on beyond what is given.
fn read_row(text: &[u8], cut: bool) -> Result<(Vec<Vec<u8>>, usize), &'static str> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let (field, octets) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let (field, octets) = read_quoted(quoted)?;
                (field, octets + 1)
            }
            None => read_bare(rest)?,
        };
        fields.push(field);
        at += octets;
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with(b",") {
            at += 1;
        } else if let Some(octets) = line_end(rest) {
            return Ok((fields, at + octets));
        } else if !rest.is_empty() {
            return Err("text after a closing quote");
        } else if cut {
            return Err("the row is too long");
        } else {
            return Ok((fields, at));
        }
    }
}

fn read_bare(text: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
    let end = memchr::memchr2(b',', b'\n', text).unwrap_or(text.len());
    let field = text.get(..end).unwrap_or_default();
    let before_lf = text.get(end) == Some(&b'\n');
    let field = match field.strip_suffix(b"\r") {
        Some(without) if before_lf => without,
        _ => field,
    };
    if field.contains(&b'"') {
        return Err("a quote inside an unquoted field");
    }
    Ok((field.to_vec(), field.len()))
}

/// Reads up to the closing quote; the opening one is gone.
fn read_quoted(text: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
    let mut field = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let quote = memchr::memchr(b'"', rest).ok_or("a quotation that does not end")?;
        field.extend_from_slice(rest.get(..quote).unwrap_or_default());
        at += quote + 1;
        if text.get(at) != Some(&b'"') {
            return Ok((field, at));
        }
        field.push(b'"');
        at += 1;
    }
}

/// A row as text with its line end; fields are quoted where they must be.
#[must_use]
pub fn write_row(fields: &[&[u8]]) -> Vec<u8> {
    let mut row = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            row.push(b',');
        }
        let quoted = field.iter().any(|b| b",\"\r\n".contains(b))
            || field.starts_with(BYTE_ORDER_MARK)
            || (fields.len() == 1 && field.is_empty());
        if quoted {
            row.push(b'"');
            for &b in *field {
                if b == b'"' {
                    row.push(b'"');
                }
                row.push(b);
            }
            row.push(b'"');
        } else {
            row.extend_from_slice(field);
        }
    }
    row.push(b'\n');
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        let rows = Rows::new(text.as_bytes()).map(|row| match row {
            Ok(Row { line, fields }) => {
                let fields: Vec<_> = fields.iter().map(|f| String::from_utf8_lossy(f)).collect();
                format!("{line}[{}]", fields.join("|"))
            }
            Err(error) => error.to_string(),
        });
        rows.collect::<Vec<_>>().join(" ").replace('\n', "\\n")
    }

    #[test]
    fn rows_and_errors() {
        let cases = [
            ("", ""),
            ("\n\r\n", ""),
            ("a,b,c\n", "1[a|b|c]"),
            ("a,b\r\nc,d", "1[a|b] 2[c|d]"),
            ("\u{feff}a", "1[a]"),
            ("a,,\n", "1[a||]"),
            (",", "1[|]"),
            ("\"a,b\",\"c\"\"d\"", "1[a,b|c\"d]"),
            ("\"a\nb\",c\n\nd", "1[a\\nb|c] 4[d]"),
            ("a\rb\n", "1[a\rb]"),
            ("a\"b\nc", "line 1: a quote inside an unquoted field 2[c]"),
            (
                "x\n\"a\"b,c\nd",
                "1[x] line 2: text after a closing quote 3[d]",
            ),
            ("\"a\nb", "line 1: a quotation that does not end 2[b]"),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text), want, "{text:?}");
        }
        let long = format!("{}\nb", "x".repeat(MAX_ROW_OCTETS));
        assert_eq!(shown(&long), "line 1: the row is too long 2[b]");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in prop::collection::vec("[a\",\r\n \u{feff}]{0,6}", 1..5)) {
            let octets: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
            let text = write_row(&octets);
            let rows: Vec<_> = Rows::new(&text).collect();
            let want: Vec<Vec<u8>> = octets.iter().map(|f| f.to_vec()).collect();
            prop_assert_eq!(rows, vec![Ok(Row { line: 1, fields: want })]);
        }

        #[test]
        fn any_text_is_read_to_its_end(text in "[a\",\r\n]{0,80}") {
            prop_assert!(Rows::new(text.as_bytes()).count() <= 80);
        }
    }
}
