//! Opens files that a process which isn't trusted may have put there.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens `path` for reading, a file that another process may have replaced: a VMM that its guest has
/// taken over, or the user whose directory it is in.
///
/// # Errors
///
/// As [`open_untrusted_with`].
pub fn open_untrusted(path: &Path) -> io::Result<File> {
    open_untrusted_with(path, OpenOptions::new().read(true))
}

/// Opens `path` as `options` say, unless what is there is not a plain file of this user's own.
///
/// No link is followed, nothing is waited for (a FIFO may never have a writer), and the open file is
/// a regular one that has no other name and belongs to this user or to root. Such a file can't be one
/// of another user's, nor one that this user has elsewhere. `options` must not truncate: that would
/// happen before the file was looked at. Their custom flags are replaced.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if it is another thing than that, with what it is; what
/// open(2) fails with.
///
/// # References
///
/// open(2), `O_NOFOLLOW`, `O_NONBLOCK`; inode(7), `st_nlink`.
#[doc(alias = "O_NOFOLLOW")]
pub fn open_untrusted_with(path: &Path, options: &OpenOptions) -> io::Result<File> {
    open_untrusted_of(path, options, 0)
}

/// Does as [`open_untrusted_with`], and takes a file of the user `owner` as well: whose process is
/// meant to write it.
///
/// # Errors
///
/// As [`open_untrusted_with`].
pub fn open_untrusted_of(path: &Path, options: &OpenOptions, owner: u32) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = options.clone();
    let file = match options.custom_flags(flags.bits() as i32).open(path) {
        Err(error) if is(&error, Errno::LOOP) => return Err(refusal("it is a link")),
        // A FIFO without a reader, or a socket: neither can be opened to write.
        Err(error) if is(&error, Errno::NXIO) => return Err(refusal("it is not a file")),
        other => other?,
    };
    let owners = [0, rustix::process::geteuid().as_raw(), owner];
    match foreign(&file.metadata()?, &owners) {
        None => Ok(file),
        Some(what) => Err(refusal(what)),
    }
}

/// What keeps a file with this `metadata` from being a plain one of one of the `owners`.
fn foreign(metadata: &Metadata, owners: &[u32]) -> Option<&'static str> {
    if !metadata.is_file() {
        Some("it is not a file")
    } else if metadata.nlink() > 1 {
        Some("the file has another name as well")
    } else if !owners.contains(&metadata.uid()) {
        Some("the file belongs to another user")
    } else {
        None
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn refusal(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_a_plain_file_is_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", at("dangling")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let mut append = OpenOptions::new();
        append.append(true).create(true);
        let mut both = OpenOptions::new();
        both.read(true).write(true);
        for options in [OpenOptions::new().read(true), &mut append, &mut both] {
            assert!(open_untrusted_with(&at("file"), options).is_ok());
            for name in ["link", "dangling", "fifo", "directory", "socket"] {
                let error = open_untrusted_with(&at(name), options).unwrap_err();
                let refused = [ErrorKind::InvalidInput, ErrorKind::IsADirectory];
                assert!(refused.contains(&error.kind()), "{name}: {error}");
            }
        }
        let error = open_untrusted(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(open_untrusted(&at("absent")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!Path::new("/nowhere").exists());
    }

    #[test]
    fn a_file_with_two_names_could_be_any_and_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::fs::hard_link(at("file"), at("other")).unwrap();
        for name in ["file", "other"] {
            let error = open_untrusted(&at(name)).unwrap_err();
            assert_eq!(error.to_string(), "the file has another name as well");
        }
        std::fs::remove_file(at("other")).unwrap();
        assert!(open_untrusted(&at("file")).is_ok());
    }

    #[test]
    fn the_files_of_users_who_are_not_expected_are_refused() {
        // A file that was removed has no name any more, and is no one else's for that.
        let own = tempfile::tempfile().unwrap().metadata().unwrap();
        let other = own.uid().wrapping_add(1);
        assert_eq!(foreign(&own, &[other, own.uid()]), None);
        assert_eq!(foreign(&own, &[other]), Some("the file belongs to another user"));
    }
}
