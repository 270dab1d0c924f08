//! A request to convert an image to one that is whole in itself: decompressed, raw or as it is, sparse.

use std::fmt;
use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::backing_file::BackingFile;
use crate::clusters::Clusters;
use crate::compression::Compression;
use crate::converter::{Converter, Wanted, check_clusters, ends_with_a_sector};
use crate::destination::Destination;
use crate::extents::Progress;
use crate::format::Format;
use crate::image::{HEAD, Image, Opened, open_untouched};
use crate::text::refuse_text_of;
use crate::{DiskError, inspect};

/// A request for an image that is whole in itself.
///
/// The source is distinguished by content: compressed with gzip, xz or zstd or not, raw or qcow2.
/// It is opened read-only. The image appears complete or not at all.
#[must_use = "`run` executes it"]
pub struct ConvertRequest<'a> {
    source: PathBuf,
    destination: PathBuf,
    format: Option<Format>,
    backing_file: BackingFile,
    copy_of: Option<PathBuf>,
    most_bytes: Option<u64>,
    leave_free: u64,
    mode: u32,
    on_progress: Option<&'a mut dyn FnMut(Progress)>,
}

impl fmt::Debug for ConvertRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConvertRequest")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .field("format", &self.format)
            .field("backing_file", &self.backing_file)
            .field("copy_of", &self.copy_of)
            .field("most_bytes", &self.most_bytes)
            .field("leave_free", &self.leave_free)
            .finish_non_exhaustive()
    }
}

impl<'a> ConvertRequest<'a> {
    /// Asks for the image `source` as the file `destination`, which is not there yet.
    pub fn new(source: &Path, destination: &Path) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            format: None,
            backing_file: BackingFile::Refuse,
            copy_of: None,
            most_bytes: None,
            leave_free: 0,
            mode: 0o600,
            on_progress: None,
        }
    }

    /// Sets the format: a qcow2 becomes raw, while a raw image never becomes a qcow2. The
    /// source's own if unset.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets what becomes of a qcow2 with a backing file.
    pub fn backing_file(mut self, backing_file: BackingFile) -> Self {
        self.backing_file = backing_file;
        self
    }

    /// Says that the source is a copy of the file `original`: errors name that, and a backing file that
    /// is relative is looked for from there.
    pub fn copy_of(mut self, original: &Path) -> Self {
        self.copy_of = Some(original.to_owned());
        self
    }

    /// Sets how large the image may be at most, in bytes: what its guest sees, and what is unpacked.
    pub fn most_bytes(mut self, most_bytes: u64) -> Self {
        self.most_bytes = Some(most_bytes);
        self
    }

    /// Sets what is to stay free on the image's filesystem, in bytes: a few bytes that are compressed
    /// can be any number of bytes that are not.
    pub fn leave_free(mut self, leave_free: u64) -> Self {
        self.leave_free = leave_free;
        self
    }

    /// Sets the permissions of the image: 0600 if unset.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the callback for its progress. While something is unpacked, what was read is counted.
    pub fn on_progress(mut self, on_progress: &'a mut dyn FnMut(Progress)) -> Self {
        self.on_progress = Some(on_progress);
        self
    }

    /// Returns whether the source is not yet what is asked for. If it is, it can be taken as it is:
    /// all of it is there.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), as far as that is known without converting.
    pub fn is_needed(&self) -> Result<bool, DiskError> {
        if self.compression()?.is_some() {
            return Ok(true);
        }
        let opened = self.open()?;
        let wanted = self.wanted();
        wanted.accept(self.named(), &opened.image)?;
        refuse_text_of(&opened)?;
        if wanted.is_other_format(&opened.image) || !ends_with_a_sector(&opened.image) {
            return Ok(true);
        }
        check_clusters(&opened)?;
        Ok(false)
    }

    /// Creates the image, and reports what it has become.
    ///
    /// # Errors
    ///
    /// Nothing is left, and the source is as it was. [`DiskError::Read`],
    /// [`DiskError::NotAnImage`], [`DiskError::Unsupported`], [`DiskError::Broken`],
    /// [`DiskError::Unpack`], [`DiskError::OtherFormat`], [`DiskError::HasBackingFile`] and
    /// [`DiskError::TooLarge`] are about the source, [`DiskError::NoRoom`],
    /// [`DiskError::AlmostFull`] and [`DiskError::Write`] of the image;
    /// [`DiskError::Changed`] if another process wrote to the source meanwhile.
    pub fn run(mut self) -> Result<Image, DiskError> {
        let destination = Destination::begin(&self.destination)?.leave_free(self.leave_free);
        let named = self.named().to_owned();
        let compression = self.compression()?;
        let wanted = self.wanted();
        let mut converter = Converter::new(&named, wanted, &destination, &mut self.on_progress);
        match compression {
            None => converter.convert(&Opened::of(&named, open_source(&self.source)?)?)?,
            Some((file, kind)) => converter.unpack_and_convert(&file, kind)?,
        }
        destination
            .file()
            .set_permissions(Permissions::from_mode(self.mode))
            .map_err(|error| destination.failed(error))?;
        destination.publish()?;
        tracing::debug!(
            source = %self.source.display(), destination = %self.destination.display(),
            "image created"
        );
        inspect(&self.destination)
    }

    /// How the source is compressed, if it is.
    fn compression(&self) -> Result<Option<(File, Compression)>, DiskError> {
        let unreadable = |source| DiskError::Read { path: self.source.clone(), source };
        let file = open_untouched(&self.source).map_err(unreadable)?;
        // What is no file, as a FIFO or a directory, is reported elsewhere.
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        let read = file.read_at(&mut head, 0).map_err(unreadable)?;
        Ok(Compression::of(&head[..read]).map(|compression| (file, compression)))
    }

    /// The file that errors name.
    fn named(&self) -> &Path {
        self.copy_of.as_deref().unwrap_or(&self.source)
    }

    fn open(&self) -> Result<Opened, DiskError> {
        Opened::of(self.named(), open_source(&self.source)?)
    }

    fn wanted(&self) -> Wanted {
        let (backing_file, most_bytes) = (self.backing_file, self.most_bytes);
        Wanted { format: self.format, backing_file, most_bytes }
    }
}

fn open_source(path: &Path) -> Result<File, DiskError> {
    open_untouched(path).map_err(|source| DiskError::Read { path: path.to_owned(), source })
}

/// Ensures that all data of the image in `path` is there and can be located.
///
/// A raw image that was cut short can't be distinguished from a whole one.
///
/// # Errors
///
/// As [`inspect`], and [`DiskError::Broken`] if a qcow2 ends before its data.
pub fn check(path: &Path) -> Result<Image, DiskError> {
    let opened = Opened::open(path)?;
    check_clusters(&opened)?;
    Ok(opened.image)
}

/// Returns whether the image in `path` has compressed clusters, which only a qcow2 can have, and
/// which not every version of cloud-hypervisor handles. Its backing file is another image.
///
/// All its tables are read: 8 bytes for each cluster of 64 KiB.
///
/// # Errors
///
/// As [`check`].
pub fn has_compressed_clusters(path: &Path) -> Result<bool, DiskError> {
    let opened = Opened::open(path)?;
    match &opened.header {
        Some(header) => Clusters::open(&opened, header)?.has_compressed(),
        None => Ok(false),
    }
}
