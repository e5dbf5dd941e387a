//! The arguments of a mailer's program: the words of its `A=` behind the first, with the macros
//! in them replaced (op.me, section 5.4).
//!
//! A word stays one argument whatever its macros hold. What a stranger wrote is no option: where
//! a macro begins a word and its value begins with `-`, the program is not run, but behind an
//! option of the template, whose value it is, or behind `--`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

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
    let from = ["-f", "-r"].into_iter().find(|word| {
        let letter = word.chars().next_back();
        letter.is_some_and(|letter| mailer.has(letter))
    });
    if let Some(word) = from {
        all.push(word.into());
        all.push(expanded("$g", values));
    }
    let mut before = "";
    let mut is_behind_dashes = false;
    for word in mailer.arguments.split_whitespace().skip(1) {
        let argument = expanded(word, values);
        let is_a_value = before.starts_with('-') || is_behind_dashes;
        if word.starts_with('$') && !is_a_value && argument.as_encoded_bytes().starts_with(b"-") {
            let text = "an address that begins with - is no argument of a program";
            return Err(Outcome::failed("5.1.3", text));
        }
        is_behind_dashes |= word == "--";
        before = word;
        all.push(argument);
    }
    Ok(all)
}

fn expanded(word: &str, values: &Values<'_>) -> OsString {
    let word = Octets::from(word).as_chars();
    let text = macros::expand(&word, &|name| values.get(name));
    OsString::from_vec(Octets::of_chars(&text).unwrap_or_default().0)
}

#[cfg(test)]
mod tests {
    use libmaps::site::model::Rewriting;

    use super::*;

    fn mailer(flags: &str, arguments: &str) -> Mailer {
        Mailer {
            name: "m".into(),
            path: "/bin/m".into(),
            flags: flags.into(),
            arguments: arguments.into(),
            max_octets: None,
            line_octets: None,
            directory: None,
            rewriting: Rewriting::Local,
        }
    }

    fn made(flags: &str, template: &str, user: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut site = Site::default();
        site.host_name = "mx.example".into();
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
        let cases: [(&str, &str, &[u8], &[&[u8]]); 6] = [
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
}
