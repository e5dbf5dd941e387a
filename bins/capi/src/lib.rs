//! libmaps for programs in C; `include/libmaps.h` is the contract, libmaps(3) the manual.
//!
//! Nothing of Rust crosses the border: handles are boxes behind pointers, texts end in NUL,
//! and a panic becomes `MAPS_TEMP`. Each function checks its pointers for null and believes
//! the header's other promises, which only its caller can keep.
#![allow(unsafe_code)] // A C interface is made of raw pointers; each use says why it holds.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod border;
pub mod decision;
pub mod map;
pub mod session;
pub mod site;
