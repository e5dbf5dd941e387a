//! Who gets a copy of a message, as the log and `mailq` write it.

use libmaps::address::split_detail;

use crate::queue::{Envelope, QueuedTarget};

/// Whom a copy is for in the end, and whom the client named, where that is somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// The recipient himself: `<joe@example.org>`.
    Recipient(String),
    /// A member of a list, an alias of the recipient's: `bob`, `x@example.net`, `/var/archive`,
    /// `"|program"`.
    Other {
        /// He.
        to: String,
        /// The recipient.
        named: String,
    },
}

impl Addressee {
    /// Of one copy.
    pub(crate) fn of(envelope: &Envelope, target: &QueuedTarget) -> Self {
        let recipient = envelope.recipients.get(target.recipient);
        let recipient = recipient.map(|r| r.address.0.as_slice());
        let named = format!(
            "<{}>",
            String::from_utf8_lossy(recipient.unwrap_or_default())
        );
        let user = target.user.0.as_slice();
        if user.is_empty() || recipient.is_some_and(|recipient| is_himself(recipient, user)) {
            return Addressee::Recipient(named);
        }
        let user = target.user.shown();
        let to = match target.mailer.as_str() {
            "prog" => format!("\"|{}\"", user.trim_start_matches('|')),
            _ => user,
        };
        Addressee::Other { to, named }
    }

    /// The one who gets it.
    pub(crate) fn to(&self) -> &str {
        match self {
            Addressee::Recipient(to) | Addressee::Other { to, .. } => to,
        }
    }
}

/// Whether a mailer's user is the recipient: his address, or for mailboxes the name in front of
/// its domain and detail.
fn is_himself(recipient: &[u8], user: &[u8]) -> bool {
    let local = match recipient.iter().rposition(|octet| *octet == b'@') {
        Some(at) => recipient.get(..at).unwrap_or_default(),
        None => recipient,
    };
    let name = split_detail(local).map_or(local, |(name, _)| name);
    [recipient, local, name]
        .iter()
        .any(|form| form.eq_ignore_ascii_case(user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Octets, QueuedRecipient};

    #[test]
    fn copies_say_who_gets_them() {
        let to = |recipient: &str, mailer: &str, user: &str| {
            let envelope = Envelope {
                recipients: vec![QueuedRecipient {
                    address: Octets::from(recipient),
                    ..QueuedRecipient::default()
                }],
                ..Envelope::default()
            };
            let target = QueuedTarget {
                mailer: mailer.into(),
                user: Octets::from(user),
                ..QueuedTarget::default()
            };
            match Addressee::of(&envelope, &target) {
                Addressee::Recipient(to) => to,
                Addressee::Other { to, named } => format!("{to} for {named}"),
            }
        };
        assert_eq!(to("x@b.example", "esmtp", "x@b.example"), "<x@b.example>");
        assert_eq!(to("Joe@a.example", "local", "joe"), "<Joe@a.example>");
        assert_eq!(to("joe+x@a.example", "local", "joe"), "<joe+x@a.example>");
        assert_eq!(to("joe+x@a.example", "local", "joe+x"), "<joe+x@a.example>");
        assert_eq!(to("bob", "local", "bob"), "<bob>");
        assert_eq!(
            to("any@v.example", "local", "bob"),
            "bob for <any@v.example>"
        );
        assert_eq!(
            to("staff", "esmtp", "x@b.example"),
            "x@b.example for <staff>"
        );
        assert_eq!(to("archive", "*file*", "/var/a"), "/var/a for <archive>");
        assert_eq!(to("p", "prog", "/bin/x -y"), "\"|/bin/x -y\" for <p>");
        assert_eq!(to("x@b.example", "discard", ""), "<x@b.example>");
    }
}
