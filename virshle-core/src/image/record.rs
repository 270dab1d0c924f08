//! What is known of an image in the cache beside its content: where it came from.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImageName;
use crate::error::CoreError;
use crate::store::{Sync, replace};

/// What begins the name of a record's file: no image is called like that.
pub(crate) const PREFIX: &str = ".record-";

/// Where an image came from. It is a file of its own in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The URL, or the absolute path.
    pub(crate) source: String,
    /// Of the bytes as they were downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// When: RFC 3339, UTC.
    pub(crate) imported: String,
    /// The image this is of: another one of that name is none of its business.
    size_bytes: u64,
    modified: i64,
    modified_nanoseconds: i64,
}

impl Record {
    /// The record of the image whose file is as `metadata` says.
    pub(crate) fn new(
        source: String,
        sha256: Option<String>,
        imported: String,
        metadata: &Metadata,
    ) -> Self {
        Self {
            source,
            sha256,
            imported,
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
        let text = std::fs::read_to_string(Self::path(cache, name)).ok()?;
        let record: Self = toml::from_str(&text).ok()?;
        let of = |record: &Self| (record.size_bytes, record.modified, record.modified_nanoseconds);
        (of(&record) == (metadata.len(), metadata.mtime(), metadata.mtime_nsec())).then_some(record)
    }

    pub(crate) fn write(&self, cache: &Path, name: &ImageName) -> Result<(), CoreError> {
        let text = toml::to_string(self).map_err(|source| CoreError::Encode { source })?;
        replace(&Self::path(cache, name), text.as_bytes(), Sync::Yes)
    }

    /// Removes the record of `name`, if there is one.
    pub(crate) fn remove(cache: &Path, name: &ImageName) {
        // One that stays is of no image, and replaced by the next of that name.
        drop(std::fs::remove_file(Self::path(cache, name)));
    }
}
