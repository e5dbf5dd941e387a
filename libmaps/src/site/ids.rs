//! Users and groups by name or number, as options and `U=` of mailers have them.

use std::path::Path;

use super::Site;
use super::users::Users;

/// `user`, `user:group`, or numbers.
///
/// # Errors
/// When there is no such user or group.
pub fn ids_of(site: &Site, text: &str) -> Result<(u32, u32), String> {
    let (user, group) = match text.split_once([':', '.']) {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let users = Users::of(site).map_err(|e| format!("/etc/passwd: {e}"))?;
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(uid) => (uid, None),
        Err(_) => match users.get(user).map_err(|e| e.to_string())? {
            Some(found) => (found.uid, Some(found.gid)),
            None => return Err(format!("{user}: no such user")),
        },
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
