//! What is done about old generations: a little by the writer that made them old, whose user waits
//! for it, and much by a process of its own, `mapremote tidy`, for which nobody does.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use libmaps::store::shared::Connection;

use crate::engine::{Amount, Engine, Left};
use crate::fault::Fault;
use crate::supervise::program;

/// Removes the generations that need not be kept any more; of many entries it only begins to, and
/// starts the process that goes on.
///
/// # Errors
/// What is not removed now is removed after a later write.
pub async fn begin<E: Engine>(connection: &Connection) -> Result<(), Fault> {
    match remove::<E>(connection, Amount::Little).await? {
        Left::Nothing => Ok(()),
        Left::Much => start(connection),
    }
}

/// Removes all of them, with pauses.
///
/// # Errors
/// What is not removed now is removed after a later write.
pub async fn finish<E: Engine>(connection: &Connection) -> Result<(), Fault> {
    remove::<E>(connection, Amount::All).await.map(drop)
}

async fn remove<E: Engine>(connection: &Connection, amount: Amount) -> Result<Left, Fault> {
    let mut engine = E::connect(&connection.server).await?;
    let (map, keep) = (&connection.map, connection.keep);
    engine.remove(map, keep, amount).await
}

/// Starts this program to remove the rest. It holds nothing that whoever started this one waits
/// for, and is in no terminal's foreground.
fn start(connection: &Connection) -> Result<(), Fault> {
    let mut args: Vec<OsString> = vec!["tidy".into()];
    if let Some(root) = &connection.root {
        args.extend(["--root".into(), root.as_os_str().to_owned()]);
    }
    args.extend(["--".into(), connection.file.as_os_str().to_owned()]);
    keep_files_from_others();
    let mut command = Command::new(program());
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    #[allow(clippy::zombie_processes)] // This program ends in a moment.
    command.spawn()?;
    Ok(())
}

/// Files that this program was started with, but for the first three, go to none that it starts: a
/// lock of flock(1) would be held for as long as that runs.
#[allow(unsafe_code)] // close_range(2) has no form in std
fn keep_files_from_others() {
    let (first, last, flags) = (3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: it takes numbers alone, and no descriptor is closed but in a program started later.
    // Systems before Linux 5.11 know no such flag, and go on as they did.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}
