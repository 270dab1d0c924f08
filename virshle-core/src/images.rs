//! What the node asks of its image cache, and which machines depend on an image.

use std::io::ErrorKind;
use std::path::PathBuf;

use virshle_disk::CloneMethod;
use virshle_image::{
    Dependent, ImageCache, ImageError, ImageHold, ImageInfo, ImageListing, ImageName,
    ImportProgress, ImportRequest,
};

use crate::error::CoreError;
use crate::machine::node::Node;

impl Node {
    /// Lists what is in the image cache.
    ///
    /// # Errors
    ///
    /// If the cache can't be read. What can't be read in it is in the listing.
    pub fn images(&self) -> Result<ImageListing, CoreError> {
        Ok(cache(self).list(&known_dependents(self))?)
    }

    /// Everything about the image `name`.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoSuchImage`]; [`ImageError::CachedImage`] if it can't be read, or is not an
    /// image.
    pub fn image(&self, name: &ImageName) -> Result<ImageInfo, CoreError> {
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
    ) -> Result<ImageInfo, CoreError> {
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
    pub fn remove_image(&self, name: &ImageName) -> Result<(), CoreError> {
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
pub(crate) fn existing(node: &Node, name: &str) -> Result<PathBuf, CoreError> {
    let name =
        name.parse().map_err(|source| ImageError::ImageName { name: name.to_owned(), source })?;
    Ok(cache(node).existing(&name)?)
}

/// Holds those of the `files` that are in the cache: they are not removed meanwhile.
pub(crate) fn hold(node: &Node, files: &[PathBuf]) -> Result<ImageHold, CoreError> {
    Ok(cache(node).hold(files.iter().map(PathBuf::as_path))?)
}

/// The disks that can be found to depend on images: one that can't be read hides no other.
fn known_dependents(node: &Node) -> Vec<Dependent> {
    dependents(node, Unreadable::Skip).unwrap_or_default()
}

/// The disks of machines that depend on other files.
fn dependents(node: &Node, unreadable: Unreadable) -> Result<Vec<Dependent>, CoreError> {
    let store = node.store();
    let mut dependents = Vec::new();
    for uuid in store.uuids()? {
        match store.read(uuid) {
            Ok(definition) => {
                let is_overlay = |clone: &str| clone.parse() == Ok(CloneMethod::Overlay);
                let overlays = definition.disks.iter().filter(|disk| is_overlay(&disk.clone));
                dependents.extend(
                    overlays.filter_map(|disk| disk.source.as_ref()).map(|source| {
                        Dependent::new(format!("machine {}", definition.name), source)
                    }),
                );
            }
            // It was removed meanwhile.
            Err(CoreError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                // Its disks name their backing files, if its definition doesn't.
                let disks = store.folder(uuid).join("disk");
                let found = Dependent::in_directory(&disks, |_| format!("machine {uuid}"));
                match (found, unreadable) {
                    (Ok(found), _) => dependents.extend(found),
                    (Err(_), Unreadable::Skip) => {}
                    (Err(_), Unreadable::Refuse) => return Err(error),
                }
            }
        }
    }
    Ok(dependents)
}
