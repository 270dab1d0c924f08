//! Where an image is made before it is one: a folder of its own in the cache, under a hidden name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ImageName;
use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::store::{LOCK, ensure_folder};

/// What begins the name of such a folder: no image is called like that.
pub(crate) const PREFIX: &str = ".import-";

/// The folder in which one image is made, by one process at a time.
#[derive(Debug)]
#[must_use = "it is kept or discarded"]
pub(crate) struct Staging {
    folder: PathBuf,
    _lock: Lock,
}

/// The folder in which the image `name` is made.
pub(crate) fn folder(cache: &Path, name: &ImageName) -> PathBuf {
    cache.join(format!("{PREFIX}{name}"))
}

impl Staging {
    /// Begins to make `name`. What an earlier attempt downloaded is still there.
    pub(crate) fn begin(cache: &Path, name: &ImageName) -> Result<Self, CoreError> {
        let folder = folder(cache, name);
        let path = folder.join(LOCK);
        loop {
            ensure_folder(&folder, 0o700)?;
            let lock = match Lock::acquire(&path, Duration::ZERO) {
                // Somebody who was done took the folder away meanwhile.
                Err(CoreError::Lock { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    continue;
                }
                other => other?,
            };
            if !lock.is_at(&path)? {
                continue;
            }
            let staging = Self { folder, _lock: lock };
            staging.sweep()?;
            return Ok(staging);
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image, when it is made.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// Removes what somebody who died made of the download: it begins anew.
    fn sweep(&self) -> Result<(), CoreError> {
        let failed = |source| CoreError::Read { path: self.folder.clone(), source };
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("image")) {
                std::fs::remove_file(&path).map_err(|source| CoreError::Write { path, source })?;
            }
        }
        Ok(())
    }

    /// Ends the attempt, and keeps what was downloaded for the next, if there is anything.
    pub(crate) fn keep(self) {
        match super::download::partial(&self.folder) {
            Some(partial) if partial.done_bytes > 0 => {}
            _ => self.discard(),
        }
    }

    /// Ends the attempt, and leaves nothing of it.
    pub(crate) fn discard(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "left behind");
        }
    }
}
