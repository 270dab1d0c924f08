//! A directory of images: what is in it.
//!
//! An image is a file. Beside it there may be a hidden record of where it came from; an import that
//! is running or was interrupted has a hidden directory of its own.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use virshle_disk::Image;

use crate::dependent::{Dependent, Dependents};
use crate::download_state::partial;
use crate::error::ImageError;
use crate::listing::{ImageInfo, ImageListing, UnfinishedImport};
use crate::name::ImageName;
use crate::record::Record;
use crate::staging;

/// A directory that images are kept in, each in a file of its name.
///
/// The value is but the path: the directory may be missing, and is created by the first import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCache {
    directory: PathBuf,
}

impl ImageCache {
    /// The cache in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file that the image `name` has, or would have.
    pub fn path(&self, name: &ImageName) -> PathBuf {
        self.directory.join(name.as_str())
    }

    /// Lists what is in the cache. `dependents` are those that the caller knows of.
    ///
    /// # Errors
    ///
    /// [`ImageError::Read`] if the directory can't be read. What can't be read in it is part of
    /// the listing.
    pub fn list(&self, dependents: &[Dependent]) -> Result<ImageListing, ImageError> {
        let mut listing = ImageListing::default();
        let mut images = Vec::new();
        for name in self.entries()? {
            if let Some(of) = name.strip_prefix(staging::PREFIX) {
                if let Some(partial) = partial(&self.directory.join(&name)) {
                    listing.unfinished.push(UnfinishedImport {
                        name: of.to_owned(),
                        source: partial.url,
                        done: partial.done_bytes,
                        total: partial.total_bytes,
                    });
                }
            } else if !name.starts_with('.') {
                match inspect(&self.directory.join(&name)) {
                    Ok(image) => images.push((name, image)),
                    Err(error) => listing.broken.push(error),
                }
            }
        }
        let dependents = self.known_dependents(dependents);
        listing.images = images
            .into_iter()
            .map(|(name, image)| self.describe(name, &image, &dependents))
            .collect();
        Ok(listing)
    }

    /// Everything about the image `name`. `dependents` are those that the caller knows of.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoSuchImage`]; [`ImageError::CachedImage`] if the file can't be read, or is
    /// not an image.
    pub fn info(
        &self,
        name: &ImageName,
        dependents: &[Dependent],
    ) -> Result<ImageInfo, ImageError> {
        let image = inspect(&self.existing(name)?)?;
        let dependents = self.known_dependents(dependents);
        Ok(self.describe(name.to_string(), &image, &dependents))
    }

    /// The file of the image `name`.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoSuchImage`], which lists those there are; [`ImageError::Read`].
    pub fn existing(&self, name: &ImageName) -> Result<PathBuf, ImageError> {
        let path = self.path(name);
        match path.symlink_metadata() {
            Ok(_) => Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let is_image = |name: &String| !name.starts_with('.');
                let known = self.entries()?.into_iter().filter(is_image).collect();
                Err(ImageError::NoSuchImage { name: name.to_string(), known })
            }
            Err(source) => Err(ImageError::Read { path, source }),
        }
    }

    /// All that depend on images: of the caller's, and of the cache itself.
    pub(crate) fn dependents(&self, callers: &[Dependent]) -> Result<Dependents, ImageError> {
        let own = Dependent::in_directory(&self.directory, |name| format!("image {name}"))?;
        Ok(Dependents::new(callers.iter().chain(&own)))
    }

    /// Those that can be found out: a directory that can't be read hides none of the caller's.
    fn known_dependents(&self, callers: &[Dependent]) -> Dependents {
        self.dependents(callers).unwrap_or_else(|_| Dependents::new(callers))
    }

    /// The names in the cache, in order; none if it was never used.
    pub(crate) fn entries(&self) -> Result<Vec<String>, ImageError> {
        let failed = |source| ImageError::Read { path: self.directory.clone(), source };
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is not text is not a name that an image could have.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn describe(&self, name: String, image: &Image, dependents: &Dependents) -> ImageInfo {
        let path = self.directory.join(&name);
        let record = match (name.parse(), path.metadata()) {
            (Ok(name), Ok(metadata)) => Record::read(&self.directory, &name, &metadata),
            _ => None,
        };
        let (source, sha256, verified, imported) = match record.map(|record| record.origin) {
            Some(origin) => {
                (Some(origin.source), origin.sha256, origin.verified, Some(origin.imported))
            }
            None => (None, None, None, None),
        };
        ImageInfo {
            overlays: dependents.of(&path),
            name,
            path,
            format: image.format.to_string(),
            size: image.virtual_size_bytes,
            allocated: image.allocated_bytes,
            source,
            sha256,
            verified,
            imported,
        }
    }
}

fn inspect(path: &Path) -> Result<Image, ImageError> {
    virshle_disk::inspect(path)
        .map_err(|source| ImageError::CachedImage { path: path.to_owned(), source })
}
