//! Where a machine stands with its restarts, `restart.json`.
//!
//! It is written under the machine's lock, and read without. Without the file, there was no restart.

use std::io::ErrorKind;
use std::path::Path;

use crate::fs::error::FileError;
use crate::fs::file::{Sync, read_untrusted, remove_if_there, replace};
use crate::model::restart_state::RestartState;
use crate::store::error::StoreError;
use crate::store::layout::RESTART;

/// The most of the file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// What is recorded; nothing if that can't be read: for those who only show it.
pub(crate) fn read(directory: &Path) -> RestartState {
    try_read(directory).unwrap_or_default()
}

/// What is recorded, for those who act upon it: what can't be read is no reason to do nothing. What is no such
/// record counts as none.
pub(crate) fn try_read(directory: &Path) -> Result<RestartState, StoreError> {
    let path = directory.join(RESTART);
    match read_untrusted(&path, MAX_BYTES) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(RestartState::default()),
        Err(error) => Err(FileError::reading(&path)(error).into()),
    }
}

pub(crate) fn write(state: &RestartState, directory: &Path) -> Result<(), StoreError> {
    let text = serde_json::to_vec(state).map_err(|source| StoreError::Encode { source })?;
    // After a power failure none of it counts.
    Ok(replace(&directory.join(RESTART), &text, Sync::No)?)
}

/// Forgets it: a row of restarts ends when the machine is started or stopped by hand.
pub(crate) fn forget(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(RESTART);
    Ok(remove_if_there(&path).map_err(FileError::writing(&path))?)
}
