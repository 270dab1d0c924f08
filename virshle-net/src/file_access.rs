//! Who may do what with a file or directory, by its mode and its POSIX access list.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{Stat, XattrFlags, fstat, getxattr, removexattr, setxattr};
use rustix::io::Errno;

use crate::access_list::AccessList;

const NAME: &str = "system.posix_acl_access";

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRights(u16);

impl AccessRights {
    /// To read it.
    pub const READ: Self = Self(4);
    /// To read and to write it.
    pub const READ_WRITE: Self = Self(6);
    /// To run it; of a directory, to reach what is in it.
    pub const SEARCH: Self = Self(1);
    /// To read and to run it.
    pub const READ_EXECUTE: Self = Self(5);
}

/// Who asks: a user who isn't root, with all their groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking<'a> {
    /// The user.
    pub uid: u32,
    /// The groups.
    pub gids: &'a [u32],
}

/// The access to one file or directory, which is open; for its place alone (`O_PATH`) is enough.
///
/// # References
///
/// `acl(5)`, `linux/posix_acl_xattr.h`.
#[derive(Debug)]
#[doc(alias = "setfacl")]
pub struct FileAccess<'a> {
    file: BorrowedFd<'a>,
    stat: Stat,
    list: AccessList,
}

impl<'a> FileAccess<'a> {
    /// The access to `file`.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn of(file: &'a impl AsFd) -> io::Result<Self> {
        let file = file.as_fd();
        let stat = fstat(file)?;
        let list = read(file)?.unwrap_or_else(|| AccessList::of_mode(stat.st_mode));
        Ok(Self { file, stat, list })
    }

    /// Returns whether a user has all of `rights`.
    pub fn allows(&self, asking: &Asking<'_>, rights: AccessRights) -> bool {
        let is_owner = self.stat.st_uid == asking.uid;
        let in_group = asking.gids.contains(&self.stat.st_gid);
        self.list.allows(is_owner, in_group, asking.uid, asking.gids, rights.0)
    }

    /// Gives a user `rights` beside what they have. Nobody else gets or loses any.
    ///
    /// # Errors
    ///
    /// If the list can't be written: `EOPNOTSUPP` where the filesystem has none.
    pub fn grant_user(&mut self, uid: u32, rights: AccessRights) -> io::Result<()> {
        self.list.add_user(uid, rights.0);
        self.write()
    }

    /// The same for a group.
    ///
    /// # Errors
    ///
    /// As [`grant_user`](Self::grant_user).
    pub fn grant_group(&mut self, gid: u32, rights: AccessRights) -> io::Result<()> {
        self.list.add_group(gid, rights.0);
        self.write()
    }

    /// Takes away what a group was granted by name; nothing if that is nothing.
    ///
    /// # Errors
    ///
    /// As [`grant_user`](Self::grant_user).
    pub fn revoke_group(&mut self, gid: u32) -> io::Result<()> {
        if !self.list.remove_group(gid) {
            return Ok(());
        }
        // First written: the mode has the mask in its group's place, and that is now what the group has.
        self.write()?;
        if self.list.is_a_mode() {
            removexattr(place(self.file), NAME)?;
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        Ok(setxattr(place(self.file), NAME, &self.list.to_bytes(), XattrFlags::empty())?)
    }
}

fn read(file: BorrowedFd<'_>) -> io::Result<Option<AccessList>> {
    // The largest attribute that Linux has.
    let mut room = vec![0; 64 << 10];
    match getxattr(place(file), NAME, room.as_mut_slice()) {
        Ok(length) => AccessList::from_bytes(&room[..length])
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its access list is odd")),
        // No list, or a filesystem without: the mode says it all.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A descriptor that is only a place has no attributes of its own, but a name that leads there.
fn place(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
