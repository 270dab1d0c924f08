//! Where a machine stands with its restarts, `restart.json`.
//!
//! It is written under the machine's lock, and read without. Without the file, there was no restart.

use std::path::Path;

use crate::fs::error::FileError;
use crate::fs::file::{Sync, read_untrusted, remove_if_there, replace};
use crate::model::restart_state::RestartState;
use crate::store::error::StoreError;
use crate::store::layout::RESTART;

/// The most of the file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// What is recorded; nothing if that can't be read.
pub(crate) fn read(directory: &Path) -> RestartState {
    let text = read_untrusted(&directory.join(RESTART), MAX_BYTES).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
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
