//! Whether the server can take mail out of the drop folder.
//!
//! It reads a dropped file before it removes it, and tries the message after that. In a folder
//! that it can read and not change, mail is taken that it then never tries.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libmaps::site::Site;
use rustix::fs::{Access, access, getxattr};

use super::Submit;
use crate::privilege::hand_over::is_to_be_given;
use crate::privilege::{Becoming, Member};
use crate::server::Confinement;

/// An access list of acl(5), by which others may do more or less than the mode says.
const ACCESS_LIST: &str = "system.posix_acl_access";
/// What a file's mode gives: to search a folder, and to take files out of it.
const SEARCH: u32 = 0o1;
const TAKE_OUT: u32 = 0o7;

/// How it is made such that the server of a site can use it. A user that we choose is given the
/// folder's group; to one that the site names it must be given there.
pub(super) fn mending(folder: &Path, site: &Site) -> String {
    let install = format!(
        "`install -d -o smmsp -g smmsp -m 2770 {}`",
        folder.display()
    );
    let named = site.options.files.run_as_user.trim();
    match named.split([':', '.']).next() {
        None | Some("") => install,
        Some(user) => format!("{install}, `{user}:smmsp` as confRUN_AS_USER"),
    }
}

/// Why this process can't take mail out of the folder. `None` where it can, and where there is
/// no folder.
pub(super) fn lacking(folder: &Path) -> Option<String> {
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match access(folder, needed) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => None,
        Err(error) => Some(std::io::Error::from(error).to_string()),
    }
}

/// What `smtpd check` says of the drop folder, as the server would find it.
///
/// # Errors
/// When a server could not take mail out of it, with the command that mends that.
pub(crate) fn described(site: &Site, confinement: Confinement) -> Result<String, String> {
    let folder = Submit::of(site).folder_of(site);
    let shown = folder.display().to_string();
    if !rustix::process::geteuid().is_root() && lacking(&folder).is_none() {
        // Whoever asks may be who starts it.
        return Ok(shown);
    }
    // Without a user there is no server; that is said elsewhere.
    let Ok(Some(mut becoming)) = Becoming::by_root(site, confinement) else {
        return Ok(shown);
    };
    becoming.join(&folder);
    match unreachable(&folder, site.root.as_deref(), &becoming) {
        None => Ok(shown),
        Some(part) => Err(format!(
            "{}: {} can't take mail out of it, so what is dropped would wait for ever: {}",
            part.display(),
            becoming.name(),
            mending(&folder, site)
        )),
    }
}

/// The folder where the mode keeps a user from it, or the one above that does not let him
/// through.
fn unreachable<'a>(folder: &'a Path, root: Option<&Path>, becoming: &Becoming) -> Option<&'a Path> {
    let found = fs::metadata(folder).ok()?;
    let is_given = is_to_be_given((found.uid(), found.gid()), found.mode()) && becoming.is_ours();
    let above = folder.ancestors().skip(1);
    let above = above.take_while(|path| Some(*path) != root);
    let closed = above
        .filter(|path| fs::metadata(path).is_ok_and(|m| !may(path, &m, becoming, SEARCH)))
        .last();
    closed.or_else(|| (!is_given && !may(folder, &found, becoming, TAKE_OUT)).then_some(folder))
}

fn may(path: &Path, found: &Metadata, becoming: &Becoming, needed: u32) -> bool {
    if getxattr(path, ACCESS_LIST, &mut [0_u8; 0]).is_ok_and(|octets| octets > 0) {
        // The kernel alone can tell; a server that starts asks it.
        return true;
    }
    let given = match becoming.member_of(found.uid(), found.gid()) {
        Member::Owner => found.mode() >> 6,
        Member::Group => found.mode() >> 3,
        Member::Other => found.mode(),
    };
    given & needed == needed
}
