//! Mail for other hosts: the server with sinks of our own, on free ports of loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod compat;
mod eight_bit;
mod hostile;
mod lists;
mod login;
#[path = "../live/name_server.rs"]
mod name_server;
mod reroute;
mod rewriting;
mod routes;
#[path = "../machine/running.rs"]
mod running;
mod simple;
mod sink;
mod site;
mod tls;
