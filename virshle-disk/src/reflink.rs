//! Reflinks: a copy that takes no time and no room until one of the two is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use crate::DiskError;
use crate::destination::Destination;

/// Makes `to`, which may be a file without a name, share all extents of `from`.
///
/// # References
///
/// ioctl_ficlone(2).
pub(crate) fn reflink(from: &File, to: &File) -> io::Result<()> {
    reflink_copy::reflink_file(from, to)
}

/// Whether `error` means that these two files can't share extents, and others might.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    let errnos = [Errno::XDEV, Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL, Errno::NOSYS];
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Returns whether files in `directory` can share extents, by trying it with two files without a
/// name.
///
/// # Errors
///
/// [`DiskError::Probe`] if nothing can be written there.
#[doc(alias = "FICLONE")]
pub fn supports_reflink(directory: &Path) -> Result<bool, DiskError> {
    let failed = |source| DiskError::Probe { path: directory.to_owned(), source };
    let file = |name: &str| match Destination::begin(&directory.join(name)) {
        Ok(file) => Ok(file),
        Err(DiskError::Write { source, .. }) => Err(failed(source)),
        Err(error) => Err(error),
    };
    let (from, to) = (file(".reflink-from")?, file(".reflink-to")?);
    // A whole block: an empty file is shared anywhere.
    from.file().write_all_at(&[1; 4096], 0).map_err(failed)?;
    match reflink(from.file(), to.file()) {
        Ok(()) => Ok(true),
        Err(error) if is_unsupported(&error) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
