//! A file that appears complete or not at all.
//!
//! It has no name while it is written, so that nothing is left if its writer dies. Where the
//! filesystem can't do that, it has a temporary name beside its own, which is removed on failure.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::DiskError;
use crate::rename::rename_new;

/// A file that is being written, private to its user.
#[derive(Debug)]
#[must_use = "it is gone unless it is published"]
pub(crate) struct Destination {
    file: Unpublished,
    path: PathBuf,
    /// What is to stay free on its filesystem, in bytes.
    leave_free: u64,
}

#[derive(Debug)]
enum Unpublished {
    /// Of `O_TMPFILE`.
    Unnamed(File),
    /// On a filesystem that has no such files. Its name is removed on drop, and that after it was
    /// closed: what is removed while it is open stays there under a hidden name (NFS, FUSE).
    Named(File, TempPath),
}

impl Destination {
    /// Begins the file that is to be `path`.
    pub(crate) fn begin(path: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Write { path: path.to_owned(), source };
        if path.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let unnamed = File::options()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::TMPFILE.bits() as i32)
            .open(directory(path));
        match unnamed {
            Ok(file) => {
                make_private(&file).map_err(failed)?;
                let file = Unpublished::Unnamed(file);
                Ok(Self { file, path: path.to_owned(), leave_free: 0 })
            }
            Err(error)
                if [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL]
                    .iter()
                    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
            {
                Self::named(path).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn named(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut prefix = OsString::from(name);
        prefix.push(".new-");
        let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(directory(path))?;
        make_private(file.as_file())?;
        let (file, name) = file.into_parts();
        let file = Unpublished::Named(file, name);
        Ok(Self { file, path: path.to_owned(), leave_free: 0 })
    }

    /// Sets what is to stay free on its filesystem, in bytes.
    pub(crate) fn leave_free(self, leave_free: u64) -> Self {
        Self { leave_free, ..self }
    }

    /// What is to stay free on its filesystem, in bytes.
    pub(crate) fn left_free(&self) -> u64 {
        self.leave_free
    }

    /// Where it is to appear.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        match &self.file {
            Unpublished::Unnamed(file) | Unpublished::Named(file, _) => file,
        }
    }

    /// Ensures that there is room for `needed_bytes`.
    pub(crate) fn needs_room(&self, needed_bytes: u64) -> Result<(), DiskError> {
        let free_bytes = self.free_bytes()?;
        if needed_bytes > free_bytes.saturating_sub(self.leave_free) {
            return Err(DiskError::NoRoom { path: self.path.clone(), needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// Ensures that it does not fill its filesystem, after `written_bytes` of who knows how many.
    /// Returns how many it may be before the next look.
    pub(crate) fn still_has_room(&self, written_bytes: u64) -> Result<u64, DiskError> {
        let free_bytes = self.free_bytes()?;
        match free_bytes.checked_sub(self.leave_free) {
            Some(left_bytes) => Ok(written_bytes.saturating_add(unwatched_bytes(left_bytes))),
            None => {
                let path = self.path.clone();
                Err(DiskError::AlmostFull { path, written_bytes, free_bytes })
            }
        }
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let space = rustix::fs::fstatvfs(self.file()).map_err(|errno| self.failed(errno))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Wraps a failure to write it.
    pub(crate) fn failed(&self, source: impl Into<io::Error>) -> DiskError {
        DiskError::Write { path: self.path.clone(), source: source.into() }
    }

    /// Makes its content outlast a power failure, and gives it its name. A file of that name is
    /// never replaced.
    pub(crate) fn publish(self) -> Result<(), DiskError> {
        let Self { file, path, .. } = self;
        let failed = |source| DiskError::Write { path: path.clone(), source };
        match file {
            Unpublished::Unnamed(file) => {
                file.sync_all().map_err(failed)?;
                // The way open(2) documents for files without a name.
                let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, unnamed, CWD, &path, AtFlags::SYMLINK_FOLLOW)
                    .map_err(|errno| failed(errno.into()))
            }
            Unpublished::Named(file, mut name) => {
                file.sync_all().map_err(failed)?;
                drop(file);
                rename_new(&name, &path).map_err(failed)?;
                // It has that name no longer, and another file may have it.
                name.disable_cleanup(true);
                Ok(())
            }
        }
    }
}

/// Returns how many bytes may be written to a filesystem, on which `left_bytes` may be taken, before
/// that is asked again: half of them, between 256 KiB and 16 MiB.
pub fn unwatched_bytes(left_bytes: u64) -> u64 {
    (left_bytes / 2).clamp(256 << 10, 16 << 20)
}

/// The directory that `path` is in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Whatever the umask is, its user may read and write it, and no other.
fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn nothing_is_there_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let count = || std::fs::read_dir(directory.path()).unwrap().count();
        drop(Destination::begin(&path).unwrap());
        assert_eq!(count(), 0);
        drop(Destination::named(&path).unwrap());
        assert_eq!(count(), 0);
        for begin in [
            |path: &Path| Destination::begin(path).unwrap(),
            |path: &Path| Destination::named(path).unwrap(),
        ] {
            begin(&path).publish().unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(Destination::begin(&path).is_err());
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_file_of_that_name_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let late = [Destination::begin(&path).unwrap(), Destination::named(&path).unwrap()];
        std::fs::write(&path, "first").unwrap();
        for destination in late {
            let error = destination.publish().unwrap_err();
            assert!(error.hint().is_some(), "{error:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
