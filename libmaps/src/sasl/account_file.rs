//! The file that accounts are read from.

use std::path::{Path, PathBuf};

use crate::map::StoreError;
use crate::store::shared::Connection;

/// Where accounts are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountFile {
    /// A store of this host's own. Where it is missing nobody has an account, as Cyrus SASL has it.
    Own(PathBuf),
    /// The replica of accounts that hosts share (mapremote(5)). Where it is missing it was not made
    /// yet, and nobody can tell who has one.
    Replica(PathBuf),
}

impl AccountFile {
    /// The file behind a name: what it says itself, or the replica, where it is that of a
    /// connection file.
    ///
    /// # Errors
    /// As [`Connection::read`].
    pub fn of(named: &Path, root: Option<&Path>) -> Result<Self, StoreError> {
        let path = Connection::readable(named, root)?;
        Ok(match Connection::class_of(named) {
            Some(_) => AccountFile::Replica(path),
            None => AccountFile::Own(path),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            AccountFile::Own(path) | AccountFile::Replica(path) => path,
        }
    }

    /// What came of opening the file; `None`: there are no accounts.
    ///
    /// # Errors
    /// What opening it failed with, unless that says that there are none.
    pub fn unless_nobodys<T>(
        &self,
        opened: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match (opened, self) {
            (Ok(open), _) => Ok(Some(open)),
            (Err(StoreError::Missing { .. }), AccountFile::Own(_)) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_is_missing_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let shared = folder.path().join("sasldb2.pgsql");
        std::fs::write(&shared, "host db.example\nuser mail\ndatabase mail\n").unwrap();
        let missing = |file: &AccountFile| StoreError::Missing {
            path: file.path().into(),
        };
        let own = AccountFile::of(&folder.path().join("sasldb2"), None).unwrap();
        assert_eq!(own, AccountFile::Own(folder.path().join("sasldb2")));
        let opened = own.unless_nobodys(Err::<(), _>(missing(&own)));
        assert_eq!(opened.unwrap(), None);
        let shared = AccountFile::of(&shared, None).unwrap();
        let AccountFile::Replica(path) = &shared else {
            panic!("{shared:?}");
        };
        assert_eq!(path, &folder.path().join("sasldb2.pgsql.db"));
        assert!(
            shared
                .unless_nobodys(Err::<(), _>(missing(&shared)))
                .is_err()
        );
        assert_eq!(shared.unless_nobodys(Ok(1)).unwrap(), Some(1));
    }
}
