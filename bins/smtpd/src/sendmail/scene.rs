//! What the program knows of the place where it runs: the site, the drop folder, the caller.

use std::path::PathBuf;

use libmaps::site::users::Users;
use libmaps::site::{Site, load};
use libmaps::sysexits::SysExit;
use tools::alias_config::reason;
use tools::consult::ConsultError;

use super::args::{CommandLine, Refusal};
use crate::drop::submitter::Submitter;
use crate::drop::{Submit, intake};
use crate::privilege::Becoming;
use crate::server::Confinement;

/// The site as it is for somebody who submits a message.
pub(super) struct Scene {
    /// The configuration.
    pub site: Site,
    /// The drop folder.
    pub folder: PathBuf,
    /// Who calls.
    pub caller: Submitter,
}

impl Scene {
    /// Reads the configuration. What is wrong in it is the server's affair: a message is
    /// taken all the same.
    ///
    /// # Errors
    /// When it can't be read at all.
    pub(super) fn open(line: &CommandLine) -> Result<Self, Refusal> {
        let site = read_site(line)?;
        let users = Users::of(&site).unwrap_or(Users::System);
        let caller = Submitter::of(&users, own_uid());
        let caller = caller.map_err(|e| Refusal::new(SysExit::TempFail, format!("passwd: {e}")))?;
        let folder = Submit::of(&site).folder_of(&site);
        // Root may send before any server has run; for others this does nothing.
        let server = Becoming::of(&site, Confinement::Confined).ok().flatten();
        intake::prepare(&site, server.as_ref());
        Ok(Scene {
            site,
            folder,
            caller,
        })
    }
}

/// The configuration that the command line names, with the options that it sets.
///
/// # Errors
/// When it can't be read, or an option's value does not read.
pub(super) fn read_site(line: &CommandLine) -> Result<Site, Refusal> {
    let loaded = load::load(line.root.as_deref(), line.config.as_deref());
    let mut site = loaded.map_err(|error| unreadable(&error))?.site;
    let place = libmaps::site::diagnostic::Place::new(std::path::Path::new("command line"), 1);
    for setting in &line.settings {
        let name = String::from_utf8_lossy(&setting.name);
        let value = String::from_utf8_lossy(&setting.value);
        // Options of sendmail's that this suite has no use for are accepted, as from a .mc file.
        if let Err(libmaps::site::model::options::OptionError::Value(expected)) =
            site.options.set(&name, &value, &place)
        {
            let text = format!("option {name}={value}: {expected}");
            return Err(Refusal::usage(text));
        }
    }
    Ok(site)
}

pub(super) fn unreadable(error: &load::SiteError) -> Refusal {
    match error {
        load::SiteError::Io { path, source } => {
            let text = format!(
                "{}: line 0: cannot open: {}",
                path.display(),
                reason(source)
            );
            Refusal::new(SysExit::OsFile, text)
        }
        other => Refusal::new(other.exit(), other.to_string()),
    }
}

/// The same, of a mode that asks the maps.
pub(super) fn no_consultant(error: &ConsultError) -> Refusal {
    match error {
        ConsultError::Site(error) => unreadable(error),
        other => Refusal::new(other.exit(), other.to_string()),
    }
}

/// The number of the user who calls, whatever the file's set-ID bits say.
#[allow(unsafe_code)] // getuid(2) has no safe form in std.
#[must_use]
pub(super) fn own_uid() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getuid() }
}

/// Gives up the group that the file's set-group-ID bit lends.
///
/// # Errors
/// When the system refuses, and then the program must not go on.
#[allow(unsafe_code)] // setgid(2) has no safe form in std.
pub(super) fn keep_own_group_only() -> std::io::Result<()> {
    // SAFETY: numbers only. Both effective and saved group become the caller's.
    let done = unsafe {
        let own = libc::getgid();
        libc::getegid() == own || libc::setresgid(own, own, own) == 0
    };
    if done {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
