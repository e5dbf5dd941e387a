//! Shared maps that are new on this host, for which a configuration may have to wait.
//!
//! A SIGHUP can bring the first use of a map here. The follower hears of it at the same moment
//! and needs a while to fetch the map; until then the configuration can't be taken. It is read
//! again when the map is there, whoever fetched it, and must be the same then: nobody has asked
//! for one that is being edited.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libmaps::opening;
use libmaps::site::Site;
use libmaps::store::shared::Connection;
use tools::shared::files_of;

/// How often it is looked for them.
const INTERVAL: Duration = Duration::from_millis(500);

/// The maps of a configuration that have no replica.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// The configuration, without the words of shared classes.
    site: Site,
    /// Their connection files, of which some are still to be made as well.
    files: Vec<PathBuf>,
}

impl Awaited {
    /// Those of a site.
    pub(crate) fn of(site: &Site) -> Self {
        let mut awaited = Awaited {
            site: site.clone(),
            files: files_of(site),
        };
        awaited.look();
        awaited
    }

    /// Whether this is the configuration that they are awaited for.
    pub(crate) fn are_of(&self, site: &Site) -> bool {
        self.site == *site
    }

    /// Waits until there is one more; for ever, if none is missing. What is heard of once is not
    /// waited for again.
    pub(crate) async fn one(&mut self) {
        if self.files.is_empty() {
            std::future::pending::<()>().await;
        }
        let missing = self.files.len();
        while self.files.len() == missing {
            tokio::time::sleep(INTERVAL).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let root = self.site.root.as_deref();
        self.files.retain(|file| !has_replica(file, root));
    }
}

impl fmt::Display for Awaited {
    /// What a configuration that is not taken waits for, after what is wrong with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|file| file.display()).collect();
        for (at, file) in files.iter().enumerate() {
            let before = match at {
                0 => "; read again when this is fetched: ",
                _ => ", ",
            };
            write!(f, "{before}{file}")?;
        }
        Ok(())
    }
}

fn has_replica(file: &Path, root: Option<&Path>) -> bool {
    let replica = Connection::readable(file, root);
    replica.is_ok_and(|replica| opening::metadata(&replica).is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_map_is_waited_for_until_it_has_a_replica() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let connection = "host h\nbase b\n";
        let mut site = Site {
            root: Some(folder.path().into()),
            ..Site::default()
        };
        site.options.files.aliases = "ldap:/a,ldap:/b,ldap:/c,hash:/d".into();
        fs::write(path("a.ldap"), connection).unwrap();
        fs::write(path("a.ldap.db"), "").unwrap();
        // One without a connection file, and one without a replica.
        fs::write(path("c.ldap"), connection).unwrap();
        let mut awaited = Awaited::of(&site);
        let (b, c) = (path("b.ldap"), path("c.ldap"));
        let told = format!(
            "; read again when this is fetched: {}, {}",
            b.display(),
            c.display()
        );
        assert_eq!(awaited.to_string(), told);
        assert!(awaited.are_of(&site));
        assert!(!awaited.are_of(&Site::default()));
        fs::write(path("c.ldap.db"), "").unwrap();
        awaited.one().await;
        fs::write(&b, connection).unwrap();
        awaited.look();
        assert_eq!(awaited.files, [b]);
        fs::write(path("b.ldap.db"), "").unwrap();
        awaited.one().await;
        assert_eq!(awaited.to_string(), "");
        let forever = tokio::time::timeout(INTERVAL * 2, awaited.one());
        assert!(forever.await.is_err());
    }
}
