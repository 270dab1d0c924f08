//! Formats that would be taken for raw disks of garbage, recognised by content.

use crate::compression::{Compression, behind_skippable};

/// How a foreign image is made usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// By conversion.
    Convert,
    /// By conversion, for which the qcow2's password is needed.
    Decrypt,
    /// It isn't: it came in the place of one.
    Fetch,
    /// By a program that unpacks it.
    Unpack(&'static str),
}

/// Where a magic number is, the number, what has it, and what to do with that.
type Signature = (usize, &'static [u8], &'static str, Foreign);

/// What begins with a magic number that no disk begins with by chance.
const SIGNATURES: &[Signature] = &[
    (0, b"conectix", "a VHD", Foreign::Convert),
    (0, b"vhdxfile", "a VHDX", Foreign::Convert),
    (0, b"KDMV", "a VMDK", Foreign::Convert),
    (0, b"COWD", "a VMDK", Foreign::Convert),
    (0, b"# Disk DescriptorFile", "a VMDK", Foreign::Convert),
    (0, b"QED\0", "a QED", Foreign::Convert),
    (0, b"WithoutFreeSpace", "a Parallels disk", Foreign::Convert),
    (0, b"WithouFreSpacExt", "a Parallels disk", Foreign::Convert),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], "a VDI", Foreign::Convert),
    (0, b"MSWIM\0\0\0", "a WIM archive", Foreign::Unpack("wimapply")),
    (0, &[0x3a, 0xff, 0x26, 0xed], "an Android sparse image", Foreign::Unpack("simg2img")),
    (0, b"partclone-image", "a partclone image", Foreign::Unpack("partclone.restore")),
    (0, b"BZh", "compressed with bzip2", Foreign::Unpack("bunzip2")),
    (0, &[0x04, 0x22, 0x4d, 0x18], "compressed with lz4", Foreign::Unpack("unlz4")),
    (0, &[0x02, 0x21, 0x4c, 0x18], "compressed with lz4", Foreign::Unpack("unlz4")),
    (0, b"LZIP", "compressed with lzip", Foreign::Unpack("lzip -d")),
    (0, b"\x89LZO\0\r\n\x1a\n", "compressed with lzop", Foreign::Unpack("lzop -d")),
    (0, b"LRZI", "compressed with lrzip", Foreign::Unpack("lrunzip")),
    (0, b"BZ3v1", "compressed with bzip3", Foreign::Unpack("bunzip3")),
    (0, &[0x1f, 0x9d], "compressed with compress", Foreign::Unpack("uncompress")),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", Foreign::Unpack("7z x")),
    (0, b"Rar!\x1a\x07", "a RAR archive", Foreign::Unpack("unrar")),
    (0, b"PK\x03\x04", "a ZIP archive", Foreign::Unpack("unzip")),
    (0, b"PK\x05\x06", "an empty ZIP archive", Foreign::Fetch),
    (0, b"!<arch>\n", "an ar archive or a package", Foreign::Unpack("ar x")),
    (0, b"\xed\xab\xee\xdb", "an RPM package", Foreign::Unpack("rpm2cpio")),
    (0, b"070701", "a cpio archive", Foreign::Unpack("cpio -i")),
    (0, b"070702", "a cpio archive", Foreign::Unpack("cpio -i")),
    (0x101, b"ustar", "a tar archive", Foreign::Unpack("tar")),
    (0, b"<!DOCTYPE html", "a web page", Foreign::Fetch),
    (0, b"<!doctype html", "a web page", Foreign::Fetch),
    (0, b"<html", "a web page", Foreign::Fetch),
];

/// What an image is that begins with `head`, if it is neither raw nor a qcow2.
///
/// # References
///
/// The magic numbers of file(1).
pub(crate) fn foreign(head: &[u8]) -> Option<(&'static str, Foreign)> {
    match Compression::of(head) {
        Some(Compression::Gzip) => {
            return Some(("compressed with gzip", Foreign::Unpack("gunzip")));
        }
        Some(Compression::Xz) => return Some(("compressed with xz", Foreign::Unpack("unxz"))),
        Some(Compression::Zstd) => {
            return Some(("compressed with zstd", Foreign::Unpack("unzstd")));
        }
        None => {}
    }
    if is_lzma(head) {
        return Some(("compressed with lzma", Foreign::Unpack("unlzma")));
    }
    // An lz4 may begin with frames that a decoder skips.
    let head = behind_skippable(head);
    SIGNATURES
        .iter()
        .find(|(at, magic, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
        .map(|(_, _, what, way)| (*what, *way))
}

/// What an image is that ends with `foot`, of 512 bytes, if it is neither raw nor a qcow2.
///
/// A VHD of fixed size is a raw disk with such a footer behind it, a DMG is anything.
pub(crate) fn foreign_by_foot(foot: &[u8]) -> Option<(&'static str, Foreign)> {
    if foot.starts_with(b"conectix") {
        Some(("a VHD", Foreign::Convert))
    } else if foot.starts_with(b"koly\0\0\0\x04\0\0\x02\0") {
        Some(("a DMG", Foreign::Convert))
    } else {
        None
    }
}

/// Whether a file that begins with `head` is in the format that lzma(1) had before xz. It has no
/// magic number: it is known by its usual properties, a dictionary whose size is of the two kinds
/// that are made, a length that is unknown or below 256 GiB, and a first byte that is always 0.
///
/// # References
///
/// XZ Utils' `lzma-file-format.txt`.
fn is_lzma(head: &[u8]) -> bool {
    let [0x5d, a, b, c, d, length @ .., 0] = head.get(..14).unwrap_or_default() else {
        return false;
    };
    let dictionary = u32::from_le_bytes([*a, *b, *c, *d]);
    let bits = dictionary.count_ones();
    let is_made = dictionary >= 1 << 12
        && (bits == 1 || bits == 2 && dictionary & (dictionary >> 1) != 0 || bits == u32::BITS);
    let length = length.iter().rev().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    is_made && (length == u64::MAX || length < 1 << 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_images_are_recognised_by_content() {
        let what = |head: &[u8]| foreign(head).map(|(what, _)| what);
        assert_eq!(what(b"vhdxfile..."), Some("a VHDX"));
        assert_eq!(what(b"\x1f\x8b\x08\0"), Some("compressed with gzip"));
        let lz4 = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9, 0x04, 0x22, 0x4d, 0x18];
        assert_eq!(what(&lz4), Some("compressed with lz4"));
        let mut vdi = vec![0; 512];
        vdi[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        assert_eq!(what(&vdi), Some("a VDI"));
        assert_eq!(what(&[0; 512]), None);
        assert_eq!(what(b""), None);
    }

    #[test]
    fn a_byte_like_lzmas_alone_is_no_lzma() {
        let lzma = [&[0x5d, 0, 0, 0x80, 0][..], &[0xff; 8], &[0, 1]].concat();
        assert!(is_lzma(&lzma));
        for (at, byte) in [(0, 0x5c), (1, 1), (4, 3), (12, 0xfe), (13, 1)] {
            let mut other = lzma.clone();
            other[at] = byte;
            assert!(!is_lzma(&other), "{at}");
        }
        assert!(!is_lzma(&lzma[..13]));
    }
}
