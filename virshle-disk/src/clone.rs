//! Creates a private copy of an image.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::backing_chain::backing_chain;
use crate::backing_file::BackingFile;
use crate::destination::Destination;
use crate::disk::{Disk, grow_file};
use crate::extents::{CopyError, Progress, bytes_of, copy, data_extents};
use crate::image::Opened;
use crate::method::{CloneMethod, CloneMode};
use crate::obstacle::ReflinkObstacle;
use crate::reflink::{is_unsupported, reflink};
use crate::sparse::Target;
use crate::{DiskError, Format, overlay};

/// A disk is made of sectors: a raw image that ends within one is filled up with zeros.
pub(crate) const SECTOR: u64 = 512;

/// A request for a private copy of an image.
///
/// The image is opened read-only, always. The copy appears complete or not at all, belongs to its
/// user alone, and outlasts a power failure once [`run`](Self::run) has returned.
#[must_use = "`run` executes it"]
pub struct CloneRequest<'a> {
    source: PathBuf,
    destination: PathBuf,
    mode: CloneMode,
    backing_file: BackingFile,
    size_bytes: Option<u64>,
    on_progress: Option<&'a mut dyn FnMut(Progress)>,
}

impl fmt::Debug for CloneRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CloneRequest")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .field("mode", &self.mode)
            .field("backing_file", &self.backing_file)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> CloneRequest<'a> {
    /// Asks for a copy of the image `source` as the file `destination`, which is not there yet.
    pub fn new(source: &Path, destination: &Path) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            mode: CloneMode::Auto,
            backing_file: BackingFile::Refuse,
            size_bytes: None,
            on_progress: None,
        }
    }

    /// Sets how the copy is to be created.
    pub fn mode(mut self, mode: CloneMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets whether an overlay may be created on a qcow2 that has a backing file itself, which it then
    /// depends on as well: the header names it, and not the caller. Any other copy is refused, as it
    /// would look for that file from another directory.
    pub fn backing_file(mut self, backing_file: BackingFile) -> Self {
        self.backing_file = backing_file;
        self
    }

    /// Sets what the guest is to see, in bytes: at least what it sees of the image.
    pub fn size_bytes(mut self, size_bytes: u64) -> Self {
        self.size_bytes = Some(size_bytes);
        self
    }

    /// Sets the callback for a copy's progress. A reflink or an overlay has nothing to report.
    pub fn on_progress(mut self, on_progress: &'a mut dyn FnMut(Progress)) -> Self {
        self.on_progress = Some(on_progress);
        self
    }

    /// Creates the copy.
    ///
    /// # Errors
    ///
    /// Nothing is left, and the image is as it was. [`DiskError::Read`],
    /// [`DiskError::NotAnImage`], [`DiskError::Unsupported`], [`DiskError::Broken`] and
    /// [`DiskError::HasBackingFile`] are about the image, [`DiskError::TooSmall`] and [`DiskError::Grow`] of the size,
    /// [`DiskError::Reflink`], [`DiskError::NoRoom`] and [`DiskError::Write`] of the copy;
    /// [`DiskError::Changed`] if another process wrote to the image meanwhile.
    pub fn run(mut self) -> Result<Disk, DiskError> {
        let opened = Opened::open(&self.source)?;
        let image_bytes = opened.image.virtual_size_bytes;
        let size_bytes = self.size_bytes.unwrap_or_else(|| image_bytes.next_multiple_of(SECTOR));
        if size_bytes < image_bytes {
            let path = self.source.clone();
            return Err(DiskError::TooSmall { path, size_bytes, image_bytes });
        }
        self.refuse_backing_file(&opened)?;
        let destination = Destination::begin(&self.destination)?;
        let mut backing_files = Vec::new();
        let (format, method) = if self.mode == CloneMode::Overlay {
            backing_files = self.overlay(&opened, &destination, size_bytes)?;
            (Format::Qcow2, CloneMethod::Overlay)
        } else {
            let method = self.share_or_copy(&opened, &destination)?;
            grow_file(destination.file(), &opened, &self.destination, size_bytes)?;
            (opened.image.format, method)
        };
        destination.publish()?;
        tracing::debug!(
            source = %self.source.display(), destination = %self.destination.display(), %method,
            "disk created"
        );
        Ok(Disk {
            path: self.destination,
            format,
            size_bytes,
            method,
            source: Some(self.source),
            backing_files,
        })
    }

    /// Writes the overlay; the files it depends on.
    fn overlay(
        &self,
        opened: &Opened,
        destination: &Destination,
        size_bytes: u64,
    ) -> Result<Vec<PathBuf>, DiskError> {
        // Every layer is read with it.
        let below = backing_chain(opened)?;
        // The name in the header is read from the overlay's directory: only an absolute one lasts.
        let backing = self
            .source
            .canonicalize()
            .map_err(|source| DiskError::Read { path: self.source.clone(), source })?;
        overlay::write(destination.file(), &backing, opened.image.format, size_bytes)
            .map_err(|error| destination.failed(error))?;
        Ok(std::iter::once(backing).chain(below.into_iter().map(|layer| layer.path)).collect())
    }

    /// A copy of a qcow2 with a backing file would look for it from another directory; and of an overlay
    /// its guest would read it, which may be any file of this host that the header names.
    fn refuse_backing_file(&self, opened: &Opened) -> Result<(), DiskError> {
        let follows = (self.mode, self.backing_file) == (CloneMode::Overlay, BackingFile::Follow);
        match &opened.image.backing_file {
            Some(backing) if !follows => Err(DiskError::HasBackingFile {
                path: self.source.clone(),
                backing: backing.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn share_or_copy(
        &mut self,
        opened: &Opened,
        destination: &Destination,
    ) -> Result<CloneMethod, DiskError> {
        if self.mode != CloneMode::Copy {
            match reflink(&opened.file, destination.file()) {
                Ok(()) => return Ok(CloneMethod::Reflink),
                Err(error) if self.mode == CloneMode::Auto && is_unsupported(&error) => {}
                Err(source) if is_unsupported(&source) => {
                    let (from, to) = (self.source.clone(), self.destination.clone());
                    let obstacle =
                        ReflinkObstacle::between(&opened.file, destination.file(), &source);
                    return Err(DiskError::Reflink { from, to, obstacle, source });
                }
                Err(error) => return Err(destination.failed(error)),
            }
        }
        let mut silent = |_: Progress| {};
        let on_progress: &mut dyn FnMut(Progress) = match &mut self.on_progress {
            Some(on_progress) => *on_progress,
            None => &mut silent,
        };
        copy_data(opened, destination, on_progress)?;
        Ok(CloneMethod::Copy)
    }
}

/// Copies an image without its holes and zeros.
pub(crate) fn copy_data(
    opened: &Opened,
    destination: &Destination,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<(), DiskError> {
    let path = &opened.path;
    let unreadable = |source| DiskError::Read { path: path.clone(), source };
    let length = opened.image.file_size_bytes;
    let extents = data_extents(&opened.file, length).map_err(unreadable)?;
    destination.needs_room(bytes_of(&extents))?;
    let copied = copy(&opened.file, destination.file(), &extents, Target::Zeroed, on_progress);
    copied.map_err(|error| copy_failed(error, path, destination))?;
    destination.file().set_len(length).map_err(|error| destination.failed(error))?;
    refuse_changed(opened)
}

/// Returns which side of a copy of the image `path` failed.
pub(crate) fn copy_failed(error: CopyError, path: &Path, destination: &Destination) -> DiskError {
    let path = path.to_owned();
    match error {
        CopyError::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DiskError::Changed { path }
        }
        CopyError::Read(source) => DiskError::Read { path, source },
        CopyError::Write(error) => destination.failed(error),
    }
}

/// Ensures that no process wrote to the image since it was opened.
pub(crate) fn refuse_changed(opened: &Opened) -> Result<(), DiskError> {
    let path = opened.path.clone();
    match opened.was_changed() {
        Ok(false) => Ok(()),
        Ok(true) => Err(DiskError::Changed { path }),
        Err(source) => Err(DiskError::Read { path, source }),
    }
}
