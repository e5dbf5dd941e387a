//! An SMTP server that starts on a site's own `sendmail.mc`.
//!
//! ```text
//! listener -> connection -> session (pure) -> consult (policy) -> queue -> deliver
//! ```
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod clock;
pub mod header;
pub mod macros;
pub mod maps;
pub mod queue;
pub mod resolver;
pub mod session;
