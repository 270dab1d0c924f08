//! The images that the node keeps in its cache, from which machines are made by name.
//!
//! An image is a file of `cache/`. Beside it there may be a hidden record of where it came from;
//! what is being imported has a hidden folder of its own.

mod checksum;
mod download;
mod http;
mod import;
mod name;
mod record;
mod staging;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use virshle_disk::{CloneMethod, Image};

pub use checksum::{Checksum, InvalidChecksum};
pub use http::DownloadError;
pub use import::{
    Expected, ImportFormat, ImportProgress, ImportRequest, ImportSource, ImportStep, InvalidSource,
};
pub use name::{ImageName, InvalidImageName};

use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::machine::node::Node;
use crate::store::LOCK;
use record::Record;

/// An image of the cache, as programs get it. Fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageInfo {
    /// The name: what a template says for it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// `raw` or `qcow2`, told by content.
    pub format: String,
    /// What a guest sees of it, in bytes.
    pub size: u64,
    /// What it takes on its filesystem, in bytes.
    pub allocated: u64,
    /// The address or the file it was imported from.
    pub source: Option<String>,
    /// The SHA-256 of the bytes as they were downloaded.
    pub sha256: Option<String>,
    /// When it was imported: RFC 3339, UTC.
    pub imported: Option<String>,
    /// What stands on it, and could not be read without: machines, other images.
    pub overlays: Vec<String>,
}

/// A download that was interrupted. The same import goes on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnfinishedImport {
    /// The name of the image that it is to become.
    pub name: String,
    /// Where it comes from.
    pub source: String,
    /// What is there, in bytes.
    pub done: u64,
    /// What there is to come in all, in bytes, if the server told it.
    pub total: Option<u64>,
}

/// What is in the cache.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ImageListing {
    /// The images, by name.
    pub images: Vec<ImageInfo>,
    /// Files that can't be images, or can't be read.
    pub broken: Vec<CoreError>,
    /// Downloads that were interrupted.
    pub unfinished: Vec<UnfinishedImport>,
}

/// A file that stands on another.
struct Overlay {
    /// The other.
    on: PathBuf,
    /// What it belongs to.
    owner: String,
}

impl Node {
    /// Lists what is in the cache.
    ///
    /// # Errors
    ///
    /// If the cache can't be read. What can't be read in it is in the listing.
    pub fn images(&self) -> Result<ImageListing, CoreError> {
        let cache = self.cache();
        let mut listing = ImageListing::default();
        let mut images = Vec::new();
        for name in self.cache_entries()? {
            if let Some(of) = name.strip_prefix(staging::PREFIX) {
                if let Some(partial) = download::partial(&cache.join(&name)) {
                    listing.unfinished.push(UnfinishedImport {
                        name: of.to_owned(),
                        source: partial.url,
                        done: partial.done_bytes,
                        total: partial.total_bytes,
                    });
                }
            } else if !name.starts_with('.') {
                match inspect(&cache.join(&name)) {
                    Ok(image) => images.push((name, image)),
                    Err(error) => listing.broken.push(error),
                }
            }
        }
        // One that can't be read hides no other.
        let overlays = self.overlays(Strictness::Lenient).unwrap_or_default();
        listing.images = images
            .into_iter()
            .map(|(name, image)| describe(&cache, name, &image, &overlays))
            .collect();
        Ok(listing)
    }

    /// Everything about the image `name`.
    ///
    /// # Errors
    ///
    /// [`CoreError::NoSuchImage`]; [`CoreError::CachedImage`] if it can't be read, or is none.
    pub fn image(&self, name: &ImageName) -> Result<ImageInfo, CoreError> {
        let path = self.existing_image(name)?;
        let image = inspect(&path)?;
        let overlays = self.overlays(Strictness::Lenient).unwrap_or_default();
        Ok(describe(&self.cache(), name.to_string(), &image, &overlays))
    }

    /// Removes the image `name`, and what an interrupted import of it left.
    ///
    /// # Errors
    ///
    /// [`CoreError::ImageInUse`] if a machine stands on it, or is being made of it;
    /// [`CoreError::NoSuchImage`]. If a machine's definition can't be read, and its disks can't
    /// either, that is the error: it may stand on the image.
    pub fn remove_image(&self, name: &ImageName) -> Result<(), CoreError> {
        let unfinished = self.remove_unfinished(name)?;
        let path = match self.existing_image(name) {
            Err(CoreError::NoSuchImage { .. }) if unfinished => return Ok(()),
            other => other?,
        };
        let failed = |source| CoreError::Write { path: path.clone(), source };
        let in_use = |users| CoreError::ImageInUse { name: name.clone(), users };
        // Whoever makes a machine of it holds it meanwhile. A link that leads nowhere is nobody's.
        let held = match path.exists() {
            true => Lock::exclude_if_free(&path)?,
            false => None,
        };
        if held.is_none() && path.exists() {
            return Err(in_use(vec!["a machine that is being made".into()]));
        }
        let users = users(&path, &self.overlays(Strictness::Strict)?);
        if !users.is_empty() {
            return Err(in_use(users));
        }
        std::fs::remove_file(&path).map_err(failed)?;
        Record::remove(&self.cache(), name);
        tracing::info!(image = %name, "removed");
        Ok(())
    }

    /// Holds those of the `images` that are in the cache: they are not removed meanwhile.
    pub(crate) fn hold_images(&self, images: &[PathBuf]) -> Result<Vec<Lock>, CoreError> {
        let cache = self.cache();
        let mut held = Vec::new();
        for path in images.iter().filter(|path| path.parent() == Some(&cache)) {
            match Lock::share_if_free(path)? {
                Some(lock) => held.push(lock),
                None => {
                    let holder = "somebody who removes it".to_owned();
                    let waited = std::time::Duration::ZERO;
                    return Err(CoreError::Locked { path: path.clone(), holder, waited });
                }
            }
        }
        Ok(held)
    }

    /// The file of the image `name`.
    pub(crate) fn existing_image(&self, name: &ImageName) -> Result<PathBuf, CoreError> {
        let path = self.cache().join(name.as_str());
        match path.symlink_metadata() {
            Ok(_) => Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(CoreError::NoSuchImage {
                name: name.to_string(),
                known: self
                    .cache_entries()?
                    .into_iter()
                    .filter(|name| !name.starts_with('.'))
                    .collect(),
            }),
            Err(source) => Err(CoreError::Read { path, source }),
        }
    }

    /// Removes the folder of an interrupted import. Tells whether there was one.
    fn remove_unfinished(&self, name: &ImageName) -> Result<bool, CoreError> {
        let folder = staging::folder(&self.cache(), name);
        if !folder.is_dir() {
            return Ok(false);
        }
        let path = folder.join(LOCK);
        let lock = Lock::acquire(&path, std::time::Duration::ZERO)?;
        if lock.is_at(&path)? {
            std::fs::remove_dir_all(&folder)
                .map_err(|source| CoreError::Write { path: folder, source })?;
        }
        Ok(true)
    }

    /// The names in the cache, in order; none if the node was never used.
    fn cache_entries(&self) -> Result<Vec<String>, CoreError> {
        let cache = self.cache();
        let failed = |source| CoreError::Read { path: cache.clone(), source };
        let entries = match std::fs::read_dir(&cache) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is not text is no name that a template could say.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Everything that stands on something: disks of machines, and images of the cache.
    fn overlays(&self, strictness: Strictness) -> Result<Vec<Overlay>, CoreError> {
        let mut overlays = Vec::new();
        for uuid in self.store().uuids()? {
            match self.store().read(uuid) {
                Ok(definition) => {
                    let owner = format!("machine {}", definition.name);
                    let is_overlay = |clone: &str| clone.parse() == Ok(CloneMethod::Overlay);
                    let disks = definition.disks.iter().filter(|disk| is_overlay(&disk.clone));
                    overlays.extend(
                        disks
                            .filter_map(|disk| disk.source.as_ref())
                            .map(|source| Overlay { on: real(source), owner: owner.clone() }),
                    );
                }
                // It was removed meanwhile.
                Err(CoreError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    // Its disks tell, if its definition doesn't.
                    let disks = self.store().folder(uuid).join("disk");
                    let found = backing_files(&disks, |_| format!("machine {uuid}"));
                    match (found, strictness) {
                        (Ok(found), _) => overlays.extend(found),
                        (Err(_), Strictness::Lenient) => {}
                        (Err(_), Strictness::Strict) => return Err(error),
                    }
                }
            }
        }
        overlays.extend(backing_files(&self.cache(), |name| format!("image {name}"))?);
        Ok(overlays)
    }
}

/// What becomes of a machine that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// It is left out.
    Lenient,
    /// It is an error: it may stand on anything.
    Strict,
}

/// The files in `folder` that stand on others.
fn backing_files(folder: &Path, owner: impl Fn(&str) -> String) -> Result<Vec<Overlay>, CoreError> {
    let failed = |source| CoreError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut overlays = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // What is no image stands on nothing.
        if let Ok(Image { backing_file: Some(backing), .. }) = virshle_disk::inspect(&entry.path())
        {
            let owner = owner(&entry.file_name().to_string_lossy());
            overlays.push(Overlay { on: real(&folder.join(backing)), owner });
        }
    }
    Ok(overlays)
}

/// The path without links, as far as it can be told.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Who stands on the file `path`.
fn users(path: &Path, overlays: &[Overlay]) -> Vec<String> {
    let real = real(path);
    let on_it = overlays.iter().filter(|overlay| overlay.on == real || overlay.on == path);
    on_it.map(|overlay| overlay.owner.clone()).collect()
}

fn inspect(path: &Path) -> Result<Image, CoreError> {
    virshle_disk::inspect(path)
        .map_err(|source| CoreError::CachedImage { path: path.to_owned(), source })
}

fn describe(cache: &Path, name: String, image: &Image, overlays: &[Overlay]) -> ImageInfo {
    let path = cache.join(&name);
    let record = match (name.parse(), path.metadata()) {
        (Ok(name), Ok(metadata)) => Record::read(cache, &name, &metadata),
        _ => None,
    };
    let (source, sha256, imported) = match record {
        Some(record) => (Some(record.source), record.sha256, Some(record.imported)),
        None => (None, None, None),
    };
    ImageInfo {
        overlays: users(&path, overlays),
        name,
        path,
        format: image.format.to_string(),
        size: image.virtual_size_bytes,
        allocated: image.allocated_bytes,
        source,
        sha256,
        imported,
    }
}
