//! Maps that hosts share: the engines, the followers and the writers' other half.
//!
//! The only package that knows PostgreSQL, Redis and LDAP. The programs that
//! write maps run its program mapremote(8) and stay free of all three.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod command;
pub mod count;
pub mod course;
pub mod engine;
pub mod fault;
pub mod filling;
pub mod follow;
pub mod generations;
mod heard;
pub mod ldap;
pub mod log;
pub mod pgsql;
pub mod redis;
pub mod replica;
pub mod setback;
pub mod state;
pub mod supervise;
pub mod tidy;
pub mod tls;
pub mod write;
