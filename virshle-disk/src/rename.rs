//! Gives a file another name, and replaces no file of that name.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

/// Renames the file `from` to `to`, which is on the same filesystem, unless `to` exists.
///
/// Filesystems that can't do this in one call (NFS, 9p, most of FUSE) get a second name for the
/// file before its first is removed. There the file shouldn't be open any more: what is removed
/// while it is open stays under a hidden name until it is closed.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists); any other, as on a filesystem that has no hard
/// links either. Nothing was renamed.
///
/// # References
///
/// renameat2(2), `RENAME_NOREPLACE`.
#[doc(alias = "RENAME_NOREPLACE")]
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_and_unlink(from, to),
        other => Ok(other?),
    }
}

fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    // As rename(2) would: a link is not followed.
    linkat(CWD, from, CWD, to, rustix::fs::AtFlags::empty())?;
    std::fs::remove_file(from).inspect_err(|_| {
        // As if nothing had happened; the first failure is the one to report.
        drop(std::fs::remove_file(to));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_renamed_and_none_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for rename in [rename_new, link_and_unlink] {
            std::fs::write(at("a"), "a").unwrap();
            std::fs::write(at("b"), "b").unwrap();
            let error = rename(&at("a"), &at("b")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(at("b")).unwrap(), b"b");
            std::fs::remove_file(at("b")).unwrap();
            rename(&at("a"), &at("b")).unwrap();
            assert_eq!(std::fs::read(at("b")).unwrap(), b"a");
            assert!(!at("a").exists());
            assert!(rename(&at("a"), &at("c")).is_err());
        }
    }
}
