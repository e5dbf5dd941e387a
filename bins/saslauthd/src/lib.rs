//! saslauthd's protocol, its mechanisms and its server, and the client.
//!
//! What decides does no I/O: [`frame`] and [`answer`] are the protocol,
//! [`cache`] and [`backoff`] what is remembered, [`mech::imap`] the dialogue
//! with a remote server. [`server`] drives them from one thread over many
//! sockets; mechanisms are asked on the threads of [`pool`], and those that run
//! C code (PAM, name service) in processes of their own ([`worker`]).
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod answer;
pub mod backoff;
pub mod cache;
pub mod client;
pub mod daemon;
pub mod dovecot;
pub mod ffi;
pub mod frame;
pub mod kept;
pub mod log;
pub mod mech;
pub mod notify;
pub mod options;
pub mod pool;
mod process;
pub mod prompt;
pub mod run_dir;
pub mod server;
pub mod starter;
pub mod worker;
