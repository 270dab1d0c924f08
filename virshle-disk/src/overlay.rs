//! Overlays: a qcow2 with an image as its backing file, which holds only what its machine has
//! written.
//!
//! # References
//!
//! QEMU's `docs/interop/qcow2.rst`.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Format;
use crate::qcow2::{BACKING_FORMAT, MAGIC, MAX_BACKING_NAME, V3_LENGTH};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one entry of the L1 table covers: a cluster of entries of 8 bytes, each a cluster.
const L1_REACH: u64 = CLUSTER * CLUSTER / 8;
/// Refcounts have 16 bits: their binary logarithm.
const REFCOUNT_ORDER: u32 = 4;
/// What one cluster of refcounts counts: that many clusters are enough for any L1 table here.
const COUNTED: u64 = CLUSTER / 2;
/// The clusters of header, refcount table and refcount block.
const FIXED: u64 = 3;

/// Writes an empty qcow2 of `size_bytes` on top of `backing` into the empty `file`.
pub(crate) fn write(
    file: &File,
    backing: &Path,
    backing_format: Format,
    size_bytes: u64,
) -> io::Result<()> {
    let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "too large for an overlay");
    let name = backing.as_os_str().as_bytes();
    let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    if name_length > MAX_BACKING_NAME {
        let message = "the path of the image is longer than a qcow2 can hold";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let l1_entries = u32::try_from(size_bytes.div_ceil(L1_REACH)).map_err(|_| too_large())?;
    let l1_clusters = (u64::from(l1_entries) * 8).div_ceil(CLUSTER).max(1);
    let clusters = FIXED + l1_clusters;
    if clusters > COUNTED {
        return Err(too_large());
    }

    let format = backing_format.to_string();
    let mut extensions = Vec::new();
    extensions.extend(BACKING_FORMAT.to_be_bytes());
    extensions.extend(u32::try_from(format.len()).unwrap_or_default().to_be_bytes());
    extensions.extend(format.as_bytes());
    // Each is padded to 8 bytes; one of type and length 0 ends them.
    extensions.resize(extensions.len().next_multiple_of(8) + 8, 0);
    let name_at = u64::from(V3_LENGTH) + extensions.len() as u64;

    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(3_u32.to_be_bytes());
    header.extend(name_at.to_be_bytes());
    header.extend(name_length.to_be_bytes());
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size_bytes.to_be_bytes());
    header.extend(0_u32.to_be_bytes()); // no encryption
    header.extend(l1_entries.to_be_bytes());
    header.extend((FIXED * CLUSTER).to_be_bytes());
    header.extend(CLUSTER.to_be_bytes()); // the refcount table
    header.extend(1_u32.to_be_bytes()); // and its clusters
    header.extend(0_u32.to_be_bytes()); // no snapshots,
    header.extend(0_u64.to_be_bytes()); // and no table of them
    header.extend([0; 24]); // no features
    header.extend(REFCOUNT_ORDER.to_be_bytes());
    header.extend(V3_LENGTH.to_be_bytes());
    header.extend(extensions);
    header.extend(name);

    let refcounts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.set_len(clusters * CLUSTER)?;
    file.write_all_at(&header, 0)?;
    file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
    file.write_all_at(&refcounts, 2 * CLUSTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qcow2::Header;

    #[test]
    fn the_header_holds_what_was_asked_for() {
        let file = tempfile::tempfile().unwrap();
        write(&file, Path::new("/images/a.raw"), Format::Raw, 50 << 30).unwrap();
        let header = Header::read(&file).unwrap();
        assert_eq!(header.size_bytes, 50 << 30);
        assert_eq!(header.backing_file.as_deref(), Some("/images/a.raw".as_ref()));
        assert_eq!((header.version, header.l1_entries), (3, 100));
    }

    #[test]
    fn what_a_qcow2_cannot_hold_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let long = "/a".repeat(600);
        assert!(write(&file, Path::new(&long), Format::Raw, 1 << 30).is_err());
        assert!(write(&file, Path::new("/a"), Format::Raw, u64::MAX).is_err());
    }
}
