//! Tables: what the entries of each kind of map mean.

pub mod domaintable;
pub mod fill;
pub mod generics;
pub mod mailertable;
pub mod virtusertable;
