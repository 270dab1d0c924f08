//! The renames by which a machine comes to exist, and ends.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::fs::error::FileError;
use crate::fs::file::{Sync, replace, sync, write_new};
use crate::model::definition::Definition;
use crate::store::claim::Staged;
use crate::store::error::StoreError;
use crate::store::layout::{CLAIM, DEFINITION, GONE};
use crate::store::sweep::discard_directory;
use crate::store::{Store, next_id};

impl Store {
    /// Makes a staged machine a machine, or takes it back. When this succeeds, the machine
    /// outlasts a power failure.
    pub(crate) fn commit(&self, staged: Staged, definition: &Definition) -> Result<(), StoreError> {
        let committed = self.try_commit(&staged, definition);
        // Only afterwards may others change the machine, or sweep what did not become one.
        match committed {
            Ok(()) => drop(staged),
            Err(_) => self.discard(staged),
        }
        committed
    }

    fn try_commit(&self, staged: &Staged, definition: &Definition) -> Result<(), StoreError> {
        write_new(&staged.directory.join(DEFINITION), definition.to_toml()?.as_bytes(), Sync::Yes)?;
        let claim = staged.directory.join(CLAIM);
        std::fs::remove_file(&claim).map_err(|source| FileError::Write { path: claim, source })?;
        Ok(self.rename(&staged.directory, &self.directory(staged.uuid))?)
    }

    /// Replaces the definition of a machine, whose lock the caller holds. After a power failure it is this
    /// one or the one before.
    pub(crate) fn rewrite(&self, definition: &Definition) -> Result<(), StoreError> {
        let directory = self.directory(definition.uuid);
        let path = directory.join(DEFINITION);
        replace(&path, definition.to_toml()?.as_bytes(), Sync::Yes)?;
        Ok(sync(&directory).map_err(FileError::writing(&path))?)
    }

    /// Takes back what was staged. Its directory's lock is held, so no other process sweeps it meanwhile.
    pub(crate) fn discard(&self, staged: Staged) {
        discard_directory(&staged.directory, Some(staged.lock));
    }

    /// Ends a machine: from here on it doesn't exist. Its files go afterwards.
    pub(crate) fn retire(&self, uuid: Uuid) -> Result<PathBuf, StoreError> {
        next_id::keep(self.root())?;
        let gone = self.machines().join(format!("{GONE}{uuid}"));
        self.rename(&self.directory(uuid), &gone)?;
        Ok(gone)
    }

    /// Renames a machine's directory, for good; or, if that can't be promised, not at all.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let failed = |source| FileError::Write { path: to.to_owned(), source };
        std::fs::rename(from, to).map_err(failed)?;
        sync(&self.machines()).map_err(|source| {
            if let Err(error) = std::fs::rename(to, from) {
                tracing::warn!(path = %to.display(), %error, "cannot take back the rename");
            }
            failed(source)
        })
    }
}
