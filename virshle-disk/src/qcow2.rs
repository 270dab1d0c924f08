//! The header of a qcow2 image: what is read of it, and what growing it writes.
//!
//! # References
//!
//! QEMU's `docs/interop/qcow2.rst`. All numbers are big-endian.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

use crate::compression::ClusterCompression;

/// The first four bytes.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The bytes that the fixed part of a version 3 header has.
pub(crate) const V3_LENGTH: u32 = 104;
/// The bytes that a version 2 header has.
const V2_LENGTH: u32 = 72;
/// The longest name of a format that is believed, in bytes.
const MAX_FORMAT_NAME: u32 = 16;
/// The longest name of a backing file, in bytes.
pub(crate) const MAX_BACKING_NAME: u32 = 1023;
/// The extension that names the backing file's format.
pub(crate) const BACKING_FORMAT: u32 = 0xe279_2aca;
/// The largest virtual disk that is believed: far beyond what filesystems hold.
const MAX_SIZE: u64 = 1 << 56;

/// What is refused with its own advice.
pub(crate) const ENCRYPTED: &str = "an encrypted qcow2";
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
/// Dirty, corrupt, data file, compression type, extended L2.
const INCOMPATIBLE_KNOWN: u64 = 0b1_1111;
/// Where the bits are that a writer clears unless it keeps up what they stand for.
const AUTOCLEAR_AT: usize = 88;

/// The fields of the header that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) cluster_bits: u32,
    pub(crate) size_bytes: u64,
    pub(crate) l1_entries: u32,
    pub(crate) l1_offset: u64,
    pub(crate) snapshots: u32,
    pub(crate) backing_file: Option<OsString>,
    /// The format of the backing file, if the header has it.
    pub(crate) backing_format: Option<String>,
    pub(crate) compression: ClusterCompression,
    incompatible: u64,
    autoclear: u64,
    encrypted: bool,
}

/// Why an image can't be used although it is a qcow2.
#[derive(Debug)]
pub(crate) enum Refusal {
    Io(io::Error),
    Broken(String),
    Unsupported(&'static str),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Broken("it ends within its header".into())
        } else {
            Self::Io(error)
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map_or(0, u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    part.map_or(0, u64::from_be_bytes)
}

impl Header {
    /// Reads the header of `file`, which begins with [`MAGIC`].
    pub(crate) fn read(file: &File) -> Result<Self, Refusal> {
        let mut fixed = [0; V3_LENGTH as usize];
        // Version 2 ends after 72 bytes; the clusters behind it make every real file longer.
        file.read_exact_at(&mut fixed, 0)?;
        let broken = |reason: &str| Err(Refusal::Broken(reason.to_owned()));
        let version = u32_at(&fixed, 4);
        match version {
            1 => return Err(Refusal::Unsupported("a qcow of version 1")),
            2 | 3 => {}
            _ => return Err(Refusal::Unsupported("a qcow2 of an unknown version")),
        }
        let cluster_bits = u32_at(&fixed, 20);
        if !(9..=21).contains(&cluster_bits) {
            return broken("its clusters have no valid size");
        }
        let size_bytes = u64_at(&fixed, 24);
        if size_bytes > MAX_SIZE {
            return broken("its size is beyond all bounds");
        }
        let backing_file = match (u64_at(&fixed, 8), u32_at(&fixed, 16)) {
            (0, _) => None,
            (_, length) if length > MAX_BACKING_NAME => {
                return broken("the name of its backing file is too long");
            }
            (offset, _) if offset >= 1 << cluster_bits => {
                return broken("the name of its backing file is outside of its header");
            }
            (offset, length) => {
                let mut name = vec![0; length as usize];
                file.read_exact_at(&mut name, offset)?;
                Some(OsString::from_vec(name))
            }
        };
        let incompatible = if version >= 3 { u64_at(&fixed, 72) } else { 0 };
        let length = if version >= 3 { u32_at(&fixed, 100) } else { V2_LENGTH };
        let header = Self {
            version,
            cluster_bits,
            size_bytes,
            l1_entries: u32_at(&fixed, 36),
            l1_offset: u64_at(&fixed, 40),
            snapshots: u32_at(&fixed, 60),
            backing_format: match &backing_file {
                Some(_) => read_backing_format(file, length, cluster_bits)?,
                None => None,
            },
            backing_file,
            compression: read_compression(file, length, incompatible)?,
            incompatible,
            autoclear: if version >= 3 { u64_at(&fixed, AUTOCLEAR_AT) } else { 0 },
            encrypted: u32_at(&fixed, 32) != 0,
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), Refusal> {
        let unsupported = if self.encrypted {
            ENCRYPTED
        } else if self.incompatible & INCOMPATIBLE_DATA_FILE != 0 {
            "a qcow2 with its data in another file"
        } else if self.incompatible & INCOMPATIBLE_CORRUPT != 0 {
            "a qcow2 that is marked as corrupt"
        } else if self.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0 {
            // Neither its tables are understood here, nor does cloud-hypervisor open it.
            "a qcow2 with extended L2 entries"
        } else if self.incompatible & !INCOMPATIBLE_KNOWN != 0 {
            "a qcow2 with features that are unknown here"
        } else {
            return Ok(());
        };
        Err(Refusal::Unsupported(unsupported))
    }

    /// What one entry of the L1 table covers, in bytes.
    pub(crate) fn l1_reach(&self) -> u64 {
        // An L2 table is a cluster of entries of 8 bytes.
        1 << (2 * self.cluster_bits - 3)
    }

    /// Grows the image in `file` to `size_bytes`, within the clusters that its L1 table has.
    ///
    /// The L1 table is extended first, by empty entries, and only then does the header speak of
    /// them: an image whose growth was interrupted is the old one.
    ///
    /// Persistent bitmaps, which backup programs keep in an image, are for its old size: QEMU opens
    /// no image whose bitmaps have another. As the format asks of a writer that doesn't keep them
    /// up, the bit that vouches for them is cleared before the new size is written.
    pub(crate) fn grow(&self, file: &File, size_bytes: u64) -> Result<(), GrowError> {
        if self.snapshots > 0 {
            return Err(GrowError::Refused("it has snapshots of its own".into()));
        }
        let cluster = 1_u64 << self.cluster_bits;
        let entries = size_bytes.div_ceil(self.l1_reach());
        let had = u64::from(self.l1_entries);
        let room = (had * 8).next_multiple_of(cluster).max(cluster) / 8;
        let Some(new_entries) = u32::try_from(entries).ok().filter(|_| entries <= room) else {
            let most = room.saturating_mul(self.l1_reach());
            return Err(GrowError::Refused(format!(
                "its tables reach no further than {most} bytes"
            )));
        };
        if entries > had {
            // An untrusted header may hold anything: where the table would go has to be a
            // cluster of its own, not that of the header, and within the file.
            let end = self.l1_offset.checked_add(had.max(1) * 8);
            let length = file.metadata()?.len();
            let in_file = end.is_some_and(|end| end <= length);
            if self.l1_offset % cluster != 0 || self.l1_offset < cluster || !in_file {
                return Err(GrowError::Refused("its L1 table is not where one can be".into()));
            }
            let added = usize::try_from((entries - had) * 8).unwrap_or(usize::MAX);
            file.write_all_at(&vec![0; added], self.l1_offset + had * 8)?;
            file.write_all_at(&new_entries.to_be_bytes(), 36)?;
        }
        self.clear_autoclear(file)?;
        file.write_all_at(&size_bytes.to_be_bytes(), 24)?;
        Ok(())
    }

    /// Withdraws what is true only of an image that was not written since.
    fn clear_autoclear(&self, file: &File) -> io::Result<()> {
        if self.autoclear == 0 { Ok(()) } else { file.write_all_at(&[0; 8], AUTOCLEAR_AT as u64) }
    }
}

/// How the clusters are compressed: a byte behind the fixed part, believed if a feature is set.
fn read_compression(
    file: &File,
    header_length: u32,
    incompatible: u64,
) -> Result<ClusterCompression, Refusal> {
    if incompatible & INCOMPATIBLE_COMPRESSION == 0 {
        return Ok(ClusterCompression::Deflate);
    }
    let mut kind = [0];
    if header_length > V3_LENGTH {
        file.read_exact_at(&mut kind, u64::from(V3_LENGTH))?;
    }
    match kind {
        [1] => Ok(ClusterCompression::Zstd),
        [0] => Err(Refusal::Broken("it has no compression, and its header claims one".into())),
        _ => Err(Refusal::Unsupported("a qcow2 whose compression is unknown here")),
    }
}

/// The format of the backing file: an extension of the header, all of which end with its cluster.
fn read_backing_format(
    file: &File,
    header_length: u32,
    cluster_bits: u32,
) -> Result<Option<String>, Refusal> {
    let mut at = u64::from(header_length);
    let mut head = [0; 8];
    while at + 8 <= 1 << cluster_bits {
        file.read_exact_at(&mut head, at)?;
        let (kind, length) = (u32_at(&head, 0), u32_at(&head, 4));
        match kind {
            0 => return Ok(None),
            BACKING_FORMAT if length <= MAX_FORMAT_NAME => {
                let mut name = vec![0; length as usize];
                file.read_exact_at(&mut name, at + 8)?;
                return Ok(String::from_utf8(name).ok());
            }
            BACKING_FORMAT => return Err(Refusal::Broken("a format has an endless name".into())),
            _ => at += 8 + u64::from(length).next_multiple_of(8),
        }
    }
    Ok(None)
}

/// Why an image was not grown.
#[derive(Debug)]
pub(crate) enum GrowError {
    Io(io::Error),
    Refused(String),
}

impl From<io::Error> for GrowError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn header() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(10_u64 << 30).to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, Refusal> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Header::read(&file)
    }

    /// Regression: growing a stranger's qcow2 wrote over its header; found by fuzzing (beee360).
    #[test]
    fn a_table_with_an_impossible_offset_is_not_extended() {
        for offset in [0, 8, 1 << 9, 1 << 16, u64::MAX - 7, u64::MAX << 16] {
            let mut bytes = header();
            bytes[40..48].copy_from_slice(&offset.to_be_bytes());
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let grown = Header::read(&file).unwrap().grow(&file, 20 << 30);
            assert!(matches!(grown, Err(GrowError::Refused(_))), "{offset}");
            let mut after = vec![0; bytes.len()];
            file.read_exact_at(&mut after, 0).unwrap();
            assert_eq!(after, bytes, "{offset}");
        }
    }

    #[test]
    fn the_size_is_read_from_the_header() {
        assert_eq!(read(&header()).unwrap().size_bytes, 10 << 30);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (at, value, word) in
            [(32, 1_u32, "encrypted"), (76, 4, "another file"), (4, 1, "version 1")]
        {
            let mut bytes = header();
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            let Err(Refusal::Unsupported(what)) = read(&bytes) else { panic!("{word}") };
            assert!(what.contains(word), "{what}");
        }
    }

    #[test]
    fn no_header_causes_a_panic() {
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = header();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(seed >> 40).unwrap() % 112;
                bytes[at] = seed.to_be_bytes()[3];
            }
            drop(read(&bytes[..if seed % 7 == 0 { 90 } else { 4096 }]));
        }
    }
}
