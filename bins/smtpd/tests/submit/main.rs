//! The built sendmail: what callers hand it, what it says, and what arrives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod calls;
mod daemon;
mod goldens;
mod hostile;
mod manual;
mod once;
mod outputs;
mod queue;
mod site;
mod wrong_recipients;
