//! ETRN (RFC 1985): which messages wait for a node.

use super::envelope::{Envelope, Expanded, Progress};

/// What a client asks the queue to be run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    name: Vec<u8>,
    below: Below,
}

/// Whether hosts below a domain count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    Yes,
    No,
}

impl Node {
    /// Reads the argument of ETRN: a host, or `@` and a domain for all hosts below it. No name
    /// is no node: copies that go by no host would wait for it.
    #[must_use]
    pub fn parse(argument: &[u8]) -> Option<Self> {
        let argument = argument.trim_ascii().to_ascii_lowercase();
        let node = match argument.strip_prefix(b"@") {
            Some(domain) => Node {
                name: domain.to_vec(),
                below: Below::Yes,
            },
            None => Node {
                name: argument,
                below: Below::No,
            },
        };
        (!node.name.is_empty()).then_some(node)
    }

    /// Whether something of this message waits for the node: a recipient there, or a copy
    /// that goes by it.
    #[must_use]
    pub fn is_awaited_by(&self, envelope: &Envelope) -> bool {
        let domain = |address: &[u8]| {
            let domain = address.rsplit(|c| *c == b'@').next();
            self.is(domain.unwrap_or_default())
        };
        let unexpanded = envelope.recipients.iter();
        let mut unexpanded = unexpanded.filter(|r| r.expanded == Expanded::No);
        let waiting = envelope.targets.iter();
        let mut waiting = waiting.filter(|t| t.progress == Progress::Waiting);
        unexpanded.any(|r| domain(&r.address.0))
            || waiting.any(|t| {
                let recipient = envelope.recipients.get(t.recipient);
                self.is(&t.host.0)
                    || domain(&t.user.0)
                    || recipient.is_some_and(|r| domain(&r.address.0))
            })
    }

    fn is(&self, host: &[u8]) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_prefix(b"[").unwrap_or(&host);
        let host = host.strip_suffix(b"]").unwrap_or(host);
        let host = host.strip_suffix(b".").unwrap_or(host);
        match host.strip_suffix(self.name.as_slice()) {
            Some([]) => true,
            Some(front) => self.below == Below::Yes && front.ends_with(b"."),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::{QueuedRecipient, QueuedTarget};
    use super::*;

    fn waiting(recipient: &str, host: &str, progress: Progress) -> Envelope {
        Envelope {
            recipients: vec![QueuedRecipient {
                address: recipient.into(),
                expanded: Expanded::Yes,
                ..QueuedRecipient::default()
            }],
            targets: vec![QueuedTarget {
                host: host.into(),
                user: recipient.into(),
                progress,
                ..QueuedTarget::default()
            }],
            ..Envelope::default()
        }
    }

    #[test]
    fn hosts_and_domains() {
        let cases = [
            ("far.example", "joe@far.example", "", true),
            ("FAR.example", "joe@Far.Example", "", true),
            ("far.example", "joe@mx.far.example", "", false),
            ("@far.example", "joe@mx.far.example", "", true),
            ("@far.example", "joe@notfar.example", "", false),
            ("smart.example", "joe@far.example", "[smart.example]", true),
            ("mx", "joe@far.example", "mx.", true),
        ];
        for (node, recipient, host, want) in cases {
            let envelope = waiting(recipient, host, Progress::Waiting);
            let node = Node::parse(node.as_bytes()).unwrap();
            assert_eq!(node.is_awaited_by(&envelope), want, "{node:?} {recipient}");
            let done = waiting(recipient, host, Progress::Done);
            assert!(!node.is_awaited_by(&done));
        }
        // It would be every copy's that goes by no host.
        for nobody in ["", "@", " @ "] {
            assert_eq!(Node::parse(nobody.as_bytes()), None, "{nobody}");
        }
    }
}
