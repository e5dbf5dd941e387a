//! Maps that hosts share through an engine (PostgreSQL, Redis, LDAP), as far as no network is needed.
//!
//! A map of class `pgsql`, `redis` or `ldap` is named by its connection file
//! ([`Connection`]). What is read is its replica: an ordinary published redb
//! map on this host, which says by its [`Origin`] which generation of the
//! shared map it holds. Writers make a draft of the replica, have the program
//! mapremote(8) bring what it holds to the engine ([`Offer`], [`frame`]), and
//! publish it when the engine has it.

mod connection;
pub mod counts;
mod digest;
mod follower;
pub mod frame;
mod offer;
mod origin;
mod standing;

pub use connection::{Connection, Kind, Server, Tls, Words};
pub use digest::Digest;
pub use follower::{follower_file, follower_notes};
pub use offer::{Base, Difference, Offer, Ready, Way, Wish};
pub use origin::Origin;
pub use standing::{Standing, provider_of};
