//! Stores: entries on disk, one file per class.

pub mod memory;

pub use memory::MemoryMap;
