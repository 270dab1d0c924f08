//! Access for the switch's user to a vhost-user socket in a directory that is not theirs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};

use crate::NetError;
use crate::file_access::{AccessRights, Asking, FileAccess};

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
    grant(&place, uid, gid, AccessRights::SEARCH).map_err(|source| failed(&path, source))?;
    for (index, name) in names.iter().enumerate() {
        path.push(name);
        let is_socket = index + 1 == names.len();
        let (kind, rights) = if is_socket {
            (FileType::Socket, AccessRights::READ_WRITE)
        } else {
            (FileType::Directory, AccessRights::SEARCH)
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

fn grant(place: &OwnedFd, uid: u32, gid: u32, rights: AccessRights) -> io::Result<()> {
    let mut access = FileAccess::of(place)?;
    if access.allows(&Asking { uid, gids: &[gid] }, rights) {
        return Ok(());
    }
    access.grant_user(uid, rights)
}
