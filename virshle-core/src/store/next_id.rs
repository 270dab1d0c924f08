//! The id that the next machine gets: ids are never given twice.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::fs::error::FileError;
use crate::fs::file::{create_private, open_regular, read_regular, sync};
use crate::store::layout::NEXT_ID;

/// The most of the file that is read, in bytes: it has 21.
const MAX_BYTES: u64 = 4 << 10;

/// The id that comes next, if the file that holds it is there and whole. It is the only memory of
/// removed machines, and so one that can't be read is not passed over; ids of machines that exist are
/// counted anyhow.
pub(crate) fn read(root: &Path) -> Result<Option<u64>, FileError> {
    let path = root.join(NEXT_ID);
    match read_regular(&path, MAX_BYTES) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().parse().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path, source }),
    }
}

/// Records which id comes next, before it is given out. Nothing waits for the disk: ids of machines
/// that exist are counted anyhow, and [`keep`] comes before one ends. Of one length and in its place,
/// so that it is never a part.
pub(crate) fn write(root: &Path, next: u64) -> Result<(), FileError> {
    let path = root.join(NEXT_ID);
    let write = || -> io::Result<()> {
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let file = match File::options().write(true).custom_flags(flags).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create_private(&path)?,
            other => other?,
        };
        file.write_all_at(format!("{next:<20}\n").as_bytes(), 0)
    };
    write().map_err(FileError::writing(&path))
}

/// Makes the id that comes next outlast a power failure: once a machine is gone, nothing else
/// remembers that its id was taken.
pub(crate) fn keep(root: &Path) -> Result<(), FileError> {
    let path = root.join(NEXT_ID);
    let kept = open_regular(&path).and_then(|file| file.sync_all());
    match kept.and_then(|()| sync(root)) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(FileError::Write { path, source })
        }
        _ => Ok(()),
    }
}
