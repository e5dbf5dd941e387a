//! What a run does to the store: set, remove, and hash what a Berkeley DB file held.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use libmaps::sasl::edit::{AuthPassword, Keep, NewAccount, SaslDbEdit, derive_all};
use libmaps::sasl::secret::Recipe;
use libmaps::sasl::{Password, SaslDbError, UserId};
use libmaps::store::shared::{Connection, Wish};

use crate::progress::Progress;
use crate::report::complain;
use crate::sasl_site::tell;
use crate::shared::Writer;

/// Where and how passwords are stored.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The store; of a shared one, the replica.
    pub(super) path: PathBuf,
    /// Of a shared store: where it is.
    pub(super) shared: Option<Connection>,
    pub(super) recipe: Recipe,
    pub(super) keep: Keep,
    pub(super) auth: AuthPassword,
    /// `program version`, kept in the store.
    pub(super) writer: String,
}

impl Job {
    /// Stores accounts in one publish.
    pub(super) fn store(&self, program: &str, accounts: &[NewAccount]) -> Result<(), SaslDbError> {
        let (mut edit, writer) = self.begin()?;
        self.hash_clear_text(program, &mut edit)?;
        for account in accounts {
            edit.set(account, self.auth)?;
        }
        self.publish(program, edit, writer)
    }

    /// Removes an account; a store that is missing is made, as the original does.
    pub(super) fn remove(&self, program: &str, user: &UserId) -> Result<(), SaslDbError> {
        let (mut edit, writer) = self.begin()?;
        let there = edit.remove(user)?;
        if !there && self.exists() {
            return Ok(());
        }
        self.hash_clear_text(program, &mut edit)?;
        edit.remove(user)?;
        self.publish(program, edit, writer)
    }

    /// Makes an empty store where there is none.
    pub(super) fn make(&self, program: &str) -> Result<(), SaslDbError> {
        let (edit, writer) = self.begin()?;
        if self.exists() {
            return Ok(());
        }
        self.publish(program, edit, writer)
    }

    /// Begins an edit; of a shared store, when it is ours alone to write.
    fn begin(&self) -> Result<(SaslDbEdit, Option<Writer>), SaslDbError> {
        let shared = self.shared.as_ref();
        let writer = shared.map(|c| Writer::begin(c, Wish::Edit)).transpose()?;
        let told = writer.as_ref().map(Writer::shared);
        let edit = SaslDbEdit::begin_as(&self.path, &self.writer, told)?;
        for warning in edit.file_warnings() {
            complain(&[warning.as_bytes()]);
        }
        Ok((edit, writer))
    }

    fn exists(&self) -> bool {
        self.path.metadata().is_ok_and(|m| m.len() > 0)
    }

    /// The first write to a Berkeley DB file hashes its clear-text passwords.
    fn hash_clear_text(&self, program: &str, edit: &mut SaslDbEdit) -> Result<(), SaslDbError> {
        let clear = edit.clear_text_accounts()?;
        for account in derive(program, "hashing the old store", &clear, self)? {
            edit.convert(&account)?;
        }
        if !clear.is_empty() {
            let path = self.path.display();
            let count = clear.len();
            tell(
                program,
                &format!("{path}: {count} clear-text passwords are hashed now"),
            );
        }
        Ok(())
    }

    fn publish(
        &self,
        program: &str,
        edit: SaslDbEdit,
        writer: Option<Writer>,
    ) -> Result<(), SaslDbError> {
        let published = edit.publish()?;
        drop(writer);
        if let Some(kept) = published.kept_berkeley {
            let (path, kept) = (self.path.display(), kept.display());
            tell(
                program,
                &format!("{path}: the old Berkeley DB file is kept as {kept}"),
            );
        }
        Ok(())
    }
}

/// Derives the secrets of many accounts, with a progress bar.
pub(super) fn derive(
    program: &str,
    label: &str,
    accounts: &[(UserId, Password)],
    job: &Job,
) -> Result<Vec<NewAccount>, SaslDbError> {
    let label = format!("{program}: {label}");
    let bar = Mutex::new(Progress::new(&label, u64::try_from(accounts.len()).ok()));
    derive_all(accounts, &job.recipe, job.keep, &|done| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        bar.at(done as u64);
    })
}
