//! An SMTP server that starts on a site's own `sendmail.mc`.
//!
//! ```text
//! listener -> connection -> session (pure) -> consult (policy) -> queue -> deliver
//! ```
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod addressee;
pub mod agent;
mod aside;
mod awaited;
pub mod check;
pub mod clock;
pub mod command;
pub mod connection;
pub mod consult;
pub mod counter;
pub mod daemon;
pub mod deliver;
pub mod demo;
pub mod drop;
pub mod dsn;
pub mod follower;
pub mod header;
pub mod listener;
pub mod log;
pub mod login;
pub mod macros;
pub mod mailq;
pub mod maps;
pub mod notify;
pub mod own_program;
mod places;
pub mod privilege;
pub mod proxy;
pub mod queue;
pub mod reach;
pub mod relay;
pub mod resolver;
pub mod sendmail;
pub mod server;
pub mod session;
pub mod sound;
pub mod tables;
pub mod throttle;
pub mod tls;
pub mod wire;
pub mod world;
