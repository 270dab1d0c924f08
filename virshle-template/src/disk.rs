//! `[[template.vm.disk]]`: a disk, and where it comes from.

use std::path::PathBuf;

use serde::Serialize;

use crate::ByteSize;
use crate::name;
use crate::section::{Placed, Section};

/// `[[template.vm.disk]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskTemplate {
    /// The name, unique in the template.
    pub name: String,
    /// The image it is a private copy of.
    #[serde(rename = "path")]
    pub source: Option<PathBuf>,
    /// The name of the image in the node's cache it is a private copy of.
    pub image: Option<String>,
    /// Its size; the image's own if unset.
    pub size: Option<ByteSize>,
    /// How the copy is made.
    pub clone: CloneMode,
    /// The guest can't write to it.
    pub readonly: bool,
}

/// How the private copy of an image is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CloneMode {
    /// As a reflink if the filesystem can, else as a sparse copy.
    #[default]
    Auto,
    /// As a reflink, or not at all.
    Reflink,
    /// As a sparse copy.
    Copy,
    /// As a qcow2 on top of the image.
    Overlay,
}

const MODES: [(&str, CloneMode); 4] = [
    ("auto", CloneMode::Auto),
    ("reflink", CloneMode::Reflink),
    ("copy", CloneMode::Copy),
    ("overlay", CloneMode::Overlay),
];

/// The smallest disk, in bytes: one sector.
const SECTOR: u64 = 512;

impl DiskTemplate {
    pub(crate) fn read(section: Section<'_>) -> (Self, Placed<String>) {
        let name = name::read(&section);
        let source = section.path("path");
        let image = section.string("image");
        let size = section.size("size");
        let clone = section.word("clone", &MODES);
        let (has_path, has_image) = (section.has("path"), section.has("image"));
        if has_path && let Some(image) = &image {
            section.wrong(
                image.span.clone(),
                "a disk comes from a path or from an image, not from both",
                "leave one of them away",
            );
        }
        if !has_path && !has_image && !section.has("size") {
            section.wrong(
                section.span.clone(),
                format!("disk {:?} has neither an image nor a size", name.value),
                "add path = \"image.raw\", or size = \"20G\" for an empty disk",
            );
        }
        if !has_path && !has_image && section.has("clone") {
            section.wrong(section.span.clone(), "an empty disk is no clone", "leave clone away");
        }
        if let Some(size) = &size {
            let bytes = size.value.bytes();
            if bytes < SECTOR || !bytes.is_multiple_of(SECTOR) {
                section.wrong(
                    size.span.clone(),
                    "a disk is made of sectors of 512 bytes",
                    "expected a multiple of 512 bytes",
                );
            }
        }
        let disk = Self {
            name: name.value.clone(),
            source,
            image: image.map(|image| image.value.to_owned()),
            size: size.map(|size| size.value),
            clone: clone.unwrap_or_default(),
            readonly: section.boolean("readonly").unwrap_or(false),
        };
        section.finish();
        (disk, name)
    }
}
