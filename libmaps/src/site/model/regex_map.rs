//! Maps of class `regex`: a regular expression, and what is answered where it matches.

use regex::bytes::{Captures, Regex, RegexBuilder};

/// A map of class `regex`, as the argument of a FEATURE or of a `K` line has it: flags, then the expression
/// (op.me, "regex").
///
/// Expressions are POSIX extended ones. They are matched in a time that grows with the text only, whatever the
/// expression; so there are no back-references.
#[derive(Clone, Debug)]
pub struct RegexMap {
    text: String,
    regex: Regex,
    wanted: Wanted,
    answer: Answer,
    /// `-a`: appended to the answer.
    append: String,
}

/// Which texts have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Those that match.
    Matching,
    /// `-n`: those that don't.
    Others,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing but what `-a` appends.
    Empty,
    /// `-m`: the text.
    Text,
    /// `-s`: these parts, with the text of `-d` between them; 0 is the whole match.
    Parts {
        numbers: Vec<usize>,
        between: String,
    },
}

impl RegexMap {
    /// Reads flags and expression.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut folds = true;
        let mut wanted = Wanted::Matching;
        let (mut answer, mut append) = (Answer::Empty, String::new());
        let (mut numbers, mut between) = (None, None);
        while let Some(flag) = rest.strip_prefix('-') {
            let end = flag.find(char::is_whitespace).unwrap_or(flag.len());
            let (word, tail) = flag.split_at(end);
            rest = tail.trim_start();
            let mut letters = word.chars();
            let letter = letters.next();
            let value = letters.as_str();
            match letter {
                Some('n') => wanted = Wanted::Others,
                Some('f') => folds = false,
                Some('m') => answer = Answer::Text,
                Some('a') => value.clone_into(&mut append),
                Some('d') => between = Some(value.to_owned()),
                Some('s') => numbers = Some(parts(value)?),
                // What the rules do with the key or with failures; an expression has none.
                Some('T' | 't' | 'D' | 'q' | 'S') => {}
                Some('b') => return Err("-b: basic expressions are not read".to_owned()),
                _ => return Err(format!("-{word}: no flag of a regex map")),
            }
        }
        let regex = RegexBuilder::new(rest)
            .unicode(false)
            .case_insensitive(folds)
            .build()
            .map_err(|error| reason(rest, &error))?;
        if let Some(mut numbers) = numbers {
            if numbers.is_empty() {
                numbers = (0..regex.captures_len()).collect();
            }
            let between = match between {
                Some(between) => between,
                None if numbers.len() < 2 => String::new(),
                None => return Err("-s with several parts needs -d".to_owned()),
            };
            answer = Answer::Parts { numbers, between };
        }
        if let Answer::Parts { numbers, .. } = &answer
            && let Some(number) = numbers.iter().find(|n| **n >= regex.captures_len())
        {
            return Err(format!("-s{number}: {rest} has no such part"));
        }
        Ok(RegexMap {
            text: text.trim().to_owned(),
            regex,
            wanted,
            answer,
            append,
        })
    }

    /// Flags and expression, as they were read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is an answer for a text.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text) == (self.wanted == Wanted::Matching)
    }

    /// The answer for a text; nothing if there is none.
    #[must_use]
    pub fn answer(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = match &self.answer {
            _ if !self.is_match(text) => return None,
            Answer::Empty => Vec::new(),
            Answer::Text => text.to_vec(),
            Answer::Parts { numbers, between } => match self.regex.captures(text) {
                Some(found) => joined(&found, numbers, between),
                None => Vec::new(),
            },
        };
        out.extend_from_slice(self.append.as_bytes());
        Some(out)
    }
}

impl PartialEq for RegexMap {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RegexMap {}

/// `1` or `1,3`; none for all.
fn parts(text: &str) -> Result<Vec<usize>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = text.split(',').map(|number| number.parse().ok());
    numbers
        .collect::<Option<_>>()
        .ok_or_else(|| format!("-s{text}: expected numbers of parts"))
}

fn joined(found: &Captures<'_>, numbers: &[usize], between: &str) -> Vec<u8> {
    let texts = numbers.iter().map(|number| found.get(*number));
    let texts: Vec<&[u8]> = texts
        .map(|part| part.map_or(&[][..], |p| p.as_bytes()))
        .collect();
    texts.join(between.as_bytes())
}

/// The last line of what the crate says is the reason; the others draw the expression.
fn reason(expression: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let last = last.trim().strip_prefix("error: ").unwrap_or(last.trim());
    format!("{expression}: no regular expression that is read here: {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_is_answered() {
        for (map, text, want) in [
            (r"^(127\.|172\.(1[6-9]|2[0-9])\.)", "172.20.1.2.", Some("")),
            (r"^(127\.|172\.(1[6-9]|2[0-9])\.)", "172.40.1.2.", None),
            (r"-a<BAD> ^10\.", "10.1.2.3", Some("<BAD>")),
            (r"-m -a@ ^JOE", "joe", Some("joe@")),
            (r"-f ^JOE", "joe", None),
            (r"-n ^joe", "mick", Some("")),
            (r"-n ^joe", "joe", None),
            (
                r"-s1 /CN=([^/]+)",
                "/O=Acme/CN=Mail CA/x=y",
                Some("Mail CA"),
            ),
            (r"-s -d: (a+)b", "xaab", Some("aab:aa")),
            (r"-s2,1 -d: (a+)(b+)", "aabbb", Some("bbb:aa")),
            (r"^[[:print:]]+ *:", "Subject: x", Some("")),
            (r"^[[:print:]]+ *:", "MAIL", None),
        ] {
            let found = RegexMap::parse(map).unwrap().answer(text.as_bytes());
            assert_eq!(
                found,
                want.map(|text| text.as_bytes().to_vec()),
                "{map} {text}"
            );
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for (map, why) in [
            ("(", "no regular expression"),
            (r"(a)\1", "no regular expression"),
            ("-b a*", "basic"),
            ("-x a", "-x: no flag"),
            ("-s1,2 (a)(b)", "needs -d"),
            ("-s (a)(b)", "needs -d"),
            ("-s3 (a)(b)", "no such part"),
            ("-sx (a)", "expected numbers"),
        ] {
            let text = RegexMap::parse(map).unwrap_err();
            assert!(text.contains(why), "{map}: {text}");
        }
    }
}
