//! Attacks on the built server, each made for real: the cases of `testdata/smtp/attacks`, and
//! what needs more than a dialogue.
//!
//! `cargo run --release -p bench -- faults attacks` makes the heavy ones at full size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code)]
#[path = "../server/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../server/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../server/site.rs"]
mod site;

mod aliases;
mod files;
mod play;
mod siege;
mod smuggling;
mod tls;
