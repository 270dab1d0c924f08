//! The room that an image may take: what the caller allows, and what its filesystem has.

use std::fs::File;
use std::path::{Path, PathBuf};

use virshle_disk::{DiskError, unwatched_bytes};

/// The most that is left free of a filesystem, in bytes.
const MOST_SPARED: u64 = 1 << 30;
/// What an import leaves free on the filesystem of `directory`, in bytes: a twentieth of it, at most a
/// GiB. The disks of machines that run may be there, and grow.
pub(crate) fn spare_bytes(directory: &Path) -> u64 {
    // What can't be asked is found out by writing.
    rustix::fs::statvfs(directory)
        .map_or(0, |space| (space.f_blocks.saturating_mul(space.f_frsize) / 20).min(MOST_SPARED))
}

/// The room for a file that is being written.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    path: PathBuf,
    file: &'a File,
    most_bytes: Option<u64>,
    spared: u64,
    next_look: u64,
}

impl<'a> Room<'a> {
    /// The room for `file`, which is called `path` and may have `most_bytes`.
    pub(crate) fn new(path: &Path, file: &'a File, most_bytes: Option<u64>) -> Self {
        let spared = spare_bytes(path.parent().unwrap_or(path));
        Self { path: path.to_owned(), file, most_bytes, spared, next_look: 0 }
    }

    /// Refuses a file that is going to have `bytes` more, of which `data` are no zeros, before they come.
    pub(crate) fn expect(&self, bytes: u64, data: u64) -> Result<(), DiskError> {
        self.refuse_size(bytes)?;
        let free_bytes = self.free_bytes()?;
        if data <= free_bytes.saturating_sub(self.spared) {
            return Ok(());
        }
        Err(DiskError::NoRoom { path: self.path.clone(), needed_bytes: data, free_bytes })
    }

    /// Refuses a file that has `bytes` by now, if that is too much.
    pub(crate) fn reach(&mut self, bytes: u64) -> Result<(), DiskError> {
        self.refuse_size(bytes)?;
        if bytes < self.next_look {
            return Ok(());
        }
        let free_bytes = self.free_bytes()?;
        if let Some(left) = free_bytes.checked_sub(self.spared) {
            self.next_look = bytes.saturating_add(unwatched_bytes(left));
            return Ok(());
        }
        Err(DiskError::AlmostFull { path: self.path.clone(), written_bytes: bytes, free_bytes })
    }

    fn refuse_size(&self, bytes: u64) -> Result<(), DiskError> {
        match self.most_bytes {
            Some(most_bytes) if bytes > most_bytes => {
                Err(DiskError::TooLarge { path: self.path.clone(), most_bytes })
            }
            _ => Ok(()),
        }
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let space = rustix::fs::fstatvfs(self.file)
            .map_err(|errno| DiskError::Write { path: self.path.clone(), source: errno.into() })?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}
