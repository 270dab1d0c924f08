//! What the node asks of its image cache, and which machines depend on an image.

use std::io;
use std::path::PathBuf;

use virshle_disk::DiskError;
use virshle_image::{
    Dependent, ImageCache, ImageError, ImageHold, ImageInfo, ImageListing, ImageName,
    ImportProgress, ImportRequest, ImportSource,
};

use crate::failure::{ErrorKind, Failure, Verdict};
use crate::fs::error::FileError;
use crate::machine::node::Node;
use crate::store::error::StoreError;
use crate::store::layout;

/// Why an operation on the node's images failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagesError {
    /// The image cache.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The node's directory, or the definition of a machine that may depend on an image.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FileError> for ImagesError {
    fn from(error: FileError) -> Self {
        StoreError::from(error).into()
    }
}

impl Failure for ImagesError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Image(error) => verdict(error),
            Self::Store(error) => error.verdict(),
        }
    }
}

/// What kind of failure it is that an image of this host can't be read, by whichever door it came.
pub(crate) fn unreadable_kind(source: &io::Error) -> ErrorKind {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Host,
        _ => ErrorKind::Failed,
    }
}

/// What a front end needs to know of a failure of the image cache.
pub(crate) fn verdict(error: &ImageError) -> Verdict<'static> {
    let kind = match error {
        ImageError::NoSuchImage { .. } => ErrorKind::NotFound,
        ImageError::ImageName { .. } => ErrorKind::Usage,
        ImageError::ImageTaken { .. }
        | ImageError::ImageInUse { .. }
        | ImageError::BeingRemoved { .. }
        | ImageError::Locked { .. } => ErrorKind::State,
        ImageError::Read { source, .. }
        | ImageError::Write { source, .. }
        | ImageError::Lock { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            ErrorKind::Host
        }
        ImageError::Import {
            from: ImportSource::File(_),
            source: DiskError::Read { source, .. },
        } => unreadable_kind(source),
        _ => ErrorKind::Failed,
    };
    Verdict::new(kind, error.code()).hint(error.hint())
}

impl Node {
    /// Lists what is in the image cache.
    ///
    /// # Errors
    ///
    /// If the cache can't be read. What can't be read in it is in the listing.
    pub fn images(&self) -> Result<ImageListing, ImagesError> {
        self.store().check_trust()?;
        Ok(cache(self).list(&known_dependents(self))?)
    }

    /// Everything about the image `name`.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoSuchImage`]; [`ImageError::CachedImage`] if it can't be read, or is not an
    /// image.
    pub fn image(&self, name: &ImageName) -> Result<ImageInfo, ImagesError> {
        self.store().check_trust()?;
        Ok(cache(self).info(name, &known_dependents(self))?)
    }

    /// Imports an image into the cache, from a file of this host or from a web server.
    ///
    /// What is compressed (gzip, xz, zstd) is decompressed; formats are detected by content. The
    /// image appears whole or not at all, and is read-only. An interrupted download is kept aside,
    /// and the same request resumes it.
    ///
    /// # Errors
    ///
    /// The cache is as it was. See [`ImageCache::import`].
    pub fn import_image(
        &self,
        request: &ImportRequest,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<ImageInfo, ImagesError> {
        let cache = cache(self);
        let name = cache.check_import(request)?;
        // With the modes of the node's directories, before the cache creates its own.
        self.store().ensure()?;
        cache.import(request, on_progress)?;
        self.image(&name)
    }

    /// Removes the image `name`, and what an interrupted import of it left.
    ///
    /// # Errors
    ///
    /// [`ImageError::ImageInUse`] if a machine depends on it, or is being created from it;
    /// [`ImageError::NoSuchImage`]. If a machine's definition can't be read, and its disks can't
    /// either, that is the error: it may depend on the image.
    pub fn remove_image(&self, name: &ImageName) -> Result<(), ImagesError> {
        cache(self).remove(name, || dependents(self, Unreadable::Refuse))
    }
}

/// What becomes of a machine whose definition and disks can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    /// It is left out.
    Skip,
    /// It is an error: it may depend on anything.
    Refuse,
}

fn cache(node: &Node) -> ImageCache {
    ImageCache::new(node.cache())
}

/// The file of the image that a template calls `name`.
pub(crate) fn existing(node: &Node, name: &str) -> Result<PathBuf, ImageError> {
    let name =
        name.parse().map_err(|source| ImageError::ImageName { name: name.to_owned(), source })?;
    cache(node).existing(&name)
}

/// Holds those of the `files` that are in the cache: they are not removed meanwhile.
pub(crate) fn hold(node: &Node, files: &[PathBuf]) -> Result<ImageHold, ImageError> {
    cache(node).hold(files.iter().map(PathBuf::as_path))
}

/// The disks that can be found to depend on images: one that can't be read hides no other.
fn known_dependents(node: &Node) -> Vec<Dependent> {
    dependents(node, Unreadable::Skip).unwrap_or_default()
}

/// The disks of machines that depend on other files.
fn dependents(node: &Node, unreadable: Unreadable) -> Result<Vec<Dependent>, ImagesError> {
    let store = node.store();
    let mut dependents = Vec::new();
    for uuid in store.uuids()? {
        match store.read(uuid) {
            Ok(definition) => {
                let overlays = definition.disks.iter().filter(|disk| disk.is_overlay());
                dependents.extend(
                    overlays.filter_map(|disk| disk.source.as_ref()).map(|source| {
                        Dependent::new(format!("machine {}", definition.name), source)
                    }),
                );
            }
            // It was removed meanwhile.
            Err(error) if error.is_absent() => {}
            Err(error) => {
                // Its disks name their backing files, if its definition doesn't.
                let disks = layout::disks(&store.directory(uuid));
                let found = Dependent::in_directory(&disks, |_| format!("machine {uuid}"));
                match (found, unreadable) {
                    (Ok(found), _) => dependents.extend(found),
                    (Err(_), Unreadable::Skip) => {}
                    (Err(_), Unreadable::Refuse) => return Err(error.into()),
                }
            }
        }
    }
    Ok(dependents)
}
