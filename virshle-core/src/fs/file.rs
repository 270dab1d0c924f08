//! Files and directories that another process may be changing: made private, replaced whole, opened
//! without following links, read up to a bound.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use virshle_hypervisor::open_untrusted;

use crate::fs::error::FileError;

/// Whether a file's content is made to outlast a power failure before going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Yes,
    No,
}

/// Creates a directory with `mode`, whatever the umask is; one that is there stays as it is.
pub(crate) fn ensure_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    let failed = FileError::writing(path);
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        if !parent.exists() {
            // Directories of the host's, as any program creates them; but never writable for every user.
            DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(&failed)?;
        }
    }
    match create_directory(path, mode) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.map_err(failed),
    }
}

/// Creates a directory with `mode`, whatever the umask is.
pub(crate) fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    // The umask was applied.
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Creates a file that is its user's alone, whatever the umask is.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Creates the private file `path` with that content.
pub(crate) fn write_new(path: &Path, content: &[u8], sync: Sync) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let mut file = create_private(path)?;
        file.write_all(content)?;
        if sync == Sync::Yes {
            file.sync_all()?;
        }
        Ok(())
    };
    write().map_err(FileError::writing(path))
}

/// Replaces the content of `path` in one step: a reader sees the old or the new, never a part. With
/// [`Sync::Yes`] that holds for a power failure, too.
///
/// The caller holds the lock under which `path` is written: the temporary name is always the same, so
/// that what an interrupted process leaves there is overwritten by the next.
pub(crate) fn replace(path: &Path, content: &[u8], sync: Sync) -> Result<(), FileError> {
    let temporary = temp_path(path);
    let write = || -> io::Result<()> {
        // What is in the way is not written to: it could be a link.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_private(&temporary)?;
        file.write_all(content)?;
        if sync == Sync::Yes {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The first failure is the one to report.
        drop(std::fs::remove_file(&temporary));
        FileError::Write { path: path.to_owned(), source }
    })
}

/// The name under which the new content of `path` is written.
pub(crate) fn temp_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Removes a file, unless it is absent.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the content of a file, or the names in a directory, outlast a power failure.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens the regular file `path` for reading. A link is not followed, and what is no file is neither
/// read nor waited for: a FIFO may never have a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    let not_a_file = || io::Error::new(ErrorKind::InvalidInput, "it is not a file");
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(not_a_file());
        }
        other => other?,
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
}

/// The content of the file `path`, which a VMM could have replaced: at most `most` bytes of a plain file
/// of this user's own.
pub(crate) fn read_untrusted(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_bounded(&open_untrusted(path)?, most)
}

/// The content of the regular file `path`, which has at most `most` bytes.
pub(crate) fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_bounded(&open_regular(path)?, most)
}

/// What is left of `file`: at most `most` bytes, or it is an error.
pub(crate) fn read_bounded(file: &File, most: u64) -> io::Result<Vec<u8>> {
    // Room for all of it at once: a listing reads thousands.
    let length = file.metadata().map_or(0, |metadata| metadata.len()).min(most) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it has more than {most} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// The last `most` bytes of the file `path`, which a VMM could have replaced.
pub(crate) fn read_tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open_untrusted(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        for path in [path.as_path(), directory.path(), &link] {
            let error = read_regular(path, 9).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(read_tail(path, 9).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(read_untrusted(path, 9).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_tail(&path, 2).unwrap(), b"45");
        assert_eq!(read_tail(&path, 9).unwrap(), b"12345");
    }

    #[test]
    fn a_file_is_replaced_and_what_lay_in_the_way_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("file"), directory.path().join("other"));
        std::fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, temp_path(&path)).unwrap();
        replace(&path, b"ours", Sync::No).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ours");
        assert_eq!(std::fs::read(&other).unwrap(), b"theirs");
        assert!(temp_path(&path).symlink_metadata().is_err());
    }
}
