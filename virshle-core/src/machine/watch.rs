//! Hearing of what becomes of a machine, without asking again and again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, WatchFlags};

use crate::error::CoreError;
use crate::machine::vm::Vm;

/// A watch on a machine: readable when it may have been started, booted, stopped or removed.
#[derive(Debug)]
pub(crate) struct VmWatch {
    vm: Vm,
    inotify: OwnedFd,
}

impl VmWatch {
    pub(crate) fn new(vm: &Vm) -> Result<Self, CoreError> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        match inotify::init(flags) {
            Ok(inotify) => Ok(Self { vm: vm.clone(), inotify }),
            Err(errno) => {
                Err(CoreError::Watch { path: vm.folder().to_owned(), source: errno.into() })
            }
        }
    }

    /// Takes what was heard, and hears of what comes next. What it means is asked of the machine
    /// itself, after this.
    ///
    /// # Errors
    ///
    /// [`CoreError::Removed`] if it is no more.
    pub(crate) fn drain(&self) -> Result<(), CoreError> {
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while reader.next().is_ok() {}
        // The folder for its API socket and the record of its run, the folder of its other sockets, and
        // the VMM's events, a file that each run makes anew. To watch the same thing again changes
        // nothing.
        let of_folder = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        match self.watch(self.vm.folder(), of_folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.vm.removed()),
            other => other,
        }
        .and_then(|()| self.watch_if_there(&self.vm.folder().join("net"), of_folder))
        .and_then(|()| self.watch_if_there(&self.vm.events(), WatchFlags::MODIFY))
        .map_err(|source| CoreError::Watch { path: self.vm.folder().to_owned(), source })
    }

    fn watch_if_there(&self, path: &Path, flags: WatchFlags) -> io::Result<()> {
        match self.watch(path, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn watch(&self, path: &Path, flags: WatchFlags) -> io::Result<()> {
        inotify::add_watch(&self.inotify, path, flags)?;
        Ok(())
    }
}

impl AsFd for VmWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
