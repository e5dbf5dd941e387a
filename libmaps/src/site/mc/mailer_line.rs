//! `M` lines: mailers that a site defines itself.

use super::{Place, Reader, Severity};
use crate::site::model::{Mailer, Rewriting};

impl Reader {
    /// What stands behind the `M`: a name, and fields that are told by their first letters.
    pub(super) fn mailer_line(&mut self, text: &str, place: &Place) {
        let is_end = |c: char| c == ',' || c.is_whitespace();
        let (name, mut rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
        let mut mailer = Mailer {
            name: name.to_owned(),
            ..Mailer::default()
        };
        let mut rules = String::new();
        loop {
            rest = rest.trim_start_matches(is_end);
            if rest.is_empty() {
                break;
            }
            let Some((key, body)) = rest.split_once('=').filter(|(key, _)| !key.contains(','))
            else {
                let text = format!("mailer {name}: expected FIELD=value: {rest}");
                self.m4.report_at(place, Severity::Error, text);
                break;
            };
            let (value, left) = field_body(body.trim_start());
            rest = left;
            let value = value.trim_end().to_owned();
            match key.chars().next() {
                Some('P') => mailer.path = value,
                Some('F') => mailer.flags = value.split_whitespace().collect(),
                Some('A') => mailer.arguments = value,
                Some('S') => rules = value,
                Some('E') => mailer.line_end = Some(value_with_ends(body)),
                Some('M') => mailer.max_octets = self.number(name, key, &value, place),
                Some('L') => {
                    let octets = self.number(name, key, &value, place);
                    mailer.line_octets = octets.and_then(|n| u32::try_from(n).ok());
                }
                Some('D') => mailer.directory = Some(value),
                Some('U') => mailer.user = Some(value),
                Some('/') => mailer.root_folder = Some(value),
                // Rules of recipients, types in notices, character set, numbers of messages and
                // recipients, queue group, and how long its end is waited for.
                Some('R' | 'T' | 'C' | 'm' | 'r' | 'Q' | 'W') => {}
                _ => {
                    let text = format!("mailer {name}: there is no field {key}=");
                    self.m4.report_at(place, Severity::Error, text);
                }
            }
        }
        mailer.rewriting = self.rules_of(name, &rules, place);
        self.note_place(&format!("MAILER({name})"), place);
        // A later definition takes the place of the one before.
        let defined = &mut self.site.mailers.defined;
        let is_it = |other: &Mailer| other.name.eq_ignore_ascii_case(name);
        match defined.iter_mut().find(|other| is_it(other)) {
            Some(before) => *before = mailer,
            None => defined.push(mailer),
        }
    }

    /// `S=`: the rules of senders, which tell how addresses are rewritten.
    fn rules_of(&mut self, name: &str, rules: &str, place: &Place) -> Rewriting {
        match rules.split('/').next().unwrap_or_default() {
            "EnvFromL" | "10" => Rewriting::Local,
            "EnvFromSMTP" | "11" => Rewriting::SmtpBoth,
            _ => {
                let text = format!(
                    "mailer {name}: ruleset {rules} is not known, addresses stay as they are"
                );
                self.m4.report_at(place, Severity::Warning, text);
                Rewriting::None
            }
        }
    }

    /// A number; 0 is none.
    fn number(&mut self, name: &str, key: &str, value: &str, place: &Place) -> Option<u64> {
        match value.parse() {
            Ok(number) => Some(number).filter(|number| *number > 0),
            Err(_) => {
                let text = format!("mailer {name}: {key}={value}: expected a number");
                self.m4.report_at(place, Severity::Error, text);
                None
            }
        }
    }
}

/// The body of a field up to a comma that is not in quotes, and what follows. Quotes go; `\n`, `\r`,
/// `\t`, `\b` and `\f` are what they are in C, and other octets behind `\` themselves.
pub(super) fn field_body(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut is_quoted = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => return (out, text.get(at..).unwrap_or_default()),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'b')) => out.push('\u{8}'),
                Some((_, 'f')) => out.push('\u{c}'),
                Some((_, other)) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    (out, "")
}

/// The same for what ends lines, which is white space itself.
fn value_with_ends(body: &str) -> String {
    let (value, _) = field_body(body.trim_start());
    value.trim_end_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_fields() {
        for (text, value, rest) in [
            ("mda -d $u", "mda -d $u", ""),
            ("/bin/x, F=a", "/bin/x", ", F=a"),
            ("m \"a, b\" c\\ d\\,e", "m a, b c d,e", ""),
            ("\\r\\n, A=x", "\r\n", ", A=x"),
            ("\\", "", ""),
        ] {
            assert_eq!(field_body(text), (value.to_owned(), rest), "{text}");
        }
    }
}
