//! Passwords: sasldb2's records, the secrets in them, and SASL's mechanisms.
//!
//! A password is turned into secrets when it is set and is then forgotten
//! (unless the administrator asks to keep it). The mechanisms do no I/O: octets
//! go in, octets and outcomes come out.

pub mod account_file;
pub mod conf;
mod counted;
pub mod db;
pub mod dovecot;
pub mod edit;
mod hash;
pub mod import;
pub mod key;
pub mod mechanism;
pub mod password;
mod saslprep;
pub mod secret;

pub use counted::{CountedAccount, Realms};
pub use db::{SaslDb, SaslDbError};
pub use hash::ScramHash;
pub use key::UserId;
pub use password::{Password, SecretBytes};
pub use saslprep::saslprep;
