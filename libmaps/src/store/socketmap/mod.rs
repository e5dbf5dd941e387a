//! The socketmap protocol: exact gets over a socket, as sendmail's class `socket` and
//! Postfix's socketmap_table(5) ask them.
//!
//! Each request and each reply is one [`netstring`]. A request is the map's name, a blank
//! and the key ([`Request`]); a [`Reply`] is `OK` and the value, `NOTFOUND`, or that nobody
//! can tell: `TEMP`, `TIMEOUT` and `PERM` with the reason. [`SocketMap`] is the client.
//!
//! Nothing here opens a socket but the client.

mod address;
mod client;
mod message;
pub mod netstring;
mod resolve;

pub use address::{Address, AddressFault, Endpoint};
pub use client::{DEFAULT_PATIENCE, SocketMap};
pub use message::{MAX_NAME_OCTETS, Reply, Request};
