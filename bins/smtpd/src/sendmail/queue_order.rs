//! `-q` in all its forms.

use libmaps::site::model::options::values::read_time;

use super::args::Refusal;
use crate::queue::{Condition, Field, Want};

/// What `-q` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing: there was no `-q`.
    #[default]
    None,
    /// Run the queue once.
    Once,
    /// Run it at intervals, which the server does by itself.
    Often,
}

/// All `-q` of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueOrder {
    /// How often.
    pub order: Order,
    /// The time between runs, as typed.
    pub interval: Option<Box<str>>,
    /// Which messages; none for all.
    pub conditions: Vec<Condition>,
}

impl QueueOrder {
    /// Whether there was a `-q`.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.order != Order::None
    }

    /// Takes what is attached to a `-q`.
    ///
    /// # Errors
    /// When it is no time and no condition.
    pub fn take(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let (want, rest) = match value.strip_prefix(b"!") {
            Some(rest) => (Want::Other, rest),
            None => (Want::Matching, value),
        };
        let Some((&letter, tail)) = rest.split_first() else {
            self.once();
            return Ok(());
        };
        let field = match letter {
            b'I' => Field::Id,
            b'R' => Field::Recipient,
            b'S' => Field::Sender,
            b'G' if want == Want::Other => return Err(Refusal::usage("Can not use -q!G")),
            // The one that every queue is, as the original calls it.
            b'G' if !tail.eq_ignore_ascii_case(b"mqueue") => {
                let name = String::from_utf8_lossy(tail);
                return Err(Refusal::usage(format!("Queue group {name} unknown")));
            }
            // No run leaves this process.
            b'G' | b'f' => {
                self.once();
                return Ok(());
            }
            b'Q' | b'L' => {
                let text =
                    "quarantined messages are shown by mailq and let go by `mailq release ID`";
                return Err(Refusal::usage(text));
            }
            b'p' if tail.is_empty() => {
                self.order = Order::Often;
                return Ok(());
            }
            b'p' => return self.interval(tail),
            _ => return self.interval(rest),
        };
        self.once();
        self.conditions.push(Condition {
            field,
            want,
            part: String::from_utf8_lossy(tail).into_owned(),
        });
        Ok(())
    }

    fn once(&mut self) {
        if self.order == Order::None {
            self.order = Order::Once;
        }
    }

    fn interval(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let text = String::from_utf8_lossy(value);
        match read_time(&text, b'm') {
            Ok(time) if time.is_zero() => self.once(),
            Ok(_) => {
                self.order = Order::Often;
                self.interval = Some(text.into());
            }
            Err(_) => {
                let unit = text.trim().trim_start_matches(|c: char| c.is_ascii_digit());
                let unit = unit.chars().next().unwrap_or(' ');
                return Err(Refusal::usage(format!("Invalid time unit `{unit}'")));
            }
        }
        Ok(())
    }
}
