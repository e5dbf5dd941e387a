//! Text in columns: wrapped between words where it would run over the edge.

/// The last column that lines reach.
pub const EDGE: usize = 100;

/// How many columns a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Writes `words` behind `line`, and what does not fit before [`EDGE`] on lines of their own, `indent` blanks in.
///
/// A word that is too long for a line of its own is cut.
#[must_use]
pub fn hang(line: &str, words: &str, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = line.to_owned();
    // Whether the next word needs a blank before it.
    let mut apart = false;
    for word in words.split(' ') {
        let mut word = word;
        if apart && width(&line) + 1 + width(word) <= EDGE {
            line.push(' ');
        } else if apart || width(&line) + width(word) > EDGE && width(&line) > indent {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(indent);
        }
        while width(&line) + width(word) > EDGE {
            let room = EDGE.saturating_sub(width(&line)).max(1);
            let cut = word
                .char_indices()
                .nth(room)
                .map_or(word.len(), |(at, _)| at);
            let (head, tail) = word.split_at(cut);
            lines.push(format!("{line}{head}"));
            line = " ".repeat(indent.min(EDGE / 2));
            word = tail;
        }
        line.push_str(word);
        apart = true;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_hang() {
        let words = "word ".repeat(40);
        let lines = hang("  head  ", words.trim_end(), 8);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("  head  word word"));
        for line in &lines[1..] {
            assert!(line.starts_with("        word"), "{line:?}");
        }
        assert!(lines.iter().all(|line| width(line) <= EDGE), "{lines:?}");
        let joined: String = lines.concat().replace("head", "").replace(' ', "");
        assert_eq!(joined, words.replace(' ', ""));
    }

    #[test]
    fn a_word_longer_than_a_line_is_cut() {
        let lines = hang("  > ", &"x".repeat(300), 10);
        assert!(lines.iter().all(|line| width(line) <= EDGE), "{lines:?}");
        assert_eq!(lines.concat().matches('x').count(), 300);
        assert_eq!(hang("a ", "", 4), ["a"]);
    }
}
