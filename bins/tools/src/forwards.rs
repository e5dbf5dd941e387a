//! The `.forward` files of users to whom an expansion leads: they are looked for, not read.

use std::path::{Path, PathBuf};

use libmaps::policy::expand::{Expansion, Recipient, State};
use libmaps::site::Site;
use libmaps::site::users::Users;

/// A user who has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The user.
    pub user: String,
    /// The file, as he knows it.
    pub file: String,
}

impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Forward { user, file } = self;
        write!(f, "{user}... has {file}, not followed")
    }
}

/// The first file by ForwardPath of each user whose mail is delivered here, where the caller can
/// see it. `\name` means the mailbox, whatever stands there.
#[must_use]
pub fn forwards(site: &Site, users: &Users, expansion: &Expansion) -> Vec<Forward> {
    let local = site.mailers.get(&site.mailers.local);
    if local.is_some_and(|mailer| !mailer.has('w')) {
        return Vec::new();
    }
    let mut all: Vec<Forward> = Vec::new();
    for recipient in &expansion.recipients {
        let found = forward(site, users, recipient);
        all.extend(found.filter(|found| !all.contains(found)));
    }
    all
}

fn forward(site: &Site, users: &Users, recipient: &Recipient) -> Option<Forward> {
    let triple = &recipient.triple;
    let is_here = recipient.state == State::Deliver && triple.mailer == site.mailers.local;
    if !is_here || triple.user.contains(&b'\\') {
        return None;
    }
    let user = users.get(std::str::from_utf8(&triple.user).ok()?).ok()??;
    let (home, detail) = (
        user.home.to_string_lossy(),
        String::from_utf8_lossy(&triple.host),
    );
    let mut paths = site.options.files.forward_path.split(':');
    paths.find_map(|pattern| {
        // A detail must not lead to other folders.
        if pattern.contains("$h") && detail.contains('/') {
            return None;
        }
        let file = pattern
            .replace("$w", &site.short_name)
            .replace("$u", &user.name);
        let file = file.replace("$z", &home).replace("$h", &detail);
        let path: PathBuf = site.below(Path::new(&file));
        let is_there = !file.is_empty() && !file.contains("..");
        (is_there && path.symlink_metadata().is_ok()).then(|| Forward {
            user: user.name.clone(),
            file,
        })
    })
}
