//! Full names, as they stand before an address in a From field.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Octets of text in one encoded word: with its frame it stays below 75 characters
/// (RFC 2047 section 2).
const WORD_OCTETS: usize = 45;

/// The full name of a passwd entry: its comment up to the first comma, `&` standing for
/// the login name with a capital letter.
#[must_use]
pub fn of_gecos(gecos: &str, login: &str) -> Option<String> {
    let name = gecos.split(',').next().unwrap_or_default().trim();
    let mut capital = login.chars();
    let capital: String = capital
        .next()
        .map(|c| c.to_ascii_uppercase())
        .into_iter()
        .chain(capital)
        .collect();
    let name = name.replace('&', &capital);
    (!name.is_empty()).then_some(name)
}

/// The name as a phrase: as it is where it is made of plain words, else quoted
/// (RFC 5322 section 3.2.4), or encoded where it is not ASCII (RFC 2047).
///
/// Control characters become blanks. A name that is nothing but blanks is none.
#[must_use]
pub fn phrase(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    if !name.is_ascii() {
        return Some(encoded(name));
    }
    if name.bytes().all(is_plain) {
        return Some(name.to_owned());
    }
    Some(format!(
        "\"{}\"",
        name.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

/// Octets that may stand in a phrase without quotes; the dot is for `J. R. Doe`
/// (RFC 5322 section 4.1).
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b" .!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

fn encoded(name: &str) -> String {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in name.chars() {
        if word.len() + c.len_utf8() > WORD_OCTETS {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)))
        .collect();
    words.join("\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let gecos = [
            ("Bob Builder,Room 1,555", "bob", Some("Bob Builder")),
            ("Ann & Co", "ann", Some("Ann Ann Co")),
            ("&", "joe", Some("Joe")),
            (",x", "joe", None),
            ("", "joe", None),
        ];
        for (text, login, want) in gecos {
            assert_eq!(of_gecos(text, login).as_deref(), want, "{text}");
        }
        let phrases = [
            ("Bob Builder", Some("Bob Builder")),
            ("J. R. Doe", Some("J. R. Doe")),
            ("Fake \"Q\" <x>", Some("\"Fake \\\"Q\\\" <x>\"")),
            ("a\r\nBcc: b", Some("\"a  Bcc: b\"")),
            ("back\\slash", Some("\"back\\\\slash\"")),
            ("Zo\u{eb}", Some("=?utf-8?B?Wm/Dqw==?=")),
            (" ", None),
        ];
        for (text, want) in phrases {
            assert_eq!(phrase(text).as_deref(), want, "{text}");
        }
        let long = "\u{e9}".repeat(60);
        let words = phrase(&long).unwrap();
        assert_eq!(words.lines().count(), 3);
        assert!(words.lines().all(|line| line.len() < 76), "{words}");
    }
}
