//! Users and groups by name or number, as options and `U=` of mailers have them.

use std::path::Path;

use super::Site;
use super::users::{User, Users};

/// The group of a DefaultUser that is a number alone: sendmail leaves its own.
const DEFAULT_GROUP: u32 = 1;

/// DefaultUser: with whose rights programs and files of aliases are used.
///
/// # Errors
/// When there is no such user or group.
pub fn default_user_of(site: &Site) -> Result<(u32, u32), String> {
    let text = site.options.files.default_user.trim();
    match text.parse() {
        Ok(uid) => Ok((uid, DEFAULT_GROUP)),
        Err(_) => ids_of(site, text),
    }
}

/// A user, by name or number.
///
/// # Errors
/// When there is no such user.
pub(crate) fn user_of(site: &Site, text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(uid) => Ok(uid),
        Err(_) => named(site, text).map(|user| user.uid),
    }
}

fn named(site: &Site, name: &str) -> Result<User, String> {
    let users = Users::of(site).map_err(|e| format!("/etc/passwd: {e}"))?;
    let found = users.get(name).map_err(|e| e.to_string())?;
    found.ok_or_else(|| format!("{name}: no such user"))
}

/// `user`, `user:group`, or numbers.
///
/// # Errors
/// When there is no such user or group.
pub fn ids_of(site: &Site, text: &str) -> Result<(u32, u32), String> {
    let (user, group) = match text.split_once([':', '.']) {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(uid) => (uid, None),
        Err(_) => named(site, user).map(|found| (found.uid, Some(found.gid)))?,
    };
    let gid = match group {
        Some(text) => match text.parse() {
            Ok(gid) => gid,
            Err(_) => group_of(site, text).ok_or_else(|| format!("{text}: no such group"))?,
        },
        None => own_group.ok_or_else(|| format!("{user}: which group?"))?,
    };
    Ok((uid, gid))
}

fn group_of(site: &Site, name: &str) -> Option<u32> {
    let text = site.read_or_system(Path::new("/etc/group")).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sendmail 8.17 takes them.
    #[test]
    fn users_and_groups_by_name_and_number() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "ann:x:500:501::/:/bin/sh\n").unwrap();
        std::fs::write(root.path().join("etc/group"), "list:x:502:\n").unwrap();
        let mut site = Site {
            root: Some(root.path().into()),
            ..Site::default()
        };
        for (text, want, of_default) in [
            ("ann", Some((500, 501)), Some((500, 501))),
            ("ann:list", Some((500, 502)), Some((500, 502))),
            ("ann.7", Some((500, 7)), Some((500, 7))),
            ("8:9", Some((8, 9)), Some((8, 9))),
            ("8", None, Some((8, 1))),
            (" ann:list ", None, Some((500, 502))),
            ("bob", None, None),
            ("ann:none", None, None),
        ] {
            assert_eq!(ids_of(&site, text).ok(), want, "{text}");
            site.options.files.default_user = text.to_owned();
            assert_eq!(default_user_of(&site).ok(), of_default, "{text}");
        }
    }
}
