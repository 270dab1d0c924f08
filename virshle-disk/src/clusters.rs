//! The clusters of a qcow2: where each is in its file.
//!
//! # References
//!
//! QEMU's `docs/interop/qcow2.rst`, "Cluster mapping". All numbers are big-endian.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::DiskError;
use crate::image::{Opened, refused};
use crate::qcow2::{Header, Refusal};

/// The bits of a table's entry that are an offset in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// The largest L1 table that QEMU reads, in entries: 32 MiB of them.
const MAX_L1_ENTRIES: u64 = (32 << 20) / 8;
/// What the length of a compressed cluster is counted in.
const SECTOR: u64 = 512;

/// Where a cluster of the guest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it is what the backing file has, or zeros.
    Unallocated,
    /// Nowhere: it is zeros, whatever the backing file has.
    Zeros,
    /// At this offset, as it is.
    Plain(u64),
    /// At this offset, compressed into at most so many bytes.
    Compressed(u64, usize),
}

/// A cluster of the guest that the image has an entry for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Where the guest sees it.
    pub(crate) guest_offset: u64,
    pub(crate) place: Place,
}

/// The tables of an image.
#[derive(Debug)]
pub(crate) struct Clusters<'a> {
    path: &'a Path,
    file: &'a File,
    file_size_bytes: u64,
    header: &'a Header,
    l1: Vec<u64>,
}

impl<'a> Clusters<'a> {
    /// Reads the L1 table of the image `opened`, whose header is `header`.
    pub(crate) fn open(opened: &'a Opened, header: &'a Header) -> Result<Self, DiskError> {
        let mut clusters = Self {
            path: &opened.path,
            file: &opened.file,
            file_size_bytes: opened.image.file_size_bytes,
            header,
            l1: Vec::new(),
        };
        clusters.l1 = clusters.l1_table().map_err(|refusal| clusters.refused(refusal))?;
        Ok(clusters)
    }

    fn refused(&self, refusal: Refusal) -> DiskError {
        refused(self.path, refusal)
    }

    fn l1_table(&self) -> Result<Vec<u64>, Refusal> {
        let header = self.header;
        let needed = header.size_bytes.div_ceil(header.l1_reach());
        if needed > u64::from(header.l1_entries) {
            return Err(Refusal::Broken("its L1 table is too small for its size".into()));
        }
        if needed > MAX_L1_ENTRIES {
            return Err(Refusal::Broken("its L1 table is too large".into()));
        }
        let entries = usize::try_from(needed).unwrap_or(usize::MAX);
        let l1 = self.table(header.l1_offset, entries, "L1 table")?;
        self.refuse_shared(&l1)?;
        Ok(l1)
    }

    /// Refuses entries that lead to one L2 table, which is for one part of the disk: a few KiB could
    /// have hours of work in them. So all tables together are no larger than the file.
    fn refuse_shared(&self, l1: &[u64]) -> Result<(), Refusal> {
        let offsets = || l1.iter().map(|entry| entry & OFFSET).filter(|offset| *offset != 0);
        let fit = self.file_size_bytes / self.size();
        if offsets().count() as u64 > fit {
            return Err(Refusal::Broken("its L2 tables are larger than its file".into()));
        }
        let mut seen: Vec<u64> = offsets().collect();
        seen.sort_unstable();
        match seen.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(Refusal::Broken("entries of its L1 table share an L2 table".into())),
            false => Ok(()),
        }
    }

    /// The size of a cluster, in bytes.
    pub(crate) fn size(&self) -> u64 {
        1 << self.header.cluster_bits
    }

    /// Hands every cluster that the image has an entry for to `each`, in the guest's order.
    /// Those that are nowhere are left out.
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(Cluster) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let refused = |refusal| self.refused(refusal);
        let reach = self.header.l1_reach();
        let entries = usize::try_from(self.size() / 8).unwrap_or(usize::MAX);
        for (l1_index, l1_entry) in (0_u64..).zip(&self.l1) {
            let l2_offset = l1_entry & OFFSET;
            if l2_offset == 0 {
                continue;
            }
            // In a hole there is nothing but unallocated clusters: a sparse file can have millions.
            if self.is_hole(l2_offset).map_err(refused)? {
                continue;
            }
            let l2 = self.table(l2_offset, entries, "L2 table").map_err(refused)?;
            for (l2_index, entry) in (0_u64..).zip(l2) {
                let guest_offset = l1_index * reach + l2_index * self.size();
                if guest_offset >= self.header.size_bytes {
                    break;
                }
                let place = self.place(entry).map_err(refused)?;
                if place != Place::Unallocated {
                    each(Cluster { guest_offset, place })?;
                }
            }
        }
        Ok(())
    }

    /// Whether the cluster of the file at `offset` takes no room, and so reads as zeros.
    fn is_hole(&self, offset: u64) -> Result<bool, Refusal> {
        if offset % self.size() != 0 || offset >= self.file_size_bytes {
            // The table's own check says what is wrong with it.
            return Ok(false);
        }
        match seek(self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data >= offset + self.size()),
            Err(Errno::NXIO) => Ok(offset + self.size() <= self.file_size_bytes),
            // A block device, or a filesystem that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(Refusal::Io(errno.into())),
        }
    }

    /// Whether any cluster is compressed.
    pub(crate) fn has_compressed(&self) -> Result<bool, DiskError> {
        let mut has_compressed = false;
        self.for_each(|cluster| {
            has_compressed |= matches!(cluster.place, Place::Compressed(..));
            Ok(())
        })?;
        Ok(has_compressed)
    }

    /// Reads a table of `entries` numbers.
    fn table(&self, offset: u64, entries: usize, what: &str) -> Result<Vec<u64>, Refusal> {
        if offset % self.size() != 0 {
            return Err(Refusal::Broken(format!("an {what} begins within a cluster")));
        }
        let bytes = (entries as u64) * 8;
        // Before room is allocated for it: the header may hold anything.
        if offset.saturating_add(bytes) > self.file_size_bytes {
            return Err(Refusal::Broken(format!("it ends before its {what}")));
        }
        let mut table = vec![0; entries * 8];
        self.file.read_exact_at(&mut table, offset)?;
        let numbers = table.chunks_exact(8).flat_map(TryInto::try_into);
        Ok(numbers.map(u64::from_be_bytes).collect())
    }

    /// What an entry of an L2 table means.
    fn place(&self, entry: u64) -> Result<Place, Refusal> {
        let place = if entry & COMPRESSED != 0 {
            // The higher bits of the descriptor are a number of sectors beyond the first.
            let offset_bits = 62 - (self.header.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1);
            let sectors = 1 + ((entry & (COMPRESSED - 1)) >> offset_bits);
            let length = sectors * SECTOR - offset % SECTOR;
            // The last of them needs not fill its last sector.
            let length = length.min(self.file_size_bytes.saturating_sub(offset));
            Place::Compressed(offset, usize::try_from(length).unwrap_or(usize::MAX))
        } else if entry & ZERO != 0 {
            if self.header.version < 3 {
                return Err(Refusal::Broken("it has clusters that its version has not".into()));
            }
            Place::Zeros
        } else {
            match entry & OFFSET {
                0 => Place::Unallocated,
                offset if offset % self.size() != 0 => {
                    return Err(Refusal::Broken("a cluster begins within another".into()));
                }
                offset => Place::Plain(offset),
            }
        };
        match place {
            Place::Plain(offset) | Place::Compressed(offset, _)
                if offset >= self.file_size_bytes =>
            {
                Err(Refusal::Broken("it ends before its last cluster".into()))
            }
            place => Ok(place),
        }
    }

    /// Reads `cluster`, all of `bytes`.
    pub(crate) fn read(&self, place: Place, bytes: &mut [u8]) -> Result<(), DiskError> {
        self.read_place(place, bytes).map_err(|refusal| self.refused(refusal))
    }

    fn read_place(&self, place: Place, bytes: &mut [u8]) -> Result<(), Refusal> {
        match place {
            Place::Unallocated | Place::Zeros => bytes.fill(0),
            Place::Plain(offset) => self.read_plain(offset, bytes)?,
            Place::Compressed(offset, length) => {
                let mut packed = vec![0; length];
                self.file.read_exact_at(&mut packed, offset)?;
                self.header.compression.unpack(&packed, bytes).map_err(|error| {
                    Refusal::Broken(format!("a compressed cluster cannot be unpacked: {error}"))
                })?;
            }
        }
        Ok(())
    }

    /// Reads what stands at `offset`. The last cluster of a file needs not be there whole: what is
    /// beyond the end is zeros.
    fn read_plain(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Refusal> {
        let there = self.file_size_bytes.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(bytes.len());
        let (bytes, beyond) = bytes.split_at_mut(there);
        beyond.fill(0);
        Ok(self.file.read_exact_at(bytes, offset)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// An image with clusters of 512 bytes, whose L1 table has these entries, and `clusters` in all.
    fn image(l1: &[u64], clusters: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut header = [0; 112];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[7] = 3;
        header[23] = 9;
        // What an L2 table of 64 entries covers, for each.
        header[24..32].copy_from_slice(&(l1.len() as u64 * 64 * 512).to_be_bytes());
        header[36..40].copy_from_slice(&u32::try_from(l1.len()).unwrap().to_be_bytes());
        header[40..48].copy_from_slice(&512_u64.to_be_bytes());
        header[103] = 104;
        let bytes: Vec<u8> = l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        file.as_file().write_all_at(&header, 0).unwrap();
        file.as_file().write_all_at(&bytes, 512).unwrap();
        file.as_file().set_len(clusters * 512).unwrap();
        file
    }

    fn checked(path: &Path) -> Result<u64, String> {
        let opened = Opened::open(path).unwrap();
        let header = opened.header.as_ref().unwrap();
        let mut count = 0;
        Clusters::open(&opened, header)
            .and_then(|clusters| {
                clusters.for_each(|_| {
                    count += 1;
                    Ok(())
                })
            })
            .map(|()| count)
            .map_err(|error| error.to_string())
    }

    /// Regression: 36 KiB of such took a minute, 3 MiB half an hour.
    #[test]
    fn a_table_that_is_everywhere_is_refused_before_it_is_read() {
        let copied = 1 << 63;
        let l2 = 65 * 512;
        let shared = image(&vec![l2 | copied; 4096], 72);
        assert!(checked(shared.path()).unwrap_err().contains("larger than its file"));
        let twice = image(&[l2 | copied, 0, l2], 72);
        assert!(checked(twice.path()).unwrap_err().contains("share an L2 table"));
        let own: Vec<u64> = (0..64).map(|index| ((65 + index) * 512) | copied).collect();
        let whole = image(&own, 129);
        assert_eq!(checked(whole.path()), Ok(0));
    }

    #[test]
    fn tables_in_a_hole_have_nothing_in_them_and_are_not_read() {
        let own: Vec<u64> = (0..64).map(|index| (65 + index) * 512).collect();
        let sparse = image(&own, 129);
        // The second table has one cluster of zeros; it and its neighbours in its block are read.
        sparse.as_file().write_all_at(&1_u64.to_be_bytes(), 66 * 512).unwrap();
        assert_eq!(checked(sparse.path()), Ok(1));
        let opened = Opened::open(sparse.path()).unwrap();
        let clusters = Clusters::open(&opened, opened.header.as_ref().unwrap()).unwrap();
        assert!(!clusters.is_hole(66 * 512).unwrap());
        // Beyond the end nothing is a hole, and the table's own check refuses it.
        assert!(!clusters.is_hole(129 * 512).unwrap());
        assert!(!clusters.is_hole(66 * 512 + 8).unwrap());
    }
}
