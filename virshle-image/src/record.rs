//! What is known of an image in the cache beside its content: where it came from.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ImageError;
use crate::fs::{read_text, replace};
use crate::name::ImageName;

/// The prefix of a record's file: no image has such a name.
const PREFIX: &str = ".record-";
/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 64 << 10;

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The URL, or the absolute path.
    pub(crate) source: String,
    /// Of the bytes as they were downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// Whether that was compared with one that could be relied on; unknown of an image that an earlier
    /// version imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<bool>,
    /// When: RFC 3339, UTC.
    pub(crate) imported: String,
}

/// The record of an image: a file of its own in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) origin: Origin,
    /// The image that this record is of: it is not valid for another one of that name.
    size_bytes: u64,
    modified: i64,
    modified_nanoseconds: i64,
}

impl Record {
    /// The record of the image whose file has this `metadata`.
    pub(crate) fn new(origin: Origin, metadata: &Metadata) -> Self {
        Self {
            origin,
            size_bytes: metadata.len(),
            modified: metadata.mtime(),
            modified_nanoseconds: metadata.mtime_nsec(),
        }
    }

    fn path(cache: &Path, name: &ImageName) -> PathBuf {
        cache.join(format!("{PREFIX}{name}.toml"))
    }

    /// The record of the image `name` in `cache`, if there is one, and it is of that image.
    pub(crate) fn read(cache: &Path, name: &ImageName, metadata: &Metadata) -> Option<Self> {
        let text = read_text(&Self::path(cache, name), MAX_RECORD).ok()?;
        let record: Self = toml::from_str(&text).ok()?;
        let of = |record: &Self| (record.size_bytes, record.modified, record.modified_nanoseconds);
        (of(&record) == (metadata.len(), metadata.mtime(), metadata.mtime_nsec())).then_some(record)
    }

    pub(crate) fn write(&self, cache: &Path, name: &ImageName) -> Result<(), ImageError> {
        let path = Self::path(cache, name);
        match toml::to_string(self) {
            Ok(text) => {
                replace(&path, text.as_bytes()).map_err(|source| ImageError::Write { path, source })
            }
            Err(source) => Err(ImageError::Encode { path, source }),
        }
    }

    /// Removes the record of `name`, if there is one.
    pub(crate) fn remove(cache: &Path, name: &ImageName) {
        // One that stays is valid for no image, and replaced by the next of that name.
        drop(std::fs::remove_file(Self::path(cache, name)));
    }
}
