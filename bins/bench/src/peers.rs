//! Where the peers' programs are: unpacked by `.ci/peers` into a folder each, or installed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where installed programs are looked for besides PATH: an ordinary user's lacks them.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Where unpacked packages keep programs.
const UNPACKED: [&str; 4] = [
    "usr/sbin",
    "usr/bin",
    "usr/libexec/sendmail",
    "usr/lib/sendmail",
];

/// Whom to compare with.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    wanted: bool,
    /// A folder with a folder for each peer (`postfix`, `opensmtpd`, `exim`), each as if it was
    /// the root of a system.
    root: Option<PathBuf>,
    /// Our own programs, which are no peers even where they are installed in PATH.
    ours: PathBuf,
}

/// A peer's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The program.
    pub(crate) program: PathBuf,
    /// Where its package was unpacked, if it is not installed.
    pub(crate) root: Option<PathBuf>,
}

impl Peers {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Peers {
            wanted: false,
            root: None,
            ours: PathBuf::new(),
        }
    }

    /// Those unpacked below `root`, and those installed; `ours` is where our own programs are.
    ///
    /// # Errors
    /// `root` is not there.
    pub(crate) fn open(root: Option<&Path>, ours: &Path) -> io::Result<Self> {
        let root = root.map(|root| {
            root.canonicalize()
                .map_err(|e| io::Error::other(format!("{}: {e}", root.display())))
        });
        Ok(Peers {
            wanted: true,
            root: root.transpose()?,
            ours: ours.into(),
        })
    }

    /// Whether there shall be any.
    ///
    /// # Errors
    /// There shall not; the text is the reason for leaving one out.
    pub(crate) fn wanted(&self) -> Result<(), String> {
        match self.wanted {
            true => Ok(()),
            false => Err("peers are left out".into()),
        }
    }

    /// The program `name` of the peer `package`.
    ///
    /// # Errors
    /// It is not there; the text is the reason for leaving the peer out.
    pub(crate) fn find(&self, package: &str, name: &str) -> Result<Peer, String> {
        self.wanted()
            .map_err(|why| format!("{package}'s {name}: {why}"))?;
        let unpacked = self.root.as_ref().and_then(|root| {
            let root = root.join(package);
            let program = UNPACKED
                .iter()
                .map(|folder| root.join(folder).join(name))
                .find(|program| program.is_file())?;
            Some(Peer {
                program,
                root: Some(root),
            })
        });
        let installed = || {
            let path = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&path)
                .chain(SYSTEM.map(PathBuf::from))
                .filter(|folder| *folder != self.ours)
                .map(|folder| folder.join(name))
                .find(|program| program.is_file())
                .map(|program| Peer {
                    program,
                    root: None,
                })
        };
        unpacked.or_else(installed).ok_or_else(|| {
            format!("{package}'s {name}: neither in PATH nor in a folder of --peers")
        })
    }
}

impl Peer {
    /// The program, ready to be given arguments; an unpacked one finds its libraries.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(libraries) = self.libraries() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// What LD_LIBRARY_PATH has to be for an unpacked program.
    fn libraries(&self) -> Option<OsString> {
        let root = self.root.as_ref()?;
        let mut folders = vec![
            root.join("usr/lib/postfix"),
            root.join("usr/lib"),
            root.join("lib"),
        ];
        for parent in ["usr/lib", "lib"] {
            for entry in fs::read_dir(root.join(parent))
                .into_iter()
                .flatten()
                .flatten()
            {
                // Debian's folders by architecture, x86_64-linux-gnu and the like.
                if entry.file_name().to_string_lossy().contains("-linux-") {
                    folders.push(entry.path());
                }
            }
        }
        env::join_paths(folders).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_one_goes_before_an_installed_one_and_ours_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("some/usr/bin")).unwrap();
        fs::create_dir_all(root.join("some/lib/x86_64-linux-gnu")).unwrap();
        fs::write(root.join("some/usr/bin/sh"), "").unwrap();
        let peers = Peers::open(Some(&root), Path::new("/nowhere")).unwrap();
        let sh = peers.find("some", "sh").unwrap();
        assert_eq!(sh.root, Some(root.join("some")));
        let libraries = sh.libraries().unwrap().into_string().unwrap();
        assert!(
            libraries.ends_with("some/lib/x86_64-linux-gnu"),
            "{libraries}"
        );
        assert_eq!(peers.find("other", "sh").unwrap().root, None);
        let why = peers.find("other", "no such program").unwrap_err();
        assert!(why.starts_with("other's no such program: neither"), "{why}");
        assert!(Peers::none().find("some", "sh").is_err());
        assert!(Peers::open(Some(&root.join("gone")), Path::new("")).is_err());
    }
}
