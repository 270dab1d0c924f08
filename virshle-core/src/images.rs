//! What the node asks of its image cache, and which machines depend on an image.

use std::io;
use std::path::PathBuf;

use virshle_disk::DiskError;
use virshle_image::{
    Catalogue, CatalogueImage, Dependent, Expected, ImageCache, ImageError, ImageHold, ImageInfo,
    ImageListing, ImageName, ImageReference, ImportProgress, ImportRequest, ImportSource, filled,
};
use virshle_template::{CatalogueEntry, VmTemplate};

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
        ImageError::NoSuchImage { .. } | ImageError::NotInCatalogue { .. } => ErrorKind::NotFound,
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

    /// What can be pulled by a name: what distributions publish for this machine, and what the
    /// configuration adds.
    pub fn catalogue(&self) -> Catalogue {
        catalogue(self)
    }

    /// Pulls an image of the catalogue into the cache, unless it is there already.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotInCatalogue`]; otherwise as [`Node::import_image`].
    pub fn pull_image(
        &self,
        reference: &ImageReference,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<Pulled, ImagesError> {
        self.store().check_trust()?;
        let catalogue = catalogue(self);
        let request = catalogue.find(reference)?.request()?;
        match self.import_image(&request, on_progress) {
            Ok(image) => Ok(Pulled { image, was_there: false }),
            Err(ImagesError::Image(ImageError::ImageTaken { name })) => {
                Ok(Pulled { image: self.image(&name)?, was_there: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that an image is there under that name: in the cache, or in the catalogue.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotInCatalogue`] if it is in neither.
    pub fn knows_image(&self, reference: &ImageReference) -> Result<(), ImagesError> {
        self.store().check_trust()?;
        if existing(self, &reference.to_string()).is_ok() {
            return Ok(());
        }
        Ok(catalogue(self).find(reference).map(drop)?)
    }

    /// The images of a template that are not in the cache, and that the catalogue has.
    ///
    /// # Errors
    ///
    /// If the node, or its configuration, can't be trusted.
    pub fn missing_images(
        &self,
        template: &VmTemplate,
    ) -> Result<Vec<ImageReference>, ImagesError> {
        self.store().check_trust()?;
        let catalogue = catalogue(self);
        let mut missing: Vec<ImageReference> = Vec::new();
        for text in template.disks.iter().filter_map(|disk| disk.image.as_ref()) {
            let Ok(reference) = text.parse() else { continue };
            let is_there = path(self, text).symlink_metadata().is_ok();
            if !is_there && catalogue.get(&reference).is_some() && !missing.contains(&reference) {
                missing.push(reference);
            }
        }
        Ok(missing)
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

/// An image that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// The image in the cache.
    pub image: ImageInfo,
    /// It was there already, and nothing was asked for.
    pub was_there: bool,
}

/// What becomes of a machine whose definition and disks can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    /// It is left out.
    Skip,
    /// It is an error: it may depend on anything.
    Refuse,
}

/// Images whose imports have left something beside them, each with its directory.
pub(crate) fn leftovers(node: &Node) -> Result<Vec<(ImageName, PathBuf)>, ImageError> {
    cache(node).leftovers()
}

/// Removes what the import of an image has left beside it.
pub(crate) fn remove_leftover(node: &Node, name: &ImageName) -> Result<(), ImageError> {
    cache(node).remove_leftover(name)
}

fn cache(node: &Node) -> ImageCache {
    ImageCache::new(node.cache())
}

/// The name in the cache of the image that a template calls `text`: its own, or the one that the
/// catalogue's image has there, as `debian:13` and `debian` are `debian-13`.
fn name_in_cache(node: &Node, text: &str) -> Result<ImageName, ImageError> {
    let failed = |source| ImageError::ImageName { name: text.to_owned(), source };
    let reference: ImageReference = text.parse().map_err(failed)?;
    let own = reference.image_name().map_err(failed)?;
    // What is there under that very name is what is meant.
    if cache(node).path(&own).symlink_metadata().is_ok() {
        return Ok(own);
    }
    match catalogue(node).get(&reference) {
        Some(image) => image.image_name().map_err(failed),
        None => Ok(own),
    }
}

/// The file that the image has which a template calls `text`, or would have.
pub(crate) fn path(node: &Node, text: &str) -> PathBuf {
    // A template's own check is that it is a name.
    name_in_cache(node, text)
        .map_or_else(|_| node.cache().join(text), |name| cache(node).path(&name))
}

/// The file of the image that a template calls `text`.
pub(crate) fn existing(node: &Node, text: &str) -> Result<PathBuf, ImageError> {
    let name = name_in_cache(node, text)?;
    cache(node).existing(&name).map_err(|error| match error {
        // By the name that people know.
        ImageError::NoSuchImage { known, .. } => {
            ImageError::NoSuchImage { name: text.to_owned(), known }
        }
        other => other,
    })
}

/// What can be pulled by a name: what distributions publish, and what the configuration adds.
fn catalogue(node: &Node) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for entry in &node.config().catalogue {
        // A template's own check is that all of it can be read.
        if let Some(image) = configured(entry) {
            catalogue.add(image);
        }
    }
    catalogue
}

/// An image of the configuration.
fn configured(entry: &CatalogueEntry) -> Option<CatalogueImage> {
    let place = |text: &str| filled(text, std::env::consts::ARCH).parse().ok();
    let mut image = CatalogueImage::new(&entry.name.parse().ok()?, place(&entry.url)?);
    let sum = entry.sha256.as_ref().and_then(|sum| sum.parse().ok()).map(Expected::Checksum);
    let list = || entry.checksums.as_deref().and_then(place).map(Expected::Listed);
    image.expected = sum.or_else(list);
    image.user.clone_from(&entry.user);
    image.is_default = entry.default;
    Some(image)
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
