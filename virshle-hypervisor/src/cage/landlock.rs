//! The landlock rules of a cage.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::cage::error::CageError;
use crate::sys;

/// The rights over files, as `linux/landlock.h` numbers them.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const CREATE_SOCKET: u64 = 1 << 9;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_ON_DEVICE: u64 = 1 << 15;
/// Those that a file can have.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_ON_DEVICE;

/// What a caged program may do with a file, or with everything below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CageAccess {
    /// Read it.
    Read,
    /// Read it, and run it.
    Execute,
    /// Read and write it.
    ReadWrite,
    /// Read and write it, and control it: a device.
    Device,
    /// Create sockets in this directory, and remove them.
    Sockets,
}

impl CageAccess {
    fn rights(self) -> u64 {
        match self {
            Self::Read => READ_FILE | READ_DIRECTORY,
            Self::Execute => READ_FILE | READ_DIRECTORY | EXECUTE,
            Self::ReadWrite => READ_FILE | READ_DIRECTORY | WRITE_FILE | TRUNCATE,
            Self::Device => READ_FILE | WRITE_FILE | IOCTL_ON_DEVICE,
            Self::Sockets => CREATE_SOCKET | REMOVE_FILE,
        }
    }
}

/// The rights over files that a kernel with this version of the interface knows; all of them are
/// taken away.
fn known(abi: u32) -> u64 {
    let highest = match abi {
        0 | 1 => 12,
        2 => 13,
        3 | 4 => 14,
        _ => 15,
    };
    (2 << highest) - 1
}

/// Whether a kernel with this version restricts the cutting of files.
pub(super) fn restricts_cutting(abi: u32) -> bool {
    known(abi) & TRUNCATE != 0
}

/// A ruleset that takes everything away but what was added to it.
#[derive(Debug)]
pub(super) struct Ruleset {
    fd: OwnedFd,
    known: u64,
}

impl Ruleset {
    pub(super) fn new(abi: u32) -> Result<Self, CageError> {
        let known = known(abi);
        // To bind a TCP port, and to connect to one.
        let net = if abi >= 4 { 0b11 } else { 0 };
        // Abstract Unix sockets, and signals.
        let scoped = if abi >= 6 { 0b11 } else { 0 };
        let fd = sys::cage::create_ruleset(known, net, scoped)
            .map_err(|source| CageError::Ruleset { source })?;
        Ok(Self { fd, known })
    }

    pub(super) fn add(&self, path: &Path, access: CageAccess) -> Result<(), CageError> {
        let failed = |source| CageError::File { path: path.to_owned(), source };
        let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        let kind =
            FileType::from_raw_mode(fstat(&file).map_err(|errno| failed(errno.into()))?.st_mode);
        let fitting = if kind == FileType::Directory { u64::MAX } else { OF_FILES };
        let rights = access.rights() & self.known & fitting;
        sys::cage::add_rule(&self.fd, &file, rights).map_err(failed)
    }

    pub(super) fn add_if_there(&self, path: &Path, access: CageAccess) -> Result<(), CageError> {
        match self.add(path, access) {
            Err(CageError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_takes_away_all_that_it_knows() {
        assert_eq!(known(1), 0x1fff);
        assert_eq!(known(3), 0x7fff);
        assert_eq!(known(5), 0xffff);
        assert_eq!(known(99), 0xffff);
        assert!(restricts_cutting(3) && !restricts_cutting(2));
    }

    #[test]
    fn nothing_may_create_files_or_directories() {
        let all = [
            CageAccess::Read,
            CageAccess::Execute,
            CageAccess::ReadWrite,
            CageAccess::Device,
            CageAccess::Sockets,
        ];
        let rights = all.iter().fold(0, |rights, access| rights | access.rights());
        assert_eq!(rights & !(OF_FILES | READ_DIRECTORY | REMOVE_FILE | CREATE_SOCKET), 0);
    }
}
