//! Advisory locks on files: one process to an import, none that removes what another clones.
//!
//! `flock(2)` locks end with the process that holds them, however it ends.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{open_private, safe_flags};
use crate::error::ImageError;
use crate::url::without_credentials;

/// How much of a holder's description is read.
const MAX_HOLDER: u64 = 256;

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub(crate) struct Lock {
    file: File,
}

/// With whom a lock is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With all that share it.
    Shared,
    /// With no other process.
    Exclusive,
}

impl Lock {
    /// Takes the exclusive lock on `path`, a file that is created if need be, without waiting.
    pub(crate) fn acquire(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Lock { path: path.to_owned(), source };
        let file = open_private(path).map_err(failed)?;
        // Whatever the umask is; of another user it stays as it is.
        drop(file.set_permissions(Permissions::from_mode(0o600)));
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(ImageError::Locked { path: path.to_owned(), holder: holder(path) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let lock = Self { file };
        // Only for the message of others: a lock without a name is a lock all the same.
        drop(lock.record_holder());
        Ok(lock)
    }

    /// Takes the lock on `path`, which is only read; `None` if another process has it, or removes
    /// the file just now.
    pub(crate) fn read_if_free(path: &Path, mode: Mode) -> Result<Option<Self>, ImageError> {
        let failed = |source| ImageError::Lock { path: path.to_owned(), source };
        // Links are followed: an image may be one. A FIFO, which has no writer, is not waited for.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let operation = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        let lock = Self { file };
        Ok(lock.is_at(path)?.then_some(lock))
    }

    /// Whether the locked file is still the one at `path`: not renamed away, not replaced.
    pub(crate) fn is_at(&self, path: &Path) -> Result<bool, ImageError> {
        let failed = |source| ImageError::Lock { path: path.to_owned(), source };
        let held = self.file.metadata().map_err(failed)?;
        match std::fs::metadata(path) {
            Ok(there) => Ok(held.dev() == there.dev() && held.ino() == there.ino()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes who holds it into the file, for those who are refused.
    fn record_holder(&self) -> io::Result<()> {
        let arguments: Vec<String> = std::env::args_os()
            .take(4)
            // An address may have a password in it, and others read this.
            .map(|argument| without_credentials(&argument.to_string_lossy()))
            .collect();
        let holder = format!("pid {} ({})\n", std::process::id(), arguments.join(" "));
        self.file.write_all_at(holder.as_bytes(), 0)?;
        // What a longer one left behind it.
        self.file.set_len(holder.len() as u64)
    }
}

impl Drop for Lock {
    /// Unlocks at once. Closing the file does not, while a program that another thread starts has a
    /// copy of the descriptor, between its fork(2) and its exec(2).
    fn drop(&mut self) {
        // What can't be unlocked ends with its last descriptor.
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::debug!(%error, "cannot unlock");
        }
    }
}

/// Who holds the lock on `path`, as the holder described itself.
fn holder(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::options().read(true).custom_flags(safe_flags()).open(path) {
        // A holder that can't be read is no reason to fail differently.
        drop(file.take(MAX_HOLDER).read_to_end(&mut bytes));
    }
    match String::from_utf8_lossy(&bytes).trim() {
        "" => "another process".to_owned(),
        known => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_process_gets_the_name_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::acquire(&path).unwrap();
        let error = Lock::acquire(&path).unwrap_err();
        let ImageError::Locked { holder, .. } = &error else { panic!("{error:?}") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(first);
        assert!(Lock::acquire(&path).unwrap().is_at(&path).unwrap());
    }

    #[test]
    fn it_ends_although_a_child_has_a_copy_of_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::acquire(&path).unwrap();
        let _copy = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(Lock::acquire(&path).is_ok());
    }

    #[test]
    fn readers_share_it_and_a_remover_waits_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, "").unwrap();
        let take = |mode| Lock::read_if_free(&path, mode).unwrap();
        let readers = [take(Mode::Shared).unwrap(), take(Mode::Shared).unwrap()];
        assert!(take(Mode::Exclusive).is_none());
        drop(readers);
        let remover = take(Mode::Exclusive).unwrap();
        assert!(take(Mode::Shared).is_none());
        // The lock of a file that is gone is of no use.
        std::fs::rename(&path, directory.path().join("other")).unwrap();
        assert!(!remover.is_at(&path).unwrap());
    }
}
