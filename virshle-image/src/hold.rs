//! Keeping images from being removed while they are used.

use std::path::Path;

use crate::cache::ImageCache;
use crate::error::ImageError;
use crate::fs::lock::{Lock, Mode};

/// Keeps images from being removed until it is dropped.
#[derive(Debug)]
#[must_use = "the images may be removed once this is dropped"]
pub struct ImageHold {
    _locks: Vec<Lock>,
}

impl ImageCache {
    /// Holds those of the `files` that are images of the cache: they are not removed meanwhile.
    ///
    /// Any number of processes may hold an image at once. What is to depend on the image for
    /// longer has to be known to its remover before the hold ends.
    ///
    /// # Errors
    ///
    /// [`ImageError::BeingRemoved`]; [`ImageError::Lock`] if a file can't be opened.
    pub fn hold<'a>(
        &self,
        files: impl IntoIterator<Item = &'a Path>,
    ) -> Result<ImageHold, ImageError> {
        let mut locks = Vec::new();
        for path in files.into_iter().filter(|path| path.parent() == Some(self.directory())) {
            match Lock::read_if_free(path, Mode::Shared)? {
                Some(lock) => locks.push(lock),
                None => return Err(ImageError::BeingRemoved { path: path.to_owned() }),
            }
        }
        Ok(ImageHold { _locks: locks })
    }
}
