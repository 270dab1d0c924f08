//! Waiting for a socket to appear in a folder, without asking again and again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::error::CoreError;

/// A watch on a folder, from before the sockets are made.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    folder: PathBuf,
    inotify: OwnedFd,
}

impl SocketWatch {
    pub(crate) fn new(folder: &Path) -> Result<Self, CoreError> {
        let set_up = || -> io::Result<OwnedFd> {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let descriptor = inotify::init(flags)?;
            inotify::add_watch(&descriptor, folder, inotify::WatchFlags::CREATE)?;
            Ok(descriptor)
        };
        match set_up() {
            Ok(inotify) => Ok(Self { folder: folder.to_owned(), inotify }),
            Err(source) => Err(CoreError::Watch { path: folder.to_owned(), source }),
        }
    }

    /// Ends the watch, and does not wait for its end: to close it, the kernel waits until nobody can
    /// be looking at it any more, 5 to 20 milliseconds.
    pub(crate) fn end(self) {
        // Without a thread to spare, it is closed here.
        drop(std::thread::Builder::new().name("watch".into()).spawn(move || drop(self)));
    }

    /// Waits until `socket` is there: true. False if it isn't when `over` can be read or is closed
    /// at its other end, or at the deadline.
    pub(crate) fn wait_for(
        &self,
        socket: &Path,
        over: impl AsFd,
        deadline: Instant,
    ) -> Result<bool, CoreError> {
        let failed = |errno: rustix::io::Errno| CoreError::Watch {
            path: self.folder.clone(),
            source: errno.into(),
        };
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        loop {
            if is_there(socket)? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut sources =
                [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&over, PollFlags::IN)];
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut sources, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
            let closed = !sources[1].revents().is_empty();
            // What the events say is asked of the folder itself.
            let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
            while reader.next().is_ok() {}
            if closed {
                return is_there(socket);
            }
        }
    }
}

/// A folder that can't be looked at is no reason to wait until the deadline.
fn is_there(socket: &Path) -> Result<bool, CoreError> {
    match socket.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(CoreError::Watch { path: socket.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_socket_is_seen_when_it_appears() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("main.sock");
        let watch = SocketWatch::new(folder.path()).unwrap();
        let (over, _open) = std::io::pipe().unwrap();
        let path = socket.clone();
        let maker = std::thread::spawn(move || UnixListener::bind(path).unwrap());
        assert!(watch.wait_for(&socket, &over, soon()).unwrap());
        drop(maker.join());
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("net"), "").unwrap();
        let watch = SocketWatch::new(folder.path()).unwrap();
        let (over, _open) = std::io::pipe().unwrap();
        let error = watch.wait_for(&folder.path().join("net/main.sock"), &over, soon());
        assert!(matches!(error, Err(CoreError::Watch { .. })), "{error:?}");
    }

    #[test]
    fn the_wait_ends_when_the_boot_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let watch = SocketWatch::new(folder.path()).unwrap();
        let (over, open) = std::io::pipe().unwrap();
        let closer = std::thread::spawn(move || drop(open));
        assert!(!watch.wait_for(&folder.path().join("no"), &over, soon()).unwrap());
        closer.join().unwrap();
    }
}
