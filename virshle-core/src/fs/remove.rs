//! Removes a directory with all that is in it, and nothing that is only seen through it: not what is
//! mounted there, nor what a link leads to.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, openat,
    openat2, renameat, statat, statx, unlinkat,
};
use rustix::io::Errno;

use crate::fs::error::FileError;
use crate::fs::lock::Lock;

/// How deep a tree is descended into: what lies deeper is moved up first. A VMM may have made a tree
/// of any depth, and each level takes a descriptor and a piece of the stack.
const MAX_DEPTH: usize = 64;

/// How often the rest is tried again that a process has left there which looked at the lock meanwhile.
const TRIES: usize = 3;

/// Removes `directory` and all that is in it. Goes on past what can't be removed; the error is that of
/// the first. A directory that isn't there is removed already.
///
/// # Errors
///
/// [`FileError::Remove`] with what is left, and why: [`ErrorKind::ResourceBusy`] if it is, or is below,
/// a mount point.
pub(crate) fn remove_tree(directory: &Path) -> Result<(), FileError> {
    remove_but(directory, None)
}

/// Does as [`remove_tree`], for a directory whose lock `lock` is that file of it which is called `name`:
/// held to the last. Where a file that is removed while it is open stays under a hidden name (NFS,
/// most of FUSE), the directory would stay with it.
pub(crate) fn remove_locked(directory: &Path, name: &str, lock: Lock) -> Result<(), FileError> {
    // Whatever fails here fails again below.
    drop(remove_but(directory, Some(name)));
    drop(lock);
    let mut removed = remove_tree(directory);
    for _ in 1..TRIES {
        match &removed {
            Err(FileError::Remove { path, source })
                if path == directory && source.kind() == ErrorKind::DirectoryNotEmpty => {}
            _ => break,
        }
        removed = remove_tree(directory);
    }
    removed
}

/// Removes all of `directory`; or, if a name is to be kept in it, all but that and the directory.
fn remove_but(directory: &Path, kept: Option<&str>) -> Result<(), FileError> {
    let mut removal = Removal { top: None, kept, deep: 0, moved: false, failed: None };
    let name = CString::new(directory.as_os_str().as_bytes())
        .map_err(|_| remaining(directory, ErrorKind::InvalidInput.into()))?;
    loop {
        (removal.moved, removal.failed) = (false, None);
        removal.entry(CWD, &name, directory, 0);
        match removal.failed.take() {
            Some(error) if !removal.moved => return Err(error),
            // What was moved up was passed over, and is what the directory isn't empty for.
            _ if removal.moved => {}
            _ => return Ok(()),
        }
    }
}

fn remaining(path: &Path, source: io::Error) -> FileError {
    FileError::Remove { path: path.to_owned(), source }
}

struct Removal<'a> {
    /// The directory that is removed, open.
    top: Option<OwnedFd>,
    kept: Option<&'a str>,
    /// How many directories were moved up.
    deep: u64,
    /// Whether one was since the directory was read.
    moved: bool,
    failed: Option<FileError>,
}

impl Removal<'_> {
    /// Removes the entry `name` of the directory `above`; `path` is for messages.
    fn entry(&mut self, above: BorrowedFd<'_>, name: &CStr, path: &Path, depth: usize) {
        let result = match statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.directory(above, name, path, depth)
            }
            Ok(_) => unlinkat(above, name, AtFlags::empty()),
            Err(errno) => Err(errno),
        };
        match result {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => self.fail(path, errno),
        }
    }

    fn fail(&mut self, path: &Path, errno: Errno) {
        let source = match errno {
            // Of another filesystem, or the place of one in this or another file's.
            Errno::XDEV | Errno::BUSY => io::Error::new(
                ErrorKind::ResourceBusy,
                "something is mounted there, which is not removed: unmount it",
            ),
            errno => errno.into(),
        };
        self.failed.get_or_insert_with(|| remaining(path, source));
    }

    fn directory(
        &mut self,
        above: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), Errno> {
        if depth == MAX_DEPTH {
            return self.move_up(above, name);
        }
        let directory = match depth {
            // The caller's own: it may lie on a mount point, or behind a link above it.
            0 => openat(above, name, directory_flags(), Mode::empty())?,
            _ => open_below(above, name)?,
        };
        if depth == 0 {
            self.top = Some(directory.try_clone().map_err(|_| Errno::MFILE)?);
        }
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let entry = entry.file_name();
            let is_kept = self.kept.is_some_and(|kept| kept.as_bytes() == entry.to_bytes());
            if entry == c"." || entry == c".." || depth == 0 && is_kept {
                continue;
            }
            let path = path.join(OsStr::from_bytes(entry.to_bytes()));
            self.entry(directory.as_fd(), entry, &path, depth + 1);
        }
        match unlinkat(above, name, AtFlags::REMOVEDIR) {
            // What keeps it is known: what is kept in it, or what was told of already.
            Err(Errno::NOTEMPTY | Errno::EXIST)
                if self.failed.is_some() || self.moved || depth == 0 && self.kept.is_some() =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Moves a directory that is too deep to where it is not.
    fn move_up(&mut self, above: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let top = self.top.as_ref().ok_or(Errno::NOENT)?;
        loop {
            self.deep += 1;
            let shallow = format!(".deep-{}", self.deep);
            // One that is in the way is replaced if it is empty; what isn't gets the next number.
            match renameat(above, name, top, &shallow) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) if self.deep < u64::MAX => {}
                other => {
                    self.moved |= other.is_ok();
                    return other;
                }
            }
        }
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC
}

/// Opens a directory that lies on the same mount as the one it is in.
fn open_below(above: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    match openat2(above, name, directory_flags(), Mode::empty(), resolve) {
        // Before Linux 5.6, or under a filter that doesn't know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let directory = openat(above, name, directory_flags(), Mode::empty())?;
            if is_mount_point(above, &directory)? { Err(Errno::XDEV) } else { Ok(directory) }
        }
        other => other,
    }
}

/// Whether `directory`, which is in `above`, is the root of another mount.
fn is_mount_point(above: BorrowedFd<'_>, directory: &OwnedFd) -> Result<bool, Errno> {
    let of = |fd: BorrowedFd<'_>| statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    let (outer, inner) = (of(above)?, of(directory.as_fd())?);
    let device = |of: &rustix::fs::Statx| (of.stx_dev_major, of.stx_dev_minor);
    // Only the attribute shows a mount of the same filesystem (Linux 5.8).
    Ok(inner.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        || device(&outer) != device(&inner))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use virshle_testkit::MountNamespace;
    use virshle_testkit_macros::test_on;

    use super::*;

    #[test]
    fn a_tree_goes_with_all_that_is_in_it_and_links_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("theirs"), "kept").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("a/link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read(outside.path().join("theirs")).unwrap(), b"kept");
        // What isn't there is removed; what is a link is no tree.
        remove_tree(&tree).unwrap();
        std::os::unix::fs::symlink(outside.path(), &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err() && outside.path().join("theirs").exists());
    }

    #[test]
    fn a_tree_of_any_depth_takes_no_more_descriptors_than_others() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        let before = std::env::current_dir().unwrap();
        fs::create_dir_all(tree.join(".deep-1/x")).unwrap();
        // Deeper than a path can be long, so from within.
        let script = "i=0; p=$(printf 'd/%.0s' $(seq 50)); \
                      while [ $i -lt 25 ]; do mkdir -p $p; cd -P $p; i=$((i+1)); done";
        assert!(
            Command::new("sh").args(["-c", script]).current_dir(&tree).status().unwrap().success()
        );
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::env::current_dir().unwrap(), before);
    }

    #[test]
    fn a_lock_is_held_until_all_else_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("disk")).unwrap();
        fs::write(tree.join("disk/lock"), "no lock").unwrap();
        let path = tree.join("lock");
        let lock = Lock::acquire(&path, std::time::Duration::ZERO).unwrap();
        remove_but(&tree, Some("lock")).unwrap();
        assert_eq!(fs::read_dir(&tree).unwrap().count(), 1);
        assert!(lock.is_at(&path).unwrap());
        remove_locked(&tree, "lock", lock).unwrap();
        assert!(!tree.exists());
    }

    #[test_on(Root)]
    fn root_what_is_mounted_in_a_tree_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for path in ["theirs/deep", "tree/a/mount", "tree/z"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["theirs/file", "theirs/deep/file", "tree/a/gone", "tree/z/disk", "one"] {
            fs::write(at(path), "x").unwrap();
        }
        // Of the same filesystem: its number doesn't show them.
        let mounts = MountNamespace::enter().unwrap();
        mounts.bind(&at("theirs"), &at("tree/a/mount")).unwrap();
        mounts.bind(&at("one"), &at("tree/z/disk")).unwrap();
        let error = remove_tree(&at("tree")).unwrap_err();
        let FileError::Remove { path, source } = &error else { panic!("{error:?}") };
        assert!([at("tree/a/mount"), at("tree/z/disk")].contains(path), "{error:?}");
        assert!(source.to_string().contains("mounted"), "{source}");
        assert!(at("theirs/file").exists() && at("theirs/deep/file").exists());
        assert_eq!(fs::read(at("one")).unwrap(), b"x");
        // All that is not mounted went.
        assert!(!at("tree/a/gone").exists());
        // The way of kernels that can't be asked to stay on a mount.
        let is_mount_point = |above: &str, inner: &str| {
            let above = fs::File::open(at(above)).unwrap();
            is_mount_point(above.as_fd(), &fs::File::open(at(inner)).unwrap().into()).unwrap()
        };
        assert!(is_mount_point("tree/a", "tree/a/mount"));
        assert!(!is_mount_point("tree", "tree/a"));
        mounts.unmount(&at("tree/a/mount")).unwrap();
        mounts.unmount(&at("tree/z/disk")).unwrap();
        remove_tree(&at("tree")).unwrap();
        assert!(!at("tree").exists());
    }
}
