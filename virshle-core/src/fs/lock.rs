//! Advisory locks on files: one writer to a machine, one claimant of ids and names.
//!
//! `flock(2)` locks end with the process that holds them, however it ends.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use virshle_hypervisor::{open_untrusted, open_untrusted_with};

use crate::fs::error::FileError;

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock on `path`, making the file if it isn't there, and waits up to `timeout`.
    pub(crate) fn acquire(path: &Path, timeout: Duration) -> Result<Self, FileError> {
        let failed = |source| FileError::Lock { path: path.to_owned(), source };
        let file = open(path, true).map_err(failed)?;
        let lock = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Self { file },
            Err(rustix::io::Errno::WOULDBLOCK) => match wait(file, timeout).map_err(failed)? {
                Some(lock) => lock,
                None => return Err(held(path, timeout)),
            },
            Err(errno) => return Err(failed(errno.into())),
        };
        lock.record_holder();
        Ok(lock)
    }

    /// Takes the lock on `path` if the file is there and no other process holds it.
    pub(crate) fn acquire_if_free(path: &Path) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Lock { path: path.to_owned(), source };
        let file = match open(path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Whether the locked file is still at `path`: not renamed away, not replaced.
    pub(crate) fn is_at(&self, path: &Path) -> Result<bool, FileError> {
        let failed = |source| FileError::Lock { path: path.to_owned(), source };
        let held = self.file.metadata().map_err(failed)?;
        match std::fs::metadata(path) {
            Ok(there) => Ok(held.dev() == there.dev() && held.ino() == there.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Records the holder, for those who wait.
    pub(crate) fn record_holder(&self) {
        // Only a courtesy: a lock without a name is a lock all the same.
        drop(self.write_holder());
    }

    fn write_holder(&self) -> io::Result<()> {
        let command: Vec<String> =
            std::env::args_os().take(4).map(|word| word.to_string_lossy().into_owned()).collect();
        let holder = format!("pid {} ({})\n", std::process::id(), command.join(" "));
        self.file.write_all_at(holder.as_bytes(), 0)?;
        // What a longer one left behind it.
        self.file.set_len(holder.len() as u64)
    }
}

impl Drop for Lock {
    /// Releases it at once. Closing the file does not, while a program that another thread starts
    /// has a copy of the descriptor, between its fork(2) and its exec(2).
    fn drop(&mut self) {
        // What can't be unlocked ends with its last descriptor.
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::debug!(%error, "cannot unlock");
        }
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    // Its holder is written into it: what is in its place must not be another file.
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    loop {
        match open_untrusted_with(path, &options) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        match options.clone().create_new(true).open(path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // Whatever the umask says.
                file.set_permissions(Permissions::from_mode(0o600))?;
                return Ok(file);
            }
        }
    }
}

/// Waits for the lock in a thread of its own, as `flock(2)` knows no deadline. A thread that is
/// late finds no one waiting, and releases it again.
fn wait(file: File, timeout: Duration) -> io::Result<Option<Lock>> {
    let (sender, receiver) = mpsc::sync_channel(0);
    std::thread::Builder::new().name("lock".into()).spawn(move || {
        let result = loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        // No one waits any more: the send gives the lock back, and dropping it unlocks.
        drop(sender.send(result.map(|()| Lock { file })));
    })?;
    match receiver.recv_timeout(timeout) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(errno)) => Err(errno.into()),
        Err(_) => Ok(None),
    }
}

fn held(path: &Path, waited: Duration) -> FileError {
    let mut holder = String::new();
    if let Ok(file) = open_untrusted(path) {
        // Not knowing who holds it is no reason to fail differently.
        drop(file.take(256).read_to_string(&mut holder));
    }
    let holder = match holder.trim() {
        "" => "another process".to_owned(),
        known => known.to_owned(),
    };
    FileError::Locked { path: PathBuf::from(path), holder, waited }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_writer_waits_and_its_error_names_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap();
        let error = Lock::acquire(&path, Duration::from_millis(20)).unwrap_err();
        let FileError::Locked { holder, .. } = &error else { panic!("{error:?}") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        assert!(Lock::acquire_if_free(&path).unwrap().is_none());
        drop(first);
        let second = Lock::acquire(&path, Duration::from_secs(10)).unwrap();
        assert!(second.is_at(&path).unwrap());
    }

    #[test]
    fn it_ends_although_a_child_has_a_copy_of_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::acquire(&path, Duration::ZERO).unwrap();
        let _copy = lock.file.try_clone().unwrap();
        assert!(Lock::acquire_if_free(&path).unwrap().is_none());
        drop(lock);
        assert!(Lock::acquire_if_free(&path).unwrap().is_some());
    }

    #[test]
    fn waiter_gets_it_when_the_holder_releases_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap();
        let other = path.clone();
        let waiter = std::thread::spawn(move || Lock::acquire(&other, Duration::from_secs(30)));
        drop(first);
        assert!(waiter.join().unwrap().is_ok());
    }
}
