//! Files that another process may be changing: created private, replaced whole, read bounded.
//!
//! No call follows a link in the last part of its path, or waits at a FIFO.

pub(crate) mod lock;

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The flags of a file that is opened where another process may have put anything.
pub(crate) fn safe_flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32
}

/// Creates a directory with `mode`, whatever the umask is; an existing one stays as it is.
///
/// Missing parents are created as well.
pub(crate) fn ensure_directory(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        if !parent.as_os_str().is_empty() && !parent.exists() {
            // Directories of the host's, as any program creates them; but never writable by everyone.
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a regular file to read and write, and creates it, private to its user, if need be.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(safe_flags())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Reads a regular file of at most `most_bytes` as text.
pub(crate) fn read_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(safe_flags()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    String::from_utf8(read_at_most(file, most_bytes)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads all of `reader`, which fails if it has more than `most_bytes`.
pub(crate) fn read_at_most(reader: impl Read, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most_bytes {
        true => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {most_bytes} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// Replaces the content of `path` in one step, also across a power failure.
///
/// A reader sees the old or the new content, never a part. The caller holds the lock under which
/// `path` is written: the temporary name is always `path` and `.new`, so that what a killed process
/// left is overwritten by the next.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not the path of a file"));
    };
    let mut temporary = name.to_owned();
    temporary.push(".new");
    // It is not written to: it could be a link.
    match std::fs::remove_file(directory.join(&temporary)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        tempfile::Builder::new().prefix(&temporary).rand_bytes(0).tempfile_in(directory)?;
    file.as_file().set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Makes the names in a directory persist across a power failure.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private_and_leaves_no_temporary_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let outside = directory.path().join("outside");
        std::fs::write(&outside, "mine").unwrap();
        // What a killed process left, or another put there.
        std::os::unix::fs::symlink(&outside, directory.path().join("state.new")).unwrap();
        for content in ["a longer one", "one"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(read_text(&path, 12).unwrap(), content);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old_content_and_no_temporary_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        std::fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_fifos_and_what_is_too_long_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "12345").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, mode, 0).unwrap();
        assert_eq!(read_text(&path("file"), 5).unwrap(), "12345");
        assert_eq!(read_text(&path("file"), 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        for name in ["link", "fifo"] {
            assert!(read_text(&path(name), 5).is_err(), "{name}");
            assert!(open_private(&path(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_directory_is_created_once_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        for _ in 0..2 {
            ensure_directory(&path, 0o700).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(ensure_directory(&file, 0o700).is_err());
    }
}
