//! `[[template.vm.disk]]`: a disk, and where it comes from.

use std::path::PathBuf;

use serde::Serialize;

use crate::ByteSize;
use crate::name::{self, Names};
use crate::section::{Placed, Section};
use crate::vcpus::Vcpus;

/// `[[template.vm.disk]]`: a private copy of an image, or a new, empty disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskTemplate {
    /// The name, unique in the template.
    pub name: String,
    /// The image it is a private copy of. There is none if `image` is set, or if the disk is a
    /// new, empty one.
    #[serde(rename = "path")]
    pub source: Option<PathBuf>,
    /// The image it is a private copy of: by its name in the node's cache, or by what the catalogue calls
    /// it, as `debian:13`.
    pub image: Option<String>,
    /// Its size, in whole sectors of 512 bytes; the image's own if unset. An empty disk has one.
    pub size: Option<ByteSize>,
    /// How the copy is created.
    pub clone: CloneMode,
    /// The guest can't write to it.
    pub readonly: bool,
    /// How many queues it has; as many as the machine has vCPUs, up to 8, if unset.
    pub queues: Option<u16>,
}

/// How the private copy of an image is created.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new mode, so adding one is
/// a breaking change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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

/// What a disk is made of, in bytes.
const SECTOR: u64 = 512;
/// The largest file there can be, in bytes (`loff_t`), in whole sectors.
const MOST: u64 = (1 << 63) - SECTOR;

impl DiskTemplate {
    /// The disks of `template`. What is noted as wrong holds a value all the same.
    pub(crate) fn read_all(template: &Section<'_>, boot_vcpus: Option<u32>) -> Vec<Self> {
        let mut names = Names::default();
        let sections = template.sections("disk", "template.vm.disk");
        sections.into_iter().map(|section| Self::read(section, &mut names, boot_vcpus)).collect()
    }

    fn read(section: Section<'_>, names: &mut Names, boot_vcpus: Option<u32>) -> Self {
        let name = name::read(&section, "name = \"os\"");
        names.add(&section, "disk", &name);
        let source = section.path("path");
        let image = section.string("image");
        if let Some(image) = &image {
            name::check_reference(&section, image);
        }
        let size = section.size("size");
        if let Some(size) = &size {
            check_size(&section, size);
        }
        let clone = section.word("clone", &MODES).unwrap_or_default();
        check_origin(&section);
        let disk = Self {
            name: name.value,
            source,
            image: image.map(|image| image.value.to_owned()),
            size: size.map(|size| size.value),
            clone,
            readonly: section.boolean("readonly").unwrap_or(false),
            queues: Vcpus::read_queues(&section, boot_vcpus),
        };
        section.finish();
        disk
    }
}

fn check_origin(section: &Section<'_>) {
    match (section.has("path"), section.has("image")) {
        (true, true) => section.wrong(
            section.span_of("image"),
            "a disk is a copy of a path or of an image, not of both",
            "leave one of them away",
        ),
        (false, false) if !section.has("size") => section.source.lacks(
            section.span.clone(),
            "a disk without a path and without a size",
            "add path = \"…\" for a copy, or size = \"20G\" for a new, empty disk",
        ),
        (false, false) if section.has("clone") => section.source.lacks(
            section.span_of("clone"),
            "a new, empty disk is not a copy of anything",
            "add path = \"…\", or leave clone away",
        ),
        _ => {}
    }
}

fn check_size(section: &Section<'_>, size: &Placed<ByteSize>) {
    let bytes = size.value.bytes();
    if !(SECTOR..=MOST).contains(&bytes) {
        let message = format!("{} is no size of a disk", size.value);
        section.wrong(size.span.clone(), message, "expected 512 B to 8191 PiB");
    } else if bytes % SECTOR != 0 {
        let message = format!("{} is not a multiple of the sector size", size.value);
        let help = "expected a multiple of 512 bytes; a number without a unit is bytes";
        section.wrong(size.span.clone(), message, help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    fn all(section: &Section<'_>) -> Option<Vec<DiskTemplate>> {
        Some(DiskTemplate::read_all(section, Some(4)))
    }

    #[test]
    fn a_disk_is_a_copy_or_empty() {
        let disks = read(
            "[[disk]]\nname = 'os'\npath = '~/a.img'\nclone = 'copy'\n\
             [[disk]]\nname = 'cached'\nimage = 'debian-13'\nreadonly = true\n\
             [[disk]]\nname = 'data'\nsize = '512'\nqueues = 4",
            all,
        )
        .unwrap();
        assert_eq!(disks[0].source, Some("/home/a/a.img".into()));
        assert_eq!((disks[0].clone, disks[0].size), (CloneMode::Copy, None));
        assert_eq!((disks[1].image.as_deref(), disks[1].readonly), (Some("debian-13"), true));
        assert_eq!((disks[0].queues, disks[2].queues), (None, Some(4)));
        assert_eq!(disks[2].size, Some(ByteSize::from_bytes(512)));
        assert_eq!((&disks[2].source, &disks[2].image), (&None, &None));
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        for (text, message) in [
            ("", "a disk without a path and without a size"),
            ("size = '1G'\nclone = 'overlay'", "a new, empty disk is not a copy of anything"),
            ("path = 'a'\nimage = 'b'", "a disk is a copy of a path or of an image, not of both"),
            ("image = '../b'", "\"../b\" cannot be a name: it has '/'"),
            ("size = 50", "\"size\" is a whole number"),
            ("size = '50'", "50 B is no size of a disk"),
            ("size = '1G'\nqueues = 0", "\"queues\" is out of range"),
            ("size = '1G'\nqueues = 65", "\"queues\" is out of range"),
            ("size = '1G'\nqueues = 5", "5 queues for 4 vCPUs"),
            ("size = '1G'\nqueues = '2'", "\"queues\" is a text"),
            ("size = '1000'", "1000 B is not a multiple of the sector size"),
            ("size = '8192P'", "8192 PiB is no size of a disk"),
            ("size = '16384P'", "\"16384P\" is more than can be counted"),
            ("size = '50X'", "\"X\" is not a unit of size"),
            (
                "path = '~other/a'",
                "\"~other/a\" is no path: the home of another user is not looked up, write it out",
            ),
            ("path = 'a'\nclone = 'cow'", "unknown clone \"cow\""),
            (
                "path = 'a'\nclone = 'reflnik'",
                "unknown clone \"reflnik\", did you mean \"reflink\"?",
            ),
        ] {
            let text = format!("[[disk]]\nname = 'os'\n{text}");
            assert_eq!(mistakes(&text, all), [message], "{text}");
        }
        let twice = "disk = [{name = 'a', size = '1G'}, {name = 'a', size = '1G'}]";
        assert_eq!(mistakes(twice, all), ["a second disk with the name \"a\""]);
        assert_eq!(mistakes("disk = 3", all), ["\"disk\" is a whole number"]);
        assert_eq!(mistakes("disk = [3]", all), ["\"disk\" is a whole number"]);
        assert_eq!(mistakes("disk = [{size = '1G'}]", all), ["[template.vm.disk] has no \"name\""]);
    }
}
