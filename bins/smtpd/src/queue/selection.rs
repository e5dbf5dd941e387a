//! Running a part of the queue now: the control socket's request `{"runsome": [...]}`.
//!
//! Conditions on the same field are alternatives, and each field that has any must agree:
//! `sendmail -qSjoe -qSann -qRexample.org` runs what joe or ann sent to example.org.

use serde::{Deserialize, Serialize};

use super::{Envelope, Queue};

/// What a message must be like to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// What is looked at.
    pub field: Field,
    /// Whether it must have the part or must not.
    pub want: Want,
    /// A part of it; the case of letters does not count, but for ids.
    pub part: String,
}

/// What a [`Condition`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// The queue id.
    Id,
    /// Any recipient.
    Recipient,
    /// The sender.
    Sender,
}

/// Whether a part is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// Those that have it.
    Matching,
    /// Those that do not.
    Other,
}

impl Condition {
    fn holds(&self, envelope: &Envelope) -> bool {
        let part = self.part.as_bytes().to_ascii_lowercase();
        let has = |text: &[u8]| {
            let text = text.to_ascii_lowercase();
            part.is_empty() || text.windows(part.len()).any(|window| window == part)
        };
        let found = match self.field {
            Field::Id => envelope.id.contains(&self.part),
            Field::Sender => has(&envelope.sender.0),
            Field::Recipient => envelope.recipients.iter().any(|r| has(&r.address.0)),
        };
        found == (self.want == Want::Matching)
    }
}

/// Whether the conditions select a message; none select every one.
#[must_use]
pub fn selects(conditions: &[Condition], envelope: &Envelope) -> bool {
    [Field::Id, Field::Recipient, Field::Sender]
        .iter()
        .all(|field| {
            let mut own = conditions.iter().filter(|c| c.field == *field).peekable();
            own.peek().is_none() || own.any(|c| c.holds(envelope))
        })
}

impl Queue {
    /// Makes the waiting messages due that the conditions select; how many those were.
    pub fn run_some(&self, conditions: &[Condition]) -> usize {
        self.run_where(|envelope| selects(conditions, envelope))
    }
}

impl Queue {
    /// The messages that are wanted, due or not, marked as being tried. Held ones, and those
    /// being tried already, are none.
    #[must_use]
    pub fn take_where(&self, wanted: impl Fn(&Envelope) -> bool) -> Vec<Box<str>> {
        let mut taken = Vec::new();
        for id in self.ids() {
            let envelope = self.envelope(&id);
            let wanted = envelope.is_ok_and(|e| e.hold.is_none() && wanted(&e));
            if wanted && self.index().take(&id) {
                taken.push(id);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        serde_json::from_value(serde_json::json!({
            "id": "6APMRkmQa00028", "created_unix": 0, "sender": "Joe@b.example", "size_octets": 1,
            "relay": "", "protocol": "SMTP",
            "recipients": [{"address": "ann@c.example"}, {"address": "bob@D.example"}],
        }))
        .unwrap()
    }

    #[test]
    fn conditions_select() {
        let condition = |field, want, part: &str| Condition {
            field,
            want,
            part: part.into(),
        };
        use Field::{Id, Recipient, Sender};
        use Want::{Matching, Other};
        let cases = [
            (vec![], true),
            (vec![condition(Id, Matching, "mQa")], true),
            (vec![condition(Id, Matching, "MQA")], false),
            (vec![condition(Sender, Matching, "joe@B")], true),
            (vec![condition(Sender, Other, "joe")], false),
            (vec![condition(Recipient, Matching, "d.EXAMPLE")], true),
            (vec![condition(Recipient, Other, "zoe")], true),
            (
                vec![
                    condition(Sender, Matching, "x"),
                    condition(Sender, Matching, "joe"),
                ],
                true,
            ),
            (
                vec![
                    condition(Sender, Matching, "joe"),
                    condition(Recipient, Matching, "x@"),
                ],
                false,
            ),
        ];
        for (conditions, want) in cases {
            assert_eq!(selects(&conditions, &envelope()), want, "{conditions:?}");
        }
    }
}
