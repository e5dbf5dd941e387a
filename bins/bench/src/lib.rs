//! Drivers that set the built programs under fire, for `bench faults` and for the tests of
//! those programs.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod anything;
pub mod fire;
pub mod siege;
