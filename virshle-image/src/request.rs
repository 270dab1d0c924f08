//! What is to be imported, and how.

use std::time::Duration;

use virshle_disk::BackingFile;

use crate::checksum::Checksum;
use crate::error::ImageError;
use crate::name::ImageName;
use crate::source::ImportSource;

/// The format in which an image is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImportFormat {
    /// Raw: a qcow2 is converted.
    #[default]
    Raw,
    /// As a qcow2, which it must be.
    Qcow2,
    /// Unchanged.
    Keep,
}

/// The checksum that an image's bytes must have, as they are downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// This checksum.
    Checksum(Checksum),
    /// The checksum that a list has for the file's name.
    Listed(ImportSource),
}

/// A request to import an image.
#[derive(Clone, Debug)]
#[must_use = "`ImageCache::import` executes it"]
pub struct ImportRequest {
    pub(crate) source: ImportSource,
    pub(crate) name: Option<ImageName>,
    pub(crate) format: ImportFormat,
    pub(crate) expected: Option<Expected>,
    pub(crate) backing_file: BackingFile,
    pub(crate) silence: Duration,
}

/// How long a server may be silent if the caller doesn't set it.
const SILENCE: Duration = Duration::from_secs(60);

impl ImportRequest {
    /// Asks for the image at `source`.
    pub fn new(source: ImportSource) -> Self {
        Self {
            source,
            name: None,
            format: ImportFormat::default(),
            expected: None,
            backing_file: BackingFile::Refuse,
            silence: SILENCE,
        }
    }

    /// Sets the image's name; otherwise it is its file's, without the suffixes.
    pub fn name(mut self, name: ImageName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the format in which it is stored.
    pub fn format(mut self, format: ImportFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the checksum that its bytes must have.
    pub fn expected(mut self, expected: Expected) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Sets whether a qcow2 of this host may have a backing file: it can be read from both and
    /// become raw. A downloaded one is refused in any case.
    pub fn backing_file(mut self, backing_file: BackingFile) -> Self {
        self.backing_file = backing_file;
        self
    }

    /// Sets how long a server may be silent: 60 seconds if unset.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The name that was set, or that of the file.
    pub(crate) fn chosen_name(&self) -> Result<ImageName, ImageError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let file = self.source.file_name();
        ImageName::of_file(&file).map_err(|source| ImageError::ImageName { name: file, source })
    }
}
