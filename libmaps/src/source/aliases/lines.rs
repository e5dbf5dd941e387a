//! Logical lines of an alias file: a line and the ones that continue it.
//!
//! A line continues where it ends in a backslash (which is lost with the line
//! end) or where the next one begins with white space (which stays). A line that
//! begins with `#` is a comment and ends the alias above it; what is indented
//! below belongs to the comment. An indented `#` begins a comment too, of that
//! line alone, which is skipped where it stands in an alias. A backslash at the
//! end of a comment means nothing. The first line decides whether lines end in
//! CR LF or in LF alone: a CR after a backslash is text.

use std::io::{self, BufRead, BufReader, Read};

use super::AliasFault;

/// How long an alias may be and what a NUL does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// This suite's own: 16 MiB; a line with a NUL is an error.
    Own,
    /// Those of sendmail, whose `sendmail.cf` the site uses: 8,190 octets; a NUL hides the rest of
    /// its line, and the next line is lost unless it continues this one.
    Sendmail,
}

impl Limits {
    fn max_octets(self) -> usize {
        match self {
            Limits::Own => 16 << 20,
            Limits::Sendmail => 8191,
        }
    }
}

const BUFFER_OCTETS: usize = 256 << 10;

/// Reads logical lines.
pub(super) struct LogicalLines<R> {
    input: BufReader<R>,
    limits: Limits,
    line_end: Option<LineEnd>,
    /// Lines read so far.
    count: u64,
    /// The line in which the limit was reached last.
    too_long_at: u64,
    text: Vec<u8>,
    /// How much of `text` is white space of the line that is read next.
    indent: usize,
    /// Whether nothing but comments stands between here and an alias without its last member.
    after: After,
}

/// What the comments that are read next stand below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// An alias that ends in a comma or a colon.
    Unfinished,
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
}

/// What was read.
pub(super) enum Logical {
    /// [`LogicalLines::text`] holds a line; this is the number of its last one.
    Text(u64),
    /// A line with a fault, passed over.
    Fault(u64, AliasFault),
}

/// How one line of the file ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// A line end.
    Line,
    /// A backslash and a line end.
    Backslash,
    /// The end of the file.
    File,
    /// The limit was reached in the middle.
    TooLong,
    /// A NUL; what stood behind it was passed over.
    Nul,
}

impl<R: Read> LogicalLines<R> {
    pub(super) fn new(input: R, limits: Limits) -> Self {
        LogicalLines::of(BufReader::with_capacity(BUFFER_OCTETS, input), limits)
    }

    fn of(input: BufReader<R>, limits: Limits) -> Self {
        LogicalLines {
            input,
            limits,
            line_end: None,
            count: 0,
            too_long_at: 0,
            text: Vec::new(),
            indent: 0,
            after: After::Other,
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The next line that is neither empty nor a comment, or the fault met on the way.
    pub(super) fn next(&mut self) -> io::Result<Option<Logical>> {
        loop {
            self.text.clear();
            match self.peek()? {
                None => return Ok(None),
                Some(b'#') => {
                    if let Some(fault) = self.comment()? {
                        return Ok(Some(fault));
                    }
                    let comment = self.count;
                    // What is indented below a comment belongs to it.
                    while self.continues()? {
                        self.skip_line()?;
                    }
                    if self.after == After::Unfinished && self.count > comment {
                        self.after = After::Other;
                        let fault = AliasFault::CutOff { comment };
                        return Ok(Some(Logical::Fault(self.count, fault)));
                    }
                }
                Some(_) => {
                    self.after = After::Other;
                    if let Some(logical) = self.alias()? {
                        if matches!(logical, Logical::Text(_)) {
                            self.after = self.ended();
                        }
                        return Ok(Some(logical));
                    }
                }
            }
        }
    }

    /// How the alias in hand ended.
    fn ended(&self) -> After {
        match self.text.trim_ascii_end().last() {
            Some(b',' | b':') => After::Unfinished,
            _ => After::Other,
        }
    }

    /// Reads an alias to the end of its last line.
    fn alias(&mut self) -> io::Result<Option<Logical>> {
        let mut nul = false;
        let mut last;
        loop {
            let ended = self.append_line()?;
            last = self.count;
            match ended {
                Ended::TooLong => {
                    self.skip_continuations()?;
                    let line = self.too_long_at;
                    return Ok(Some(Logical::Fault(line, AliasFault::TooLong)));
                }
                Ended::Backslash => continue,
                Ended::Nul => nul = true,
                Ended::Line => nul = false,
                Ended::File => break,
            }
            if self.text.is_empty() && !nul {
                return Ok(None);
            }
            if !self.next_continues()? {
                break;
            }
        }
        if nul {
            let at_end = self.peek()?.is_none();
            match self.limits {
                Limits::Own => {
                    self.skip_continuations()?;
                    return Ok(Some(Logical::Fault(last, AliasFault::Nul)));
                }
                Limits::Sendmail if !at_end => {
                    while self.skip_line_ends_in_backslash()? {}
                    self.skip_continuations()?;
                    return Ok(Some(Logical::Fault(last, AliasFault::TooLong)));
                }
                Limits::Sendmail => {}
            }
        }
        match self.text.is_empty() {
            true => Ok(None),
            false => Ok(Some(Logical::Text(last))),
        }
    }

    /// Whether the next line continues the alias in hand; indented comments before it are passed
    /// over.
    fn next_continues(&mut self) -> io::Result<bool> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t') => {
                    let start = self.text.len();
                    self.take_indent()?;
                    if self.peek()? != Some(b'#') {
                        return Ok(true);
                    }
                    self.text.truncate(start);
                    self.indent = 0;
                    self.skip_line()?;
                }
                _ => return Ok(false),
            }
        }
    }

    /// Takes the white space at the start of the next line, of which the buffer may hold a part
    /// only; no more of it than makes the line too long.
    fn take_indent(&mut self) -> io::Result<()> {
        while self.indent <= self.limits.max_octets() {
            let seen = self.input.fill_buf()?;
            let blank = |c: &&u8| matches!(c, b' ' | b'\t');
            let blanks = seen.iter().take_while(blank).count();
            let all = blanks == seen.len();
            self.text.extend(seen.iter().take(blanks));
            self.input.consume(blanks);
            self.indent += blanks;
            if !all || blanks == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Passes over a comment; one that is longer than a line may be is a fault.
    fn comment(&mut self) -> io::Result<Option<Logical>> {
        let (octets, ended) = self.skip_counting()?;
        let max = self.limits.max_octets() - usize::from(ended);
        if octets <= max {
            return Ok(None);
        }
        let line = self.count;
        self.skip_continuations()?;
        Ok(Some(Logical::Fault(line, AliasFault::TooLong)))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn continues(&mut self) -> io::Result<bool> {
        Ok(matches!(self.peek()?, Some(b' ' | b'\t')))
    }

    /// Appends the next line of the file to the text.
    fn append_line(&mut self) -> io::Result<Ended> {
        let indent = std::mem::take(&mut self.indent);
        let start = self.text.len().saturating_sub(indent);
        let room = self.limits.max_octets() - start.min(self.limits.max_octets());
        // One more than fits, to tell a line that is just short enough.
        let mut part = (&mut self.input).take((room as u64 + 1).saturating_sub(indent as u64));
        let got = indent + part.read_until(b'\n', &mut self.text)?;
        if got == 0 {
            return Ok(Ended::File);
        }
        self.count += 1;
        let whole = self.text.last() == Some(&b'\n');
        if let Some(nul) = find(self.text.get(start..).unwrap_or_default(), 0) {
            if !whole {
                self.skip_line()?;
                self.count = self.count.saturating_sub(1);
            }
            self.text.truncate(start + nul);
            return Ok(Ended::Nul);
        }
        if got > room {
            self.too_long_at = self.count;
            match whole {
                false => self.skip_rest()?,
                true if self.text.ends_with(b"\\\n") => {
                    while self.skip_line_ends_in_backslash()? {}
                }
                true => {}
            }
            return Ok(Ended::TooLong);
        }
        if !whole {
            return Ok(Ended::File);
        }
        self.text.pop();
        self.drop_cr();
        if self.text.len() > start && self.text.last() == Some(&b'\\') {
            self.text.pop();
            return Ok(Ended::Backslash);
        }
        Ok(Ended::Line)
    }

    fn drop_cr(&mut self) {
        let cr = self.text.last() == Some(&b'\r');
        let quoted = self.text.iter().rev().nth(1) == Some(&b'\\');
        let line_end = *self.line_end.get_or_insert(match cr && !quoted {
            true => LineEnd::CrLf,
            false => LineEnd::Lf,
        });
        if cr && line_end == LineEnd::CrLf {
            self.text.pop();
        }
    }

    /// Passes over lines that a fault took along: continuations by either sign.
    fn skip_continuations(&mut self) -> io::Result<()> {
        while self.continues()? {
            self.skip_line()?;
        }
        Ok(())
    }

    /// Passes over the rest of a line, and over the next one if a backslash joins it.
    fn skip_rest(&mut self) -> io::Result<()> {
        let last = self.text.last().copied().unwrap_or(0);
        let mut joined = self.skip_to_line_end(last)?;
        while joined {
            joined = self.skip_line_ends_in_backslash()?;
        }
        // The line itself was counted when its beginning was read.
        self.count = self.count.saturating_sub(1);
        Ok(())
    }

    fn skip_line_ends_in_backslash(&mut self) -> io::Result<bool> {
        self.skip_to_line_end(0)
    }

    /// Passes over what is left of a line, of which `last` was read before.
    fn skip_to_line_end(&mut self, mut last: u8) -> io::Result<bool> {
        loop {
            let seen = self.input.fill_buf()?;
            if seen.is_empty() {
                self.count += 1;
                return Ok(false);
            }
            let (used, ends) = match find(seen, b'\n') {
                Some(at) => (at + 1, true),
                None => (seen.len(), false),
            };
            let text = seen.get(..used - usize::from(ends)).unwrap_or_default();
            last = text.last().copied().unwrap_or(last);
            self.input.consume(used);
            if ends {
                self.count += 1;
                return Ok(last == b'\\');
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        self.skip_counting().map(|_| ())
    }

    /// Passes over one line; gives its length and whether it had a line end.
    fn skip_counting(&mut self) -> io::Result<(usize, bool)> {
        self.count += 1;
        let (mut octets, mut cr) = (0, false);
        loop {
            let seen = self.input.fill_buf()?;
            if seen.is_empty() {
                return Ok((octets, false));
            }
            let found = find(seen, b'\n');
            let used = found.unwrap_or(seen.len());
            cr = seen.get(..used).map_or(cr, |s| s.last() == Some(&b'\r'));
            octets += used;
            self.input.consume(used + usize::from(found.is_some()));
            if found.is_some() {
                let line_end = if cr { LineEnd::CrLf } else { LineEnd::Lf };
                self.line_end.get_or_insert(line_end);
                return Ok((octets, true));
            }
        }
    }
}

fn find(text: &[u8], wanted: u8) -> Option<usize> {
    memchr::memchr(wanted, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logical lines of a text that is read in pieces of so many octets.
    fn lines(text: &[u8], buffer_octets: usize) -> Vec<(u64, String)> {
        let input = BufReader::with_capacity(buffer_octets, text);
        let mut lines = LogicalLines::of(input, Limits::Own);
        let mut all = Vec::new();
        while let Some(logical) = lines.next().unwrap() {
            let line = match logical {
                Logical::Text(line) | Logical::Fault(line, _) => line,
            };
            all.push((line, String::from_utf8_lossy(lines.text()).into_owned()));
        }
        all
    }

    #[test]
    fn where_a_buffer_ends_changes_nothing() {
        let text = b"list: alice,\n    # see bob, carol\n    dave\n\
            other: x,\n\t\t \t# y\n #z\n \t w\\\n  v\n        # end\n#old: a,\n\tb\nlast: u\n   ";
        let whole = lines(text, 1 << 10);
        assert_eq!(
            whole,
            [
                (3, "list: alice,    dave".to_owned()),
                (8, "other: x, \t w  v".to_owned()),
                (13, "last: u   ".to_owned()),
            ]
        );
        for buffer_octets in 1..=40 {
            assert_eq!(lines(text, buffer_octets), whole, "{buffer_octets}");
        }
    }

    #[test]
    fn an_indent_without_end_is_too_long() {
        let text = [b"a: b,\n", " ".repeat(17 << 20).as_bytes(), b"c\nd: e\n"].concat();
        let found = lines(&text, 1 << 16);
        let numbers: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, [2, 3]);
    }
}
