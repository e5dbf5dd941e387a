//! By what the failed logins of an account are counted.
//!
//! One account has endless spellings: SASLprep (RFC 4013) makes soft hyphens nothing and wide
//! letters plain ones, and directories that check passwords (RFC 4518) drop control characters
//! and repeated blanks and look at no case. Whoever counts failures by what was typed counts
//! nothing. Here all spellings that anybody might take for one are one.

use super::key::UserId;
use super::saslprep::saslprep;

/// Which part of a name tells the account to whoever checks its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Realms {
    /// All of it: the realm stands behind the first `@`, and without one it is this.
    Default(Vec<u8>),
    /// What stands before the last `@`: nobody may look at the realm, so one account has as many
    /// names as there are realms.
    Ignored,
}

/// An account, as its failures are counted. Two that differ are two accounts to everybody; one
/// may stand for several that hardly differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountedAccount {
    authid: String,
    realm: String,
}

impl CountedAccount {
    /// Of a name as it was typed.
    #[must_use]
    pub fn of(name: &[u8], realms: &Realms) -> Self {
        let name = bare(name);
        match realms {
            Realms::Default(default) => match UserId::resolve(name.as_bytes(), default) {
                Ok(user) => Self::of_parts(user.authid(), user.realm()),
                // Longer than any account's: they are all one.
                Err(_) => Self::of_parts(b"", b""),
            },
            Realms::Ignored => {
                let (authid, _) = name.rsplit_once('@').unwrap_or((&name, ""));
                Self::of_parts(authid.as_bytes(), b"")
            }
        }
    }

    /// Of a name and a realm that came apart.
    #[must_use]
    pub fn of_parts(authid: &[u8], realm: &[u8]) -> Self {
        CountedAccount {
            authid: bare(authid),
            realm: bare(realm),
        }
    }
}

/// A name without what makes no difference to somebody. What can't be prepared of it, down to
/// octets that are no UTF-8, counts as if it were not there.
fn bare(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let prepared = match stringprep::saslprep(&text) {
        Ok(prepared) => prepared.into_owned(),
        Err(_) => {
            let mut octets = [0; 4];
            let each = text.chars().map(|c| {
                let one = stringprep::saslprep(c.encode_utf8(&mut octets));
                one.map(std::borrow::Cow::into_owned).unwrap_or_default()
            });
            each.collect()
        }
    };
    let words: Vec<_> = prepared.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// The name under which an account is known from here on: as it was typed, where `exists` knows an
/// account by that; else as SASLprep makes it (RFC 4616 section 2). Blanks around it do not
/// count. Of plain ASCII it is what was typed.
pub(super) fn settled(typed: &[u8], exists: impl FnOnce(&[u8]) -> bool) -> Vec<u8> {
    let typed = typed.trim_ascii();
    let prepared = prepared(typed);
    match prepared == typed || exists(typed) {
        true => typed.to_vec(),
        false => prepared.trim_ascii().to_vec(),
    }
}

/// As SASLprep makes a name. One whose realm is of another script can't be prepared as a whole
/// (RFC 3454 section 6): then it is the user's part alone.
fn prepared(typed: &[u8]) -> Vec<u8> {
    let whole = saslprep(typed);
    let at = typed.iter().rposition(|c| *c == b'@');
    match at.and_then(|at| typed.split_at_checked(at)) {
        Some((user, realm)) if whole.as_ref() == typed => [&*saslprep(user), realm].concat(),
        _ => whole.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(name: &str) -> CountedAccount {
        let realms = Realms::Default(b"mx.example".to_vec());
        CountedAccount::of(name.as_bytes(), &realms)
    }

    #[test]
    fn spellings_of_one_account() {
        for name in [
            "alice",
            "ALICE",
            " alice ",
            "a\u{ad}lice",
            "al\u{ad}\u{ad}ice\u{200d}",
            "\u{ff41}lice",
            "alice@mx.example",
            "alice@MX.EXAMPLE",
            "alice\u{ff20}mx.example",
            "alice\u{a0}@mx.example",
            "al\u{7}ice",
            "ali\u{e000}ce",
        ] {
            assert_eq!(of(name), of("alice"), "{name:?}");
        }
        for other in ["alices", "alice@other", "alice@", "\u{627}lice", "bob", ""] {
            assert_ne!(of(other), of("alice"), "{other:?}");
        }
        assert_eq!(of("john  smith"), of("John Smith"));
        let lossy = CountedAccount::of(b"al\xffice", &Realms::Default(b"mx.example".to_vec()));
        assert_eq!(lossy, of("alice"));
    }

    #[test]
    fn a_realm_that_nobody_looks_at_is_no_other_account() {
        let of = |name: &str| CountedAccount::of(name.as_bytes(), &Realms::Ignored);
        for same in ["alice@one", "alice@two", "alice", "a\u{ad}lice\u{ff20}one"] {
            assert_eq!(of(same), of("alice"), "{same:?}");
        }
        assert_ne!(of("alice@one@two"), of("alice"));
    }

    #[test]
    fn a_name_stays_as_typed_where_it_is_plain_or_known() {
        let nobody = |_: &[u8]| false;
        for plain in ["alice", "Alice@MX.Example", "a@b@c", "caf\u{e9}"] {
            assert_eq!(settled(plain.as_bytes(), nobody), plain.as_bytes());
        }
        assert_eq!(settled(b"  alice\t", nobody), b"alice");
        let odd = "a\u{ad}lice".as_bytes();
        assert_eq!(settled(odd, nobody), b"alice");
        assert_eq!(settled(odd, |name| name == odd), odd);
        assert_eq!(settled(b"al\xffice", nobody), b"al\xffice");
    }

    proptest! {
        #[test]
        fn what_saslprep_makes_equal_is_counted_as_one(name in "\\PC{0,12}") {
            let prepared = saslprep(name.as_bytes()).into_owned();
            let realms = Realms::Default(b"mx.example".to_vec());
            prop_assert_eq!(
                CountedAccount::of(name.as_bytes(), &realms),
                CountedAccount::of(&prepared, &realms)
            );
        }
    }

    #[test]
    fn a_realm_of_another_script_does_not_hinder() {
        let settled = |typed: &str| {
            let name = settled(typed.as_bytes(), |_| false);
            String::from_utf8(name).unwrap()
        };
        for (typed, want) in [
            (
                "\u{5d0}\u{ad}\u{5d1}@mx.example",
                "\u{5d0}\u{5d1}@mx.example",
            ),
            ("\u{5d0}\u{ad}\u{5d1}", "\u{5d0}\u{5d1}"),
            ("a\u{ad}lice@mx.example", "alice@mx.example"),
            ("alice@mx.example", "alice@mx.example"),
        ] {
            assert_eq!(settled(typed), want, "{typed}");
        }
    }
}
