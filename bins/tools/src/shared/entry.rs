//! Changing one entry of a map in a directory, which need not be written as a whole for that.

use std::ffi::OsStr;
use std::io::{self, Read, Write};

use libmaps::map::StoreError;
use libmaps::store::shared::Connection;
use libmaps::store::shared::frame::Frame;
use libmaps::sysexits::SysExit;

use super::program::spawn;

/// The longest answer of mapremote, in octets.
const MAX_OCTETS: u64 = 64 << 10;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The engine has it, and the replica.
    Done,
    /// There is no such key to delete.
    Absent,
}

/// Gives a key this value, or without one deletes it.
///
/// # Errors
/// [`StoreError::Engine`].
pub fn change_entry(
    connection: &Connection,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Changed, StoreError> {
    let mut args: Vec<&OsStr> = vec!["entry".as_ref()];
    if let Some(root) = &connection.root {
        args.extend([OsStr::new("--root"), root.as_os_str()]);
    }
    args.extend([OsStr::new("--"), connection.file.as_os_str()]);
    let mut octets = Vec::new();
    let frame = Frame {
        lhs: key,
        place: 0,
        rhs: value,
    };
    let pipe = |e: io::Error| connection.error(SysExit::OsErr, format!("mapremote: {e}"));
    frame.append(&mut octets).map_err(pipe)?;
    let mut child = spawn(&args).map_err(|why| connection.error(SysExit::Unavailable, why))?;
    // One that refuses at once says so, whatever it has read.
    let _ = child.stdin.take().map(|mut to| to.write_all(&octets));
    let mut answer = String::new();
    if let Some(from) = child.stdout.take() {
        from.take(MAX_OCTETS)
            .read_to_string(&mut answer)
            .map_err(pipe)?;
    }
    let _ = child.wait();
    match answer.trim_end() {
        "done" => Ok(Changed::Done),
        "absent" => Ok(Changed::Absent),
        other => {
            let fault = other.strip_prefix("error ").and_then(|f| f.split_once(' '));
            let (code, why) = fault.unwrap_or(("70", "mapremote ended without an answer"));
            let exit = code.parse().ok().and_then(SysExit::of_code);
            Err(connection.error(exit.unwrap_or(SysExit::Software), why))
        }
    }
}
