//! Copies the data extents of an image, and not its holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::sparse::{Target, write_on};

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes copied.
    pub done_bytes: u64,
    /// Bytes to copy: holes don't count.
    pub total_bytes: u64,
}

/// One read and one write.
const CHUNK: usize = 1 << 20;
/// So much is copied between two reports.
pub(crate) const REPORT: u64 = 16 << 20;

/// A part of a file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The parts of `file` that hold data, by lseek(2) with `SEEK_DATA` and `SEEK_HOLE`. A filesystem
/// that doesn't know holes has one part: all of it.
pub(crate) fn data_extents(file: &File, length: u64) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // A block device, or a filesystem without holes.
            Err(Errno::INVAL) if at == 0 => return Ok(vec![Extent { start: 0, end: length }]),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(length);
        if start >= end {
            break;
        }
        extents.push(Extent { start, end });
        at = end;
    }
    Ok(extents)
}

/// What extents hold together, in bytes.
pub(crate) fn bytes_of(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.end - extent.start).sum()
}

/// Copies the `extents` of `from` to the same places of `to`, less their zeros.
pub(crate) fn copy(
    from: &File,
    to: &File,
    extents: &[Extent],
    target: Target,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<(), CopyError> {
    let total_bytes = bytes_of(extents);
    let mut buffer = vec![0; CHUNK];
    let (mut done_bytes, mut reported) = (0, 0);
    for extent in extents {
        let mut at = extent.start;
        while at < extent.end {
            let length = usize::try_from(extent.end - at).unwrap_or(CHUNK).min(CHUNK);
            let read = from.read_at(&mut buffer[..length], at).map_err(CopyError::Read)?;
            if read == 0 {
                // It was cut short meanwhile: what is left of it is a change like any other.
                return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            write_on(to, &buffer[..read], at, target).map_err(CopyError::Write)?;
            at += read as u64;
            done_bytes += read as u64;
            if done_bytes - reported >= REPORT {
                reported = done_bytes;
                on_progress(Progress { done_bytes, total_bytes });
            }
        }
    }
    on_progress(Progress { done_bytes, total_bytes });
    Ok(())
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_stay_holes_and_data_arrives_where_it_was() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"first", 0).unwrap();
        from.write_all_at(&[7; 3 << 20], 20 << 20).unwrap();
        let extents = data_extents(&from, 64 << 20).unwrap();
        let mut last = None;
        copy(&from, &to, &extents, Target::Zeroed, &mut |progress| last = Some(progress)).unwrap();
        let last = last.unwrap();
        assert_eq!(last.done_bytes, last.total_bytes);
        assert!(last.total_bytes < 8 << 20, "{last:?}");
        let mut found = [0; 5];
        to.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"first");
        to.read_exact_at(&mut found, (23 << 20) - 5).unwrap();
        assert_eq!(found, [7; 5]);
    }

    #[test]
    fn a_file_of_nothing_but_a_hole_has_no_extents() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        assert_eq!(data_extents(&file, 1 << 30).unwrap(), []);
    }
}
