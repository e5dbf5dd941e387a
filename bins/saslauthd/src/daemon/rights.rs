//! What the server gives up once its sockets are bound.

use std::path::Path;
use std::sync::Arc;

use confine::Reach;

use crate::kept;
use crate::log::Log;
use crate::mech::Mechanism;
use crate::options::{Confinement, Options};
use crate::starter::Starter;

/// Who the server becomes where it was root, the first that there is; else nobody.
const USERS: [&str; 2] = ["saslauth", "nobody"];

/// Whose rights the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Those of its start.
    Started,
    /// An ordinary user's: what only root may, the starter does.
    Ordinary,
}

/// Root's server becomes an ordinary user; there must be no other thread yet.
pub(super) fn leave_root(starter: Option<&Arc<Starter>>, log: &Log) -> Rights {
    let Some(starter) = starter.filter(|_| rustix::process::geteuid().is_root()) else {
        return Rights::Started;
    };
    starter.claim();
    kept::ask(starter);
    match confine::leave_root(&USERS) {
        Ok(()) => Rights::Ordinary,
        Err(error) => {
            log.error(format!("not confined: it stays root: {error}"));
            Rights::Started
        }
    }
}

/// Gives up what the server does not need from here on; there must be no other thread yet.
pub(super) fn confine(
    mechanism: Mechanism,
    options: &Options,
    store: &Path,
    rights: Rights,
    log: &Log,
) {
    if options.confinement == Confinement::Unconfined {
        return;
    }
    let mut reach = match mechanism {
        // Names are looked up.
        Mechanism::Rimap => Reach::system(),
        _ => Reach::new(),
    };
    if mechanism == Mechanism::Sasldb {
        reach.read_file(store);
    }
    if rights == Rights::Started {
        // Its files are removed at the end.
        reach.write_folder(&options.run_dir);
        if let Some(folder) = options.dovecot.as_deref().and_then(Path::parent) {
            reach.write_folder(folder);
        }
    }
    for lacking in confine::confine(&reach).lacking {
        log.error(format!("not confined: {lacking}"));
    }
}
