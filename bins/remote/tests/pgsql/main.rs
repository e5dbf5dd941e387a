//! Maps on a real PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod again;
mod back;
mod faults;
mod followers;
mod locks;
mod mail;
mod news;
mod readme;
mod server;
mod split;
#[path = "../stage/mod.rs"]
mod stage;
mod tidy;
mod writers;
