//! Tables: what the entries of each kind of map mean.

pub mod access;
pub mod aliases;
pub mod domaintable;
pub mod features;
pub mod fill;
pub mod generics;
pub mod mailertable;
pub mod question;
pub mod tls_features;
pub mod verdict;
pub mod virtusertable;
