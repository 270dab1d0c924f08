//! Watches a machine's directory for state changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::fs::error::FileError;
use crate::fs::watch::{Watch, WatchFlags};
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::store::layout;

/// A watch on a machine: readable when it may have been started, booted, stopped or removed.
#[derive(Debug)]
pub(crate) struct VmWatch {
    vm: Vm,
    watch: Watch,
}

impl VmWatch {
    pub(crate) fn new(vm: &Vm) -> Result<Self, FileError> {
        match Watch::new() {
            Ok(watch) => Ok(Self { vm: vm.clone(), watch }),
            Err(source) => Err(failed(vm, source)),
        }
    }

    /// Takes the events that have come, and watches for the next. What they mean is asked of the
    /// machine itself, after this.
    ///
    /// # Errors
    ///
    /// [`MachineError::Removed`] if it is no more.
    pub(crate) fn drain(&self) -> Result<(), MachineError> {
        self.watch.drain();
        // The directory for its API socket and the record of its run, the directory of its other
        // sockets, and the VMM's events, a file that each run creates anew.
        let of_directory = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        let directory = self.vm.directory();
        match self.watch.add(directory, of_directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.vm.removed()),
            other => other,
        }
        .and_then(|()| self.watch.add_if_there(&layout::sockets(directory), of_directory))
        .and_then(|()| self.watch.add_if_there(&self.vm.events(), WatchFlags::MODIFY))
        .map_err(|source| failed(&self.vm, source).into())
    }
}

fn failed(vm: &Vm, source: io::Error) -> FileError {
    FileError::Watch { path: vm.directory().to_owned(), source }
}

impl AsFd for VmWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
