//! What is in a cache, as listings show it.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::ImageError;

/// An image of the cache, as programs get it. Fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageInfo {
    /// The name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// `raw` or `qcow2`, detected by content.
    pub format: String,
    /// The size that a guest sees, in bytes.
    pub size: u64,
    /// The room it takes on its filesystem, in bytes.
    pub allocated: u64,
    /// The URL or the file it was imported from.
    pub source: Option<String>,
    /// The SHA-256 of the bytes as they were downloaded.
    pub sha256: Option<String>,
    /// Whether that was compared with a checksum that could be relied on; `null` if that isn't known, as
    /// of a file that was put here or that an earlier version imported.
    pub verified: Option<bool>,
    /// When it was imported: RFC 3339, UTC.
    pub imported: Option<String>,
    /// What depends on it, and could not be read without: machines, other images.
    pub overlays: Vec<String>,
}

/// An interrupted download. The same import resumes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnfinishedImport {
    /// The name of the image that it is to become.
    pub name: String,
    /// The URL it comes from.
    pub source: String,
    /// The bytes that are there.
    pub done: u64,
    /// The length of the file, in bytes, if the server sent it.
    pub total: Option<u64>,
}

/// What is in the cache.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ImageListing {
    /// The images, by name.
    pub images: Vec<ImageInfo>,
    /// Why files can't be images, or can't be read.
    pub broken: Vec<ImageError>,
    /// Interrupted downloads, by name.
    pub unfinished: Vec<UnfinishedImport>,
}
