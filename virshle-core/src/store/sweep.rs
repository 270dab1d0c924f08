//! What interrupted processes leave in the node's directory, and its removal.

use std::path::{Path, PathBuf};

use crate::fs::error::FileError;
use crate::fs::file::temp_path;
use crate::fs::lock::Lock;
use crate::fs::remove::{remove_locked, remove_tree};
use crate::store::layout::{DEFINITION, GONE, HISTORY, LOCK, NEW, NEXT_ID, RESTART, RUN_RECORD};
use crate::store::{CLAIM_TIMEOUT, Store};

impl Store {
    /// What interrupted processes left behind, and no process works on.
    pub(crate) fn leftovers(&self) -> Result<Vec<PathBuf>, FileError> {
        let mut leftovers = Vec::new();
        for entry in self.entries()? {
            if entry.strip_prefix(NEW).or_else(|| entry.strip_prefix(GONE)).is_none() {
                continue;
            }
            let directory = self.machines().join(entry);
            let lock = directory.join(LOCK);
            if Lock::acquire_if_free(&lock)?.is_some() || !lock.exists() {
                leftovers.push(directory);
            }
        }
        Ok(leftovers)
    }

    /// The files that an interrupted [`replace`](crate::fs::file::replace) left behind, each with the lock under which it is
    /// written; none whose lock is held.
    pub(crate) fn temporaries(&self) -> Result<Vec<(PathBuf, PathBuf)>, FileError> {
        let mut places = vec![(self.root().join(NEXT_ID), self.root().join(LOCK))];
        for uuid in self.uuids()? {
            let directory = self.directory(uuid);
            let files = [RUN_RECORD, HISTORY, RESTART, DEFINITION];
            places.extend(files.map(|file| (directory.join(file), directory.join(LOCK))));
        }
        let mut found = Vec::new();
        for (path, lock) in places {
            let path = temp_path(&path);
            if path.symlink_metadata().is_ok() && Lock::acquire_if_free(&lock)?.is_some() {
                found.push((path, lock));
            }
        }
        Ok(found)
    }

    /// Removes what interrupted processes left behind. What can't be removed stays for the next.
    pub(crate) fn sweep(&self) -> Result<Vec<PathBuf>, FileError> {
        if self.leftovers()?.is_empty() {
            return Ok(Vec::new());
        }
        // A directory that has no lock yet may be one that is just being staged: staging happens
        // under the node's lock, so under it there is none.
        let _lock = Lock::acquire(&self.root().join(LOCK), CLAIM_TIMEOUT)?;
        let mut swept = Vec::new();
        for directory in self.leftovers()? {
            match remove_tree(&directory) {
                Ok(()) => swept.push(directory),
                Err(error) => warn_of(&directory, &error),
            }
        }
        Ok(swept)
    }

    /// Removes `leftover`, if it is one of [`leftovers`](Self::leftovers) still.
    pub(crate) fn sweep_one(&self, leftover: &Path) -> Result<(), FileError> {
        let _lock = Lock::acquire(&self.root().join(LOCK), CLAIM_TIMEOUT)?;
        match self.leftovers()?.iter().any(|directory| directory == leftover) {
            true => remove_tree(leftover),
            false => Ok(()),
        }
    }
}

/// Removes a directory that was staged, whose lock is `lock`, or leaves it to the next sweep.
pub(crate) fn discard_directory(directory: &Path, lock: Option<Lock>) {
    let removed = match lock {
        Some(lock) => remove_locked(directory, LOCK, lock),
        None => remove_tree(directory),
    };
    if let Err(error) = removed {
        warn_of(directory, &error);
    }
}

fn warn_of(directory: &Path, error: &FileError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(path = %directory.display(), %error, cause, "left behind until the next sweep");
}
