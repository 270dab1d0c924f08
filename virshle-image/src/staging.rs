//! Where an image is prepared: a directory of its own in the cache, under a hidden name.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::fs::ensure_directory;
use crate::fs::lock::Lock;
use crate::name::ImageName;

/// The prefix of such a directory: no image has such a name.
pub(crate) const PREFIX: &str = ".import-";
/// The file that is locked while the directory is in use.
const LOCK: &str = "lock";
/// The prefix of what is made of a download, or of a file of this host.
const IMAGE: &str = "image";

/// The file that is locked while that directory is in use.
pub(crate) fn lock(directory: &Path) -> PathBuf {
    directory.join(LOCK)
}

/// The directory in which one image is prepared, by one process at a time.
#[derive(Debug)]
#[must_use = "it is kept or discarded"]
pub(crate) struct Staging {
    directory: PathBuf,
    lock: Lock,
}

/// The directory in which the image `name` is prepared.
pub(crate) fn directory(cache: &Path, name: &ImageName) -> PathBuf {
    cache.join(format!("{PREFIX}{name}"))
}

impl Staging {
    /// Begins to prepare `name`. What an earlier attempt downloaded is still there.
    pub(crate) fn begin(cache: &Path, name: &ImageName) -> Result<Self, ImageError> {
        let directory = directory(cache, name);
        loop {
            ensure_directory(&directory, 0o700)
                .map_err(|source| ImageError::Write { path: directory.clone(), source })?;
            let staging = match Self::lock(&directory) {
                Ok(Some(staging)) => staging,
                // Another process finished, and removed the directory, meanwhile.
                Ok(None) => continue,
                Err(ImageError::Lock { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            staging.sweep()?;
            return Ok(staging);
        }
    }

    /// The interrupted attempt for `name`, if there is one.
    pub(crate) fn existing(cache: &Path, name: &ImageName) -> Result<Option<Self>, ImageError> {
        let directory = directory(cache, name);
        if !directory.is_dir() {
            return Ok(None);
        }
        match Self::lock(&directory) {
            Err(ImageError::Lock { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            other => other,
        }
    }

    /// Locks the directory; `None` if it was removed meanwhile.
    fn lock(directory: &Path) -> Result<Option<Self>, ImageError> {
        // A link in its place would lead out of the cache.
        if directory.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            let source = ErrorKind::NotADirectory.into();
            return Err(ImageError::Write { path: directory.to_owned(), source });
        }
        let path = self::lock(directory);
        let lock = Lock::acquire(&path)?;
        let is_there = lock.is_at(&path)?;
        Ok(is_there.then(|| Self { directory: directory.to_owned(), lock }))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of the image, once it is ready.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join(IMAGE)
    }

    /// The path of the copy of a file of this host, whose name is no less that of what is made here.
    pub(crate) fn copy(&self) -> PathBuf {
        self.directory.join(format!("{IMAGE}.copy"))
    }

    /// Removes what a killed process made of the download: that begins anew.
    fn sweep(&self) -> Result<(), ImageError> {
        let failed = |source| ImageError::Read { path: self.directory.clone(), source };
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(IMAGE)) {
                std::fs::remove_file(&path).map_err(|source| ImageError::Write { path, source })?;
            }
        }
        Ok(())
    }

    /// Ends the attempt, and keeps what was downloaded for the next.
    pub(crate) fn keep(self) {
        drop(self);
    }

    /// Ends the attempt, and leaves nothing of it.
    pub(crate) fn discard(self) -> Result<(), ImageError> {
        let Self { directory, lock } = self;
        let failed = |source| ImageError::Write { path: directory.clone(), source };
        let removed = std::fs::remove_dir_all(&directory);
        // Not before: another process may begin as soon as it can lock.
        drop(lock);
        match removed {
            // NFS and FUSE keep what is removed while it is open under a hidden name: the lock.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                match std::fs::remove_dir(&directory) {
                    Err(_) if directory.join(LOCK).exists() => Ok(()),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    other => other.map_err(failed),
                }
            }
            other => other.map_err(failed),
        }
    }
}
