//! Tables: what the entries of each kind of map mean.

pub mod access;
pub mod aliases;
pub mod domaintable;
pub mod fill;
pub mod generics;
pub mod mailertable;
pub mod question;
pub mod verdict;
pub mod virtusertable;
