//! What is to be imported, and how.

use std::time::Duration;

use virshle_disk::BackingFile;

use crate::checksum::Checksum;
use crate::error::ImageError;
use crate::name::ImageName;
use crate::source::ImportSource;
use crate::url::is_https;

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
    pub(crate) most_bytes: Option<u64>,
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
            most_bytes: None,
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

    /// Sets how large the image may be at most, in bytes: what its guest sees, what is downloaded, and
    /// what is decompressed. Any size that leaves a twentieth of the filesystem free, if unset.
    pub fn most_bytes(mut self, most_bytes: u64) -> Self {
        self.most_bytes = Some(most_bytes);
        self
    }

    /// Returns whether the image's bytes are compared with a checksum that no one on the way from a
    /// server can have written: the caller's own, or that of a list that is a file or comes by `https:`.
    pub fn is_verified(&self) -> bool {
        match &self.expected {
            None => false,
            Some(Expected::Listed(ImportSource::Url(url))) => is_https(url),
            Some(Expected::Checksum(_) | Expected::Listed(ImportSource::File(_))) => true,
        }
    }

    /// Returns whether anyone on the way from a server can have changed the image unnoticed: it, or the
    /// list of its checksum, comes by `http:`.
    pub fn is_open_to_change(&self) -> bool {
        let is_plain = |source: &ImportSource| match source {
            ImportSource::Url(url) => !is_https(url),
            ImportSource::File(_) => false,
        };
        !self.is_verified() && is_plain(&self.source)
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
