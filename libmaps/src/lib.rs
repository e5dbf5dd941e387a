//! Mail maps on a crash-safe store, with sendmail's lookup rules.
//!
//! The modules stand in the order in which data flows, and a module imports
//! only from those above it (`tests/layers.rs` holds the law):
//!
//! ```text
//! text source -> parser -> builder -> store -> lookup -> table semantics -> policy decision
//! ```
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

// -- words

pub mod sysexits;

pub mod reply;

pub mod rhs;

pub mod lhs;

pub mod address;

pub mod tokens;

pub mod prescan;

pub mod ciphers;

pub mod terms;

pub mod opening;

pub mod way;

// -- source: text to entries

pub mod source;

// -- store: entries to a published map

pub mod map;

pub mod store;

pub mod live;

pub mod build;

// -- site: the administrator's configuration

pub mod site;

// -- tables: lookups to meaning

pub mod decision;

pub mod table;

pub mod sasl;

// -- policy: meaning to decision

pub mod policy;

// -- lint: sources and configuration, looked over

pub mod lint;
