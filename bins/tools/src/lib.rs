//! The map and password programs: each a module with `run`, and what they share.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod alias_config;
pub mod ask;
pub mod closed_stdin;
pub mod columns;
pub mod config;
pub mod consult;
pub mod demo_folder;
pub mod editmap;
pub mod explanation;
pub mod forwards;
pub mod getopt;
pub mod getopt_all;
pub mod makemap;
pub mod mapctl;
pub mod newaliases;
pub mod praliases;
pub mod progress;
pub mod report;
pub mod sasl_site;
pub mod sasldblistusers2;
pub mod saslpasswd2;
pub mod serve;
pub mod shared;
pub mod source_lines;
pub mod target;
