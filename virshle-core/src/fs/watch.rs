//! Watches files and directories for changes (inotify(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;

pub(crate) use rustix::fs::inotify::WatchFlags;

/// A watch: readable when something happened to what it watches. What it means is asked of the files
/// themselves, after [`drain`](Self::drain).
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self(inotify::init(flags)?))
    }

    /// Watches `path` as well; to watch the same thing again changes nothing.
    pub(crate) fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<()> {
        inotify::add_watch(&self.0, path, flags)?;
        Ok(())
    }

    /// As [`add`](Self::add), for what may be absent.
    pub(crate) fn add_if_there(&self, path: &Path, flags: WatchFlags) -> io::Result<()> {
        match self.add(path, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Takes the events that have come.
    pub(crate) fn drain(&self) {
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        while reader.next().is_ok() {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
