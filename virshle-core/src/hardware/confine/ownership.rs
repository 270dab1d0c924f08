//! What belongs to a machine's user: its disks, and the directories of those, of its sockets and of what
//! is temporary. All else in a machine's directory is its node's owner's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, open};

use crate::hardware::confine::error::ConfineError;
use crate::hardware::confine::user::MachineUser;
use crate::machine::vm::Vm;
use crate::store::layout;

/// What is to change its owner.
#[derive(Debug)]
pub(super) struct Plan {
    uid: u32,
    foreign: Vec<(PathBuf, OwnedFd, FileType)>,
}

/// Finds what isn't the user's yet: of a machine that was created since, or by an earlier version.
pub(super) fn plan(vm: &Vm, user: &MachineUser) -> Result<Plan, ConfineError> {
    let mut plan = Plan { uid: user.uid(), foreign: Vec::new() };
    for directory in [layout::disks, layout::sockets, layout::temporary] {
        plan.add(&directory(vm.directory()), FileType::Directory)?;
    }
    for disk in &vm.definition().disks {
        plan.add(&vm.disk(&disk.name), FileType::RegularFile)?;
    }
    Ok(plan)
}

impl Plan {
    fn add(&mut self, path: &Path, kind: FileType) -> Result<(), ConfineError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty()).map_err(|errno| self.failed(path, errno))?;
        let stat = fstat(&file).map_err(|errno| self.failed(path, errno))?;
        let refused = |why: &str| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, why);
            ConfineError::Own { path: path.to_owned(), uid: self.uid, source }
        };
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return Err(refused(match kind {
                FileType::Directory => "it is not a directory",
                _ => "it is not a regular file",
            }));
        }
        if stat.st_uid == self.uid && stat.st_gid == self.uid {
            return Ok(());
        }
        // Under its other name it may be anything of the host's.
        if kind == FileType::RegularFile && stat.st_nlink != 1 {
            return Err(refused("it has another name, too"));
        }
        self.foreign.push((path.to_owned(), file, kind));
        Ok(())
    }

    /// Changes the owners: a process that dies over it leaves no disk that is neither root's nor its
    /// directory's owner's, which no start would open.
    pub(super) fn apply(&self) -> Result<(), ConfineError> {
        let disks = || self.foreign.iter().filter(|(.., kind)| *kind == FileType::RegularFile);
        let directories = self.foreign.iter().filter(|(.., kind)| *kind == FileType::Directory);
        for (path, file, _) in disks() {
            self.give(path, file, 0)?;
        }
        for (path, file, _) in directories.chain(disks()) {
            self.give(path, file, self.uid)?;
        }
        Ok(())
    }

    fn give(&self, path: &Path, file: &OwnedFd, user: u32) -> Result<(), ConfineError> {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(|errno| self.failed(path, errno))
    }

    fn failed(&self, path: &Path, errno: rustix::io::Errno) -> ConfineError {
        ConfineError::Own { path: path.to_owned(), uid: self.uid, source: errno.into() }
    }
}
