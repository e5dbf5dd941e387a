//! Maps that hosts share: the programs' side of mapremote(8).
//!
//! A writer makes a draft of the replica as it makes any map. Before the draft
//! becomes the replica, what it holds goes to mapremote, which brings it to the
//! engine; when the engine has it, the draft is published. So grammar, folding,
//! duplicates, messages and exit codes are those of the program that was called.

mod changes;
mod entry;
mod program;
mod writer;

pub use entry::{Changed, change_entry};
pub use libmaps::policy::shared_maps::{files_of, make_connection_files};
pub use program::{become_mapremote, run, spawn, spawn_on};
pub use writer::Writer;
