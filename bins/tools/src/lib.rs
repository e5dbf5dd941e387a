//! The map and password programs: each a module with `run`, and what they share.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod config;
pub mod editmap;
pub mod getopt;
pub mod makemap;
pub mod mapctl;
pub mod progress;
pub mod report;
pub mod target;
