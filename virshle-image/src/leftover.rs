//! What an import has left that was killed, or could not remove it, once its image had its name.

use std::path::{Path, PathBuf};

use crate::cache::ImageCache;
use crate::error::ImageError;
use crate::fs::lock::{Lock, Mode};
use crate::name::ImageName;
use crate::staging::{self, Staging};

impl ImageCache {
    /// Finds the images that are in the cache, and beside them still what they were prepared in: it can
    /// be as large as a download, and no import will ask for it again. Each with its directory.
    ///
    /// # Errors
    ///
    /// [`ImageError::Read`] if the cache can't be read.
    pub fn leftovers(&self) -> Result<Vec<(ImageName, PathBuf)>, ImageError> {
        let entries = self.entries()?;
        let names = entries.iter().filter_map(|entry| entry.strip_prefix(staging::PREFIX));
        let names = names.filter_map(|name| name.parse::<ImageName>().ok());
        let leftovers = names.map(|name| {
            let directory = staging::directory(self.directory(), &name);
            (name, directory)
        });
        Ok(leftovers.filter(|(name, directory)| self.is_leftover(name, directory)).collect())
    }

    /// Removes what the import of an image has left beside it. It is left alone if the image is not
    /// there: then it is an interrupted import, which can be resumed.
    ///
    /// # Errors
    ///
    /// [`ImageError::Locked`] while an import uses it; [`ImageError::Lock`], [`ImageError::Write`].
    pub fn remove_leftover(&self, name: &ImageName) -> Result<(), ImageError> {
        let Some(staging) = Staging::existing(self.directory(), name)? else { return Ok(()) };
        if self.has(name) {
            return staging.discard();
        }
        staging.keep();
        Ok(())
    }

    fn is_leftover(&self, name: &ImageName, directory: &Path) -> bool {
        // Whose import ends just now is none, and neither is what can't be looked at.
        let is_free = match Lock::read_if_free(&staging::lock(directory), Mode::Exclusive) {
            Ok(lock) => lock.is_some(),
            Err(_) => !staging::lock(directory).exists(),
        };
        self.has(name) && directory.is_dir() && is_free
    }

    fn has(&self, name: &ImageName) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }
}
