//! The whole server from outside: listeners, TLS, logins, logs, signals, limits. Real sockets
//! on free ports of loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod agent;
mod alias_texts;
mod certificates;
mod changes;
mod client;
mod confinement;
#[path = "../live/name_server.rs"]
mod name_server;
mod saslauthd;
mod site;

mod broken_off;
mod crowded;
mod departure;
mod features;
mod hanging;
mod howto;
mod listeners;
mod logging;
mod long_lists;
mod mail;
mod mailers;
mod mailers_agent;
mod octets;
mod privilege;
mod proxy;
mod run_as;
mod safe_folder;
mod slow_names;
mod socket_maps;
mod stage;
mod tls;
mod wire;
