//! The arguments of a mailer's program: the words of its `A=` behind the first, with the macros
//! in them replaced (op.me, section 5.4).
//!
//! A word stays one argument whatever its macros hold. What a stranger wrote is no option: where
//! a macro begins a word and its value begins with `-`, the program is not run, but behind an
//! option of the template, whose value it is, or behind `--`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use libmaps::site::Site;
use libmaps::site::model::Mailer;

use super::outcome::Outcome;
use crate::macros;
use crate::queue::{Envelope, Octets, QueuedTarget};

/// What the macros of a copy stand for. In them each octet is a character, so that none is lost.
pub(super) struct Values<'a> {
    site: &'a Site,
    named: Vec<(&'static str, String)>,
}

impl<'a> Values<'a> {
    /// Those of a copy; `sender` is the envelope sender as the mailer writes it.
    pub(super) fn of(
        site: &'a Site,
        envelope: &Envelope,
        target: &QueuedTarget,
        sender: &str,
    ) -> Self {
        let text = |text: &str| Octets::from(text).as_chars();
        let from = target.owner.as_ref().unwrap_or(&envelope.sender);
        let (client_name, client_addr) = client(&envelope.relay);
        Values {
            site,
            named: vec![
                ("u", target.user.as_chars()),
                ("h", target.host.as_chars()),
                ("f", from.as_chars()),
                ("g", text(sender)),
                ("i", text(&envelope.id)),
                ("j", text(&site.host_name)),
                ("m", text(&site.domain)),
                ("n", text(&site.error_name)),
                ("r", text(&envelope.protocol)),
                ("w", text(&site.short_name)),
                ("_", text(&envelope.relay)),
                ("client_name", text(client_name)),
                ("client_addr", text(client_addr)),
            ],
        }
    }

    /// With another user.
    pub(super) fn with_user(mut self, user: &[u8]) -> Self {
        self.named.retain(|(name, _)| *name != "u");
        self.named.push(("u", Octets::from(user).as_chars()));
        self
    }

    /// A text with its macros replaced.
    pub(super) fn expanded(&self, text: &str) -> OsString {
        let text = Octets::from(text).as_chars();
        let text = macros::expand(&text, &|name| self.get(name));
        OsString::from_vec(Octets::of_chars(&text).unwrap_or_default().0)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let named = self.named.iter().find(|(known, _)| *known == name);
        match named {
            Some((_, value)) => Some(value),
            None => self.site.macros.get(name).map(String::as_str),
        }
    }
}

/// Name and address of a client, as logs have them: `mx.example [192.0.2.1]`.
fn client(relay: &str) -> (&str, &str) {
    let Some((name, rest)) = relay.rsplit_once('[') else {
        return (relay, "");
    };
    let addr = rest.split(']').next().unwrap_or_default();
    (name.trim(), addr.strip_prefix("IPv6:").unwrap_or(addr))
}

/// What the program of a mailer gets for a copy.
///
/// # Errors
/// What becomes of the copy where a value would be taken for an option.
pub(super) fn arguments(mailer: &Mailer, values: &Values<'_>) -> Result<Vec<OsString>, Outcome> {
    let mut all = Vec::new();
    for word in template(mailer) {
        let argument = values.expanded(word.text);
        if word.refuses(&argument) {
            let text = "an address that begins with - is no argument of a program";
            return Err(Outcome::failed("5.1.3", text));
        }
        all.push(argument);
    }
    Ok(all)
}

/// What the program of a mailer is called: the first word of `A=`.
pub(crate) fn name_of(mailer: &Mailer) -> Option<&str> {
    mailer.arguments.split_whitespace().next()
}

/// What a program that speaks LMTP is called: the same, or else its path.
pub(crate) fn called(mailer: &Mailer) -> &str {
    name_of(mailer).unwrap_or(&mailer.path)
}

/// Whether these can be the arguments that a mailer's program gets for some copy.
pub(crate) fn fits<'a>(mailer: &Mailer, given: impl IntoIterator<Item = &'a OsStr>) -> bool {
    let mut given = given.into_iter();
    let all = template(mailer)
        .into_iter()
        .all(|word| given.next().is_some_and(|argument| word.fits(argument)));
    all && given.next().is_none()
}

/// A word of the template.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    text: &'a str,
    /// Whether an argument that begins with `-` would be an option here.
    option: TakesOption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakesOption {
    Yes,
    /// It is the value of one, or stands behind `--`.
    No,
}

/// The words of `A=` behind the first, with the sender in front where the mailer wants him.
fn template(mailer: &Mailer) -> Vec<Word<'_>> {
    let from: &[&str] = match (mailer.has('f'), mailer.has('r')) {
        (true, _) => &["-f", "$g"],
        (false, true) => &["-r", "$g"],
        (false, false) => &[],
    };
    let words = mailer.arguments.split_whitespace().skip(1);
    let mut all: Vec<Word<'_>> = Vec::new();
    let mut is_behind_dashes = false;
    for text in from.iter().copied().chain(words) {
        let is_value = all
            .last()
            .is_some_and(|before| before.text.starts_with('-'));
        is_behind_dashes |= all.last().is_some_and(|before| before.text == "--");
        all.push(Word {
            text,
            option: match is_value || is_behind_dashes {
                true => TakesOption::No,
                false => TakesOption::Yes,
            },
        });
    }
    all
}

impl Word<'_> {
    /// Whether an argument would be taken for an option that is not the site's.
    fn refuses(self, argument: &OsStr) -> bool {
        self.option == TakesOption::Yes
            && self.text.starts_with('$')
            && argument.as_bytes().starts_with(b"-")
    }

    /// Whether this can come of it: its own text must stand there, and macros are anything.
    fn fits(self, argument: &OsStr) -> bool {
        if self.refuses(argument) {
            return false;
        }
        let Some(pieces) = literals(self.text) else {
            return true;
        };
        let mut rest = argument.as_bytes();
        let [first, between @ .., last] = pieces.as_slice() else {
            return pieces.first().is_some_and(|only| only.as_bytes() == rest);
        };
        let Some(behind) = rest.strip_prefix(first.as_bytes()) else {
            return false;
        };
        rest = behind;
        for piece in between {
            match memmem(rest, piece.as_bytes()) {
                Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last.as_bytes())
    }
}

fn memmem(text: &[u8], piece: &[u8]) -> Option<usize> {
    match piece {
        b"" => Some(0),
        piece => text.windows(piece.len()).position(|window| window == piece),
    }
}

/// What stands between the macros of a word; `None` where that depends on their values.
fn literals(word: &str) -> Option<Vec<String>> {
    let mut pieces = vec![String::new()];
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        let kept = match c {
            '$' => match chars.next() {
                Some('$') => Some('$'),
                Some('?' | '|' | '.') => return None,
                Some('{') => {
                    let _ = chars.by_ref().find(|c| *c == '}');
                    None
                }
                Some('&') => {
                    if chars.next() == Some('{') {
                        let _ = chars.by_ref().find(|c| *c == '}');
                    }
                    None
                }
                _ => None,
            },
            c => Some(c),
        };
        match (kept, pieces.last_mut()) {
            (Some(c), Some(last)) => last.push(c),
            _ => pieces.push(String::new()),
        }
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailer(flags: &str, arguments: &str) -> Mailer {
        Mailer {
            name: "m".into(),
            path: "/bin/m".into(),
            flags: flags.into(),
            arguments: arguments.into(),
            ..Mailer::default()
        }
    }

    fn made(flags: &str, template: &str, user: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut site = Site {
            host_name: "mx.example".into(),
            ..Site::default()
        };
        site.macros.insert("Z".into(), "own".into());
        let envelope = Envelope {
            id: "4x1".into(),
            sender: "-ann@far.example".into(),
            relay: "far.example [IPv6:2001:db8::1]".into(),
            ..Envelope::default()
        };
        let target = QueuedTarget {
            host: Octets::from("+det ail"),
            user: Octets(user.to_vec()),
            ..QueuedTarget::default()
        };
        let values = Values::of(&site, &envelope, &target, "ann@written.example");
        let made = arguments(&mailer(flags, template), &values).map_err(|o| o.status)?;
        Ok(made.into_iter().map(OsString::into_vec).collect())
    }

    #[test]
    fn words_stay_words() {
        type Case<'a> = (&'a str, &'a str, &'a [u8], &'a [&'a [u8]]);
        let cases: [Case<'_>; 6] = [
            ("", "m -d $u", b"b\xf6b", &[b"-d", b"b\xf6b"]),
            (
                "lsf",
                "m -a $h -d $u x$u=$f",
                b"bob",
                &[
                    b"-f",
                    b"ann@written.example",
                    b"-a",
                    b"+det ail",
                    b"-d",
                    b"bob",
                    b"xbob=-ann@far.example",
                ],
            ),
            (
                "r",
                "m ${client_name} ${client_addr} $i $Z $&j",
                b"bob",
                &[
                    b"-r",
                    b"ann@written.example",
                    b"far.example",
                    b"2001:db8::1",
                    b"4x1",
                    b"own",
                    b"mx.example",
                ],
            ),
            ("", "sh -c $u", b"-x  $h", &[b"-c", b"-x  $h"]),
            ("", "m -e -- $u", b"-oQ", &[b"-e", b"--", b"-oQ"]),
            ("", "m $?{none}x$|y$. $u", b"", &[b"y", b""]),
        ];
        for (flags, template, user, want) in cases {
            let made = made(flags, template, user).unwrap();
            assert_eq!(made, want, "{template}");
        }
    }

    #[test]
    fn no_stranger_writes_an_option() {
        for template in ["m $u", "m x $u", "m $f $u", "m -d $h $u"] {
            assert_eq!(
                made("", template, b"-oQ"),
                Err("5.1.3".into()),
                "{template}"
            );
        }
    }

    #[test]
    fn what_a_mailer_gives_fits_and_nothing_else() {
        let procmail = mailer("SPhn", "procmail -a $h -d $u");
        let with_sender = mailer("f", "lda -x$u=$h- $$ $?u$u$|none$. $u");
        for (mailer, given, want) in [
            (&procmail, &["-a", "", "-d", "bob"][..], true),
            (&procmail, &["-a", "-x", "-d", "-y"], true),
            (&procmail, &["-m", "/tmp/any-rcfile"], false),
            (&procmail, &["-a", "", "-m", "bob"], false),
            (&procmail, &["-a", "", "-d", "bob", "more"], false),
            (&procmail, &["-a", "", "-d"], false),
            (
                &with_sender,
                &["-f", "a@b", "-xbob=y-", "$", "any", "bob"],
                true,
            ),
            (
                &with_sender,
                &["-f", "a@b", "-xbob-", "$", "any", "bob"],
                false,
            ),
            (
                &with_sender,
                &["-f", "a@b", "-xbob=y", "$", "any", "bob"],
                false,
            ),
            (
                &with_sender,
                &["-f", "a@b", "-xbob=y-", "$", "any", "-bob"],
                false,
            ),
            (
                &with_sender,
                &["-r", "a@b", "-xbob=y-", "$", "any", "bob"],
                false,
            ),
        ] {
            let given: Vec<&OsStr> = given.iter().map(OsStr::new).collect();
            assert_eq!(fits(mailer, given.iter().copied()), want, "{given:?}");
        }
    }
}
