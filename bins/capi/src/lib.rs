//! libmaps for programs in C; `include/libmaps.h` is the contract, libmaps(3) the manual.
//!
//! cbindgen(1) makes the header of these files, so what is public here has its C name, and its
//! documentation speaks to the reader of the header. `UPDATE_GOLDENS=1 cargo test -p capi` writes
//! it anew; `cbindgen.toml` has its head and its looks.
//!
//! Nothing of Rust crosses the border: handles are boxes behind pointers, texts end in NUL,
//! and a panic becomes `MAPS_TEMP`. Each function checks its pointers for null and believes
//! the header's other promises, which only its caller can keep.
#![allow(unsafe_code)] // A C interface is made of raw pointers; each use says why it holds.
#![allow(non_camel_case_types)] // The names are those of the header.
#![allow(clippy::missing_safety_doc)] // The documentation is the header's; its head says what callers promise.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod border;
pub mod decision;
pub mod map;
pub mod session;
pub mod site;
