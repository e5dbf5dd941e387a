//! Delivery status notifications (RFC 3461, 3462, 3464; RFC 6533 where addresses are
//! UTF-8): who hears what of a message, and how that is written.
//!
//! ```text
//! envelope -> report (who hears what) -> write (the message) -> queue
//! ```
//!
//! The layout for people is sendmail's, so that those who know it find everything in
//! its place. Nothing here reads a clock, and nothing that a stranger wrote brings a
//! line, a field or a boundary of its own into a notice.

mod line;
mod original;
mod part;
mod report;
mod text;
mod write;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod hostile_tests;

pub use line::{Action, Actual, Line};
pub use report::{Audience, Kind, Late, Notice, Plan, Returns, plan};
pub use text::duration_in_words;
pub use write::{Clerk, Form, ShowActual, Written, write};
