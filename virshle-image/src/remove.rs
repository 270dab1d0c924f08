//! Removing an image that nothing depends on.

use crate::cache::ImageCache;
use crate::dependent::Dependent;
use crate::error::ImageError;
use crate::fs::lock::{Lock, Mode};
use crate::name::ImageName;
use crate::record::Record;
use crate::staging::Staging;

/// The user of an image that another process holds.
const HOLDER: &str = "another process, which clones it";

impl ImageCache {
    /// Removes the image `name`, and what an interrupted import of it left.
    ///
    /// `dependents` returns what depends on images outside the cache. It is called once no other
    /// process holds the image, so that what a holder has created is among them. If it fails,
    /// nothing is removed, as anything might depend on the image.
    ///
    /// # Errors
    ///
    /// [`ImageError::ImageInUse`] if something depends on it, or another process holds it;
    /// [`ImageError::NoSuchImage`]; [`ImageError::Locked`] while it is being imported; the error of
    /// `dependents`.
    pub fn remove<E: From<ImageError>>(
        &self,
        name: &ImageName,
        dependents: impl FnOnce() -> Result<Vec<Dependent>, E>,
    ) -> Result<(), E> {
        let unfinished = Staging::existing(self.directory(), name)?;
        let had_unfinished = unfinished.is_some();
        if let Some(unfinished) = unfinished {
            unfinished.discard()?;
        }
        let path = match self.existing(name) {
            Err(ImageError::NoSuchImage { .. }) if had_unfinished => return Ok(()),
            other => other?,
        };
        let in_use = |users| ImageError::ImageInUse { name: name.clone(), users };
        // No process can hold a link that leads nowhere.
        let held = match path.exists() {
            true => Lock::read_if_free(&path, Mode::Exclusive)?,
            false => None,
        };
        if held.is_none() && path.exists() {
            return Err(in_use(vec![HOLDER.into()]).into());
        }
        let users = self.dependents(&dependents()?)?.of(&path);
        if !users.is_empty() {
            return Err(in_use(users).into());
        }
        std::fs::remove_file(&path).map_err(|source| ImageError::Write { path, source })?;
        Record::remove(self.directory(), name);
        tracing::info!(image = %name, "removed");
        Ok(())
    }
}
