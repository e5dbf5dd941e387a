//! `Srv_Features:` entries: what a client is offered, and what is demanded of it (op.me, "srv_features").
//!
//! Words stand apart by blanks, or by anything else that ends a token. The first letter of each
//! counts, and no other: a small one switches its feature on, a capital off. Of two words about
//! one feature the later one holds.

use crate::tokens::tokens;

/// What a letter of `Srv_Features:` switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `a`: AUTH is offered.
    Auth,
    /// `b`: VERB is offered.
    Verb,
    /// `c`: no mechanism that sends the password itself is offered without TLS.
    PasswordsUnderTls,
    /// `d`: DSN is offered.
    Dsn,
    /// `e`: ETRN is offered.
    Etrn,
    /// `l`: a login is demanded.
    Login,
    /// `p`: PIPELINING is offered.
    Pipelining,
    /// `s`: STARTTLS is offered.
    StartTls,
    /// `v`, and `r` in old files: a certificate of the client is asked for.
    ClientCertificate,
    /// `x`: EXPN is offered.
    Expn,
}

/// Whether a feature is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// A word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Its first letter names a feature; the word is as it was written.
    Known(Feature, Switch, &'a str),
    /// It names none.
    Unknown(&'a str),
}

/// The words of an entry, in order.
pub fn words(rhs: &str) -> impl Iterator<Item = Word<'_>> {
    let words = tokens(rhs.as_bytes()).filter_map(|token| rhs.get(token.start..token.end));
    words
        .filter(|word| word.starts_with(|c: char| c.is_alphanumeric() || c == '"'))
        .map(word)
}

fn word(word: &str) -> Word<'_> {
    let first = word.chars().next().unwrap_or_default();
    let feature = match first.to_ascii_lowercase() {
        'a' => Feature::Auth,
        'b' => Feature::Verb,
        'c' => Feature::PasswordsUnderTls,
        'd' => Feature::Dsn,
        'e' => Feature::Etrn,
        'l' => Feature::Login,
        'p' => Feature::Pipelining,
        's' => Feature::StartTls,
        'r' | 'v' => Feature::ClientCertificate,
        'x' => Feature::Expn,
        _ => return Word::Unknown(word),
    };
    let switch = match first.is_ascii_lowercase() {
        true => Switch::On,
        false => Switch::Off,
    };
    Word::Known(feature, switch, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sendmail 8.17.1.9 takes them, asked by EHLO.
    #[test]
    fn the_first_letter_of_each_word_counts() {
        use Feature::*;
        use Switch::*;
        let known = |rhs: &str| -> Vec<(Feature, Switch)> {
            words(rhs)
                .filter_map(|word| match word {
                    Word::Known(feature, switch, _) => Some((feature, switch)),
                    Word::Unknown(_) => None,
                })
                .collect()
        };
        for (rhs, wanted) in [
            ("c e", vec![(PasswordsUnderTls, On), (Etrn, On)]),
            ("c,e", vec![(PasswordsUnderTls, On), (Etrn, On)]),
            ("c.e", vec![(PasswordsUnderTls, On), (Etrn, On)]),
            ("ce", vec![(PasswordsUnderTls, On)]),
            ("Pe", vec![(Pipelining, Off)]),
            ("VERIFY", vec![(ClientCertificate, Off)]),
            (" A a ", vec![(Auth, Off), (Auth, On)]),
            ("z", vec![]),
            ("\"c e\"", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(known(rhs), wanted, "{rhs:?}");
        }
    }
}
