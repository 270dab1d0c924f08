//! Directories and files that root does nothing by unless root alone can change them.

use std::fs::Metadata;
use std::path::Path;

use virshle_template::Distrust;

use crate::fs::error::FileError;

/// Refuses, for root, what another user could have changed. Whoever is not root has no more to lose
/// than the owner of the file could take from them anyway.
pub(crate) fn check(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    match distrust(metadata) {
        None => Ok(()),
        Some(source) => Err(FileError::Untrusted { path: path.to_owned(), source }),
    }
}

/// Why this process must not believe what has this `metadata`.
pub(crate) fn distrust(metadata: &Metadata) -> Option<Distrust> {
    Distrust::of(metadata).filter(|_| applies())
}

/// Whether this process is root's.
pub(crate) fn applies() -> bool {
    rustix::process::geteuid().is_root()
}
