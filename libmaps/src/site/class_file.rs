//! Files of class members, as `F` lines name them.

/// The scanf(3) formats that `F` lines use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `%s`: the first word.
    Word,
    /// `%[^...]`: up to the first of these.
    UpTo(Vec<u8>),
    /// `%[...]`: while of these.
    While(Vec<u8>),
}

impl Format {
    /// The format behind the file's name, if there is one.
    pub(super) fn parse(text: Option<&str>) -> Self {
        let set = text
            .and_then(|t| t.strip_prefix("%["))
            .and_then(|t| t.strip_suffix(']'));
        let octets = |set: &str| set.replace('\\', "").into_bytes();
        match set.map(|set| (set, set.strip_prefix('^'))) {
            Some((_, Some(set))) => Format::UpTo(octets(set)),
            Some((set, None)) => Format::While(octets(set)),
            None => Format::Word,
        }
    }

    /// The words of a file: of each line those in the part that the format matches. Lines that
    /// start with `#` give none.
    pub(super) fn words<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let lines = text.split(|octet| *octet == b'\n');
        let lines = lines.filter(|line| line.first() != Some(&b'#'));
        let words = lines.flat_map(|line| self.part(line).split(u8::is_ascii_whitespace));
        words.filter(|word| !word.is_empty())
    }

    fn part<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let end = match self {
            Format::Word => {
                let line = line.trim_ascii_start();
                let end = line.iter().position(u8::is_ascii_whitespace);
                return line.get(..end.unwrap_or(line.len())).unwrap_or_default();
            }
            Format::UpTo(set) => line.iter().position(|b| set.contains(b)),
            Format::While(set) => line.iter().position(|b| !set.contains(b)),
        };
        line.get(..end.unwrap_or(line.len())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_takes_its_part_of_a_line() {
        let text = b"a.example b.example # c\n#d\n  e.example\tf\n";
        for (format, want) in [
            (None, "a.example e.example"),
            (Some("%[^\\#]"), "a.example b.example e.example f"),
            (Some("%[a.exmpl]"), "a.example"),
            (Some("nonsense"), "a.example e.example"),
        ] {
            let format = Format::parse(format);
            let words: Vec<String> = format
                .words(text)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            assert_eq!(words.join(" "), want, "{format:?}");
        }
    }
}
