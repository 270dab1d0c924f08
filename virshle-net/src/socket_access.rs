//! Access for the switch's user to a vhost-user socket in a directory that is not theirs.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    FileType, Mode, OFlags, Stat, XattrFlags, fstat, getxattr, open, openat, setxattr,
};
use rustix::io::Errno;

use crate::NetError;
use crate::access_list::AccessList;

const NAME: &str = "system.posix_acl_access";
const READ: u16 = 4;
const WRITE: u16 = 2;
const SEARCH: u16 = 1;

/// Lets the user `uid` of group `gid` connect to `socket`, and to nothing else: read and write on
/// the socket, search on the directories from `stop_at` (included) down to it, by POSIX access
/// lists. Owners and all other users keep exactly what they have.
///
/// Nothing is done for root, nor where the user has the access already. The directories keep the
/// right to be searched; it goes with them.
///
/// No symbolic link is followed below `stop_at`.
///
/// # Errors
///
/// [`NetError::GrantAccess`], if the socket is not below `stop_at`, or the filesystem has no access
/// lists.
///
/// # References
///
/// `acl(5)`, `linux/posix_acl_xattr.h`.
#[doc(alias = "setfacl")]
pub fn grant_socket_access(
    socket: &Path,
    stop_at: &Path,
    uid: u32,
    gid: u32,
) -> Result<(), NetError> {
    if uid == 0 {
        return Ok(());
    }
    let failed =
        |path: &Path, source: io::Error| NetError::GrantAccess { path: path.into(), uid, source };
    let outside = || {
        let why = format!("it is not below {}", stop_at.display());
        failed(socket, io::Error::new(io::ErrorKind::InvalidInput, why))
    };
    let below = socket.strip_prefix(stop_at).map_err(|_| outside())?;
    let names: Option<Vec<_>> = below
        .components()
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let names = names.filter(|names| !names.is_empty()).ok_or_else(outside)?;

    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut path = PathBuf::from(stop_at);
    let mut place = open(stop_at, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| failed(&path, error.into()))?;
    grant(&place, uid, gid, SEARCH).map_err(|source| failed(&path, source))?;
    for (index, name) in names.iter().enumerate() {
        path.push(name);
        let is_socket = index + 1 == names.len();
        let (kind, rights) = if is_socket {
            (FileType::Socket, READ | WRITE)
        } else {
            (FileType::Directory, SEARCH)
        };
        place = openat(&place, *name, flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|error| failed(&path, error.into()))?;
        let stat = fstat(&place).map_err(|error| failed(&path, error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != kind {
            let why = if is_socket { "it is not a socket" } else { "it is not a directory" };
            return Err(failed(&path, io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        grant(&place, uid, gid, rights).map_err(|source| failed(&path, source))?;
    }
    tracing::debug!(socket = %socket.display(), uid, "access granted");
    Ok(())
}

fn grant(place: &OwnedFd, uid: u32, gid: u32, rights: u16) -> io::Result<()> {
    let stat = fstat(place)?;
    // A descriptor that is only a place has no attributes of its own, but a name that leads there.
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let mut list = match read(&path)? {
        Some(list) => list,
        None => AccessList::of_mode(stat.st_mode),
    };
    if list.allows(owns(&stat, uid), stat.st_gid == gid, uid, gid, rights) {
        return Ok(());
    }
    list.add_user(uid, rights);
    setxattr(&path, NAME, &list.to_bytes(), XattrFlags::empty())?;
    Ok(())
}

fn owns(stat: &Stat, uid: u32) -> bool {
    stat.st_uid == uid
}

fn read(path: &str) -> io::Result<Option<AccessList>> {
    // The largest attribute that Linux has.
    let mut room = vec![0; 64 << 10];
    match getxattr(path, NAME, room.as_mut_slice()) {
        Ok(length) => AccessList::from_bytes(&room[..length])
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its access list is odd")),
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
