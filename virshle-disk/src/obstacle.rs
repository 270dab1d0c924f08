//! What keeps two files from sharing extents.

use std::fs::File;
use std::io;

use rustix::fs::{IFlags, ioctl_getflags};
use rustix::io::Errno;

/// Why two files can't share extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReflinkObstacle {
    /// They are on different filesystems, or on one that can't share extents.
    Filesystem,
    /// One of them is exempt from copy-on-write (`chattr +C`), and the other is not.
    NoCopyOnWrite,
}

impl ReflinkObstacle {
    /// Finds out what keeps `from` and `to` apart, which could not be shared for `error`.
    ///
    /// # References
    ///
    /// ioctl_iflags(2), `FS_NOCOW_FL`; btrfs(5), "nodatacow".
    pub(crate) fn between(from: &File, to: &File, error: &io::Error) -> Self {
        // Two filesystems, or one that can't, have numbers of their own.
        if error.raw_os_error() != Some(Errno::INVAL.raw_os_error()) {
            return Self::Filesystem;
        }
        // A filesystem without such flags has no file that differs in them.
        let exempt =
            |file: &File| ioctl_getflags(file).is_ok_and(|flags| flags.contains(IFlags::NOCOW));
        if exempt(from) == exempt(to) { Self::Filesystem } else { Self::NoCopyOnWrite }
    }
}
