//! The `.forward` file of a user: where it is, and whether it counts.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::policy::expand::trust::{Standing, Trust, Waived, Writers, folders_above};
use libmaps::site::Site;
use libmaps::site::model::options::Words;
use libmaps::site::users::User;

use super::homes::{self, Way};
use crate::agent::{self, Name, Reply, Request, Text};
use crate::world::World;

/// Largest `.forward` file.
pub(crate) const MAX_FORWARD_OCTETS: u64 = 256 * 1024;

/// Why a file is not obeyed.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It can't be read now.
    Later(String),
    /// Others may have written it, or it is none.
    Untrusted(String),
}

/// What stands in a file that counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ForwardList {
    /// Where, as the user knows it.
    pub(crate) path: String,
    pub(crate) text: Vec<u8>,
    /// How far it counts.
    pub(crate) trust: Trust,
}

/// By what a file is judged: where the site begins, and what it waives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) root: Option<&'a Path>,
    pub(crate) blame: &'a Words,
}

impl<'a> Rules<'a> {
    pub(crate) fn of(site: &'a Site) -> Self {
        Rules {
            root: site.root.as_deref(),
            blame: &site.options.files.dont_blame,
        }
    }
}

/// As [`forward_list`], on a thread of its own and for so long at the most: a home may lie
/// on a server that is down, or belong to a file system of the user's own making.
pub(super) async fn forward_list_in_time(
    world: &Arc<World>,
    user: &User,
    detail: &str,
) -> Result<Option<ForwardList>, Unread> {
    let (world, owned, detail) = (Arc::clone(world), user.clone(), detail.to_owned());
    let read = move |way| forward_list(&world, &owned, &detail, way);
    homes::in_time(user, homes::PATIENCE, read).await
}

/// The list in the user's first `.forward` file that is there and can be trusted.
fn forward_list(
    world: &World,
    user: &User,
    detail: &str,
    way: Way,
) -> Result<Option<ForwardList>, Unread> {
    for pattern in world.site.options.files.forward_path.split(':') {
        let home = user.home.to_string_lossy();
        // A sender's detail must not lead to other folders.
        let leads_away = Cell::new(false);
        let value = |name: &str| match name {
            "h" if detail.contains('/') => {
                leads_away.set(true);
                None
            }
            "z" => Some(home.as_ref()),
            "u" => Some(user.name.as_str()),
            "h" => Some(detail),
            "w" => Some(world.site.short_name.as_str()),
            _ => None,
        };
        let path = crate::macros::expand(pattern, &value);
        if path.is_empty() || path.contains("..") || leads_away.get() {
            continue;
        }
        let below: PathBuf = world.site.below(Path::new(&path));
        if let Some(list) = read_forward(&below, user, way, Rules::of(&world.site))? {
            return Ok(Some(ForwardList { path, ..list }));
        }
    }
    Ok(None)
}

/// Reads the file with the rights at hand: ours, or by the agent the user's.
fn read_forward(
    path: &Path,
    user: &User,
    way: Way,
    rules: Rules<'_>,
) -> Result<Option<ForwardList>, Unread> {
    let Some(agent) = agent::running() else {
        return read_trusted(path, user.uid, rules);
    };
    // Most users have none, which costs no process where we can see it.
    if way == Way::Look {
        let seen = std::fs::symlink_metadata(path).map_err(|error| error.raw_os_error());
        if let Err(Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)) = seen {
            return Ok(None);
        }
    }
    let request = Request::Forward {
        path: Name::of(path),
        uid: user.uid,
        gid: user.gid,
    };
    match agent.run(&request, |_| Ok(())) {
        Ok(Reply::File(text)) => Ok(text.map(|Text(text)| ForwardList {
            path: path.display().to_string(),
            text,
            trust: Trust::Whole,
        })),
        Ok(Reply::Addresses(Text(text))) => Ok(Some(ForwardList {
            path: path.display().to_string(),
            text,
            trust: Trust::Addresses,
        })),
        Ok(Reply::Refused(why)) => Err(Unread::Untrusted(why)),
        Ok(Reply::Later(why)) => Err(Unread::Later(why)),
        Ok(_) => Err(Unread::Later("the agent did not understand".into())),
        Err(error) => Err(Unread::Later(format!("agent: {error}"))),
    }
}

/// A regular file that is its user's and that only he can have written, or put there, but for
/// what the site waives; `Ok(None)` if there is none.
///
/// # Errors
/// Why it is not trusted, or can't be read.
pub(crate) fn read_trusted(
    path: &Path,
    uid: u32,
    rules: Rules<'_>,
) -> Result<Option<ForwardList>, Unread> {
    let shown = path.display();
    let later = |e: io::Error| Unread::Later(format!("forward {shown}: {e}"));
    let untrusted = |why: &str| Err(Unread::Untrusted(format!("forward {shown}: {why}")));
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => Ok(None),
                Some(libc::ELOOP) => untrusted("a symbolic link"),
                // A folder that is closed to a user stays closed.
                Some(libc::EACCES) if !we_are_root() => untrusted("permission denied"),
                _ => Err(later(error)),
            };
        }
    };
    let metadata = file.metadata().map_err(later)?;
    if !metadata.is_file() {
        return untrusted("not a regular file");
    }
    if metadata.uid() != uid {
        return untrusted("owned by somebody else");
    }
    let standing = Standing {
        file: Writers::of_file(metadata.mode()),
        folders: folders_above(path, rules.root).map_err(later)?.writers,
        links: metadata.nlink(),
    };
    let trust = match Waived::for_forward(rules.blame).judge(&standing) {
        Ok(trust) => trust,
        Err(why) => return untrusted(why),
    };
    let mut text = Vec::new();
    file.take(MAX_FORWARD_OCTETS + 1)
        .read_to_end(&mut text)
        .map_err(later)?;
    if text.len() as u64 > MAX_FORWARD_OCTETS {
        return untrusted("longer than 256 KiB");
    }
    Ok(Some(ForwardList {
        path: path.display().to_string(),
        text,
        trust,
    }))
}

#[allow(unsafe_code)] // geteuid(2) has no safe form in std.
fn we_are_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_the_users_own_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("forward");
        std::fs::write(&path, "joe\n").unwrap();
        // Whatever umask(2) whoever tests has.
        let mode = |name: &str| {
            let mode = PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(dir.path().join(name), mode).unwrap();
        };
        mode("forward");
        symlink(&path, dir.path().join("link")).unwrap();
        let uid = std::fs::metadata(&path).unwrap().uid();
        let words = Words::default();
        let rules = Rules {
            root: Some(dir.path()),
            blame: &words,
        };
        let read = |name: &str, uid| read_trusted(&dir.path().join(name), uid, rules);
        let joe = read("forward", uid).unwrap().unwrap();
        assert_eq!((&joe.text[..], joe.trust), (&b"joe\n"[..], Trust::Whole));
        assert!(read("none", uid).unwrap().is_none());
        // Half a list is none.
        let longest = usize::try_from(MAX_FORWARD_OCTETS).unwrap();
        std::fs::write(dir.path().join("longest"), vec![b'x'; longest]).unwrap();
        mode("longest");
        std::fs::write(dir.path().join("long"), vec![b'x'; longest + 1]).unwrap();
        assert_eq!(read("longest", uid).unwrap().unwrap().text.len(), longest);
        for (name, uid) in [
            ("forward", uid + 1),
            ("link", uid),
            (".", uid),
            ("long", uid),
        ] {
            assert!(
                matches!(read(name, uid), Err(Unread::Untrusted(_))),
                "{name}"
            );
        }
        // What only can't be opened says nothing about what is in it.
        assert!(matches!(read("a\0b", uid), Err(Unread::Later(_))));
    }

    #[test]
    fn a_file_that_others_may_have_put_there_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("home");
        let path = folder.join("forward");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&path, "joe\n").unwrap();
        std::fs::hard_link(&path, dir.path().join("link")).unwrap();
        let uid = std::fs::metadata(&path).unwrap().uid();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let read = |words: &[&str]| {
            let words = Words(words.iter().map(|word| (*word).to_owned()).collect());
            let rules = Rules {
                root: Some(dir.path()),
                blame: &words,
            };
            match read_trusted(&path, uid, rules) {
                Ok(list) => format!("{:?}", list.unwrap().trust),
                Err(Unread::Untrusted(why)) => why.rsplit(": ").next().unwrap().to_owned(),
                Err(Unread::Later(why)) => panic!("{why}"),
            }
        };
        mode(&path, 0o644);
        // What he links himself is his.
        mode(&folder, 0o755);
        assert_eq!(read(&[]), "Whole");
        mode(&folder, 0o1777);
        assert_eq!(read(&[]), "Hard links not allowed");
        mode(&folder, 0o777);
        assert_eq!(read(&[]), "World writable directory");
        mode(&folder, 0o775);
        assert_eq!(read(&[]), "Group writable directory");
        std::fs::remove_file(dir.path().join("link")).unwrap();
        assert_eq!(read(&["ForwardFileInGroupWritableDirPath"]), "Whole");
        assert_eq!(read(&["ForwardFileInUnsafeDirPath"]), "Addresses");
        mode(&folder, 0o755);
        mode(&path, 0o664);
        assert_eq!(read(&[]), "Group writable file");
    }
}
