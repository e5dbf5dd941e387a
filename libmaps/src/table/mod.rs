//! Tables: what the entries of each map mean.

pub mod access;
pub mod verdict;
