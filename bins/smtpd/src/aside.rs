//! Work that blocks, in the midst of what must not.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does what may block: the other tasks of this thread go on in another meanwhile.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
