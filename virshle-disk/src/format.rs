//! Formats of images, recognised by content and never by a file's name.

use std::fmt;
use std::str::FromStr;

/// A format that disks can have.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new format, so adding one
/// is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes of the disk, one after the other.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Qcow2];

    /// The format's name as in `qemu-img`, which [`FromStr`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A name that no [`Format`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown disk format {word:?}: expected raw or qcow2")]
pub struct UnknownFormat {
    /// The name.
    pub word: String,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == word)
            .ok_or_else(|| UnknownFormat { word: word.to_owned() })
    }
}

/// A format that would be taken for a raw disk of garbage, by the first bytes of its file.
///
/// # References
///
/// The magic numbers of file(1).
pub(crate) fn foreign(head: &[u8]) -> Option<(&'static str, Foreign)> {
    let signatures: [(usize, &[u8], &str, Foreign); 15] = [
        (0, b"conectix", "a VHD", Foreign::Convert),
        (0, b"vhdxfile", "a VHDX", Foreign::Convert),
        (0, b"KDMV", "a VMDK", Foreign::Convert),
        (0, b"# Disk DescriptorFile", "a VMDK", Foreign::Convert),
        (0, b"QED\0", "a QED", Foreign::Convert),
        (0x40, &[0x7f, 0x10, 0xda, 0xbe], "a VDI", Foreign::Convert),
        (0, &[0x1f, 0x8b, 0x08], "compressed with gzip", Foreign::Unpack("gunzip")),
        (0, b"\xfd7zXZ\0", "compressed with xz", Foreign::Unpack("unxz")),
        (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd", Foreign::Unpack("unzstd")),
        (0, b"BZh", "compressed with bzip2", Foreign::Unpack("bunzip2")),
        (0, b"PK\x03\x04", "a ZIP archive", Foreign::Unpack("unzip")),
        (0, b"<!DOCTYPE html", "a web page", Foreign::Fetch),
        (0, b"<!doctype html", "a web page", Foreign::Fetch),
        (0, b"<html", "a web page", Foreign::Fetch),
        (0x101, b"ustar", "a tar archive", Foreign::Unpack("tar")),
    ];
    signatures
        .into_iter()
        .find(|(at, magic, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
        .map(|(.., what, way)| (what, way))
}

/// How a foreign image is made usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// By conversion.
    Convert,
    /// It isn't: it came in the place of one.
    Fetch,
    /// By a program that unpacks it.
    Unpack(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let error = "qcow".parse::<Format>().unwrap_err();
        assert_eq!(error, UnknownFormat { word: "qcow".into() });
        assert_eq!(error.to_string(), "unknown disk format \"qcow\": expected raw or qcow2");
    }

    #[test]
    fn foreign_images_are_recognised_by_content() {
        assert_eq!(foreign(b"vhdxfile...").map(|found| found.0), Some("a VHDX"));
        assert_eq!(foreign(b"\x1f\x8b\x08\0").map(|found| found.0), Some("compressed with gzip"));
        let mut vdi = vec![0; 512];
        vdi[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        assert_eq!(foreign(&vdi).map(|found| found.0), Some("a VDI"));
        assert_eq!(foreign(&[0; 512]), None);
        assert_eq!(foreign(b""), None);
    }
}
