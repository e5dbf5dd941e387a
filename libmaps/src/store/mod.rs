//! Stores: entries on disk, one file per class.

pub mod berkeley;
pub mod cdb;
pub mod memory;
pub mod sniff;

pub use berkeley::BerkeleyMap;
pub use cdb::{CdbMap, CdbWriter};
pub use memory::MemoryMap;
pub use sniff::{Format, SNIFF_OCTETS, sniff};
