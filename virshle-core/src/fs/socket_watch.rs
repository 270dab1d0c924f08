//! Waits for a socket to appear in a directory.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};

use crate::fs::deadline::Deadline;
use crate::fs::error::FileError;
use crate::fs::watch::{Watch, WatchFlags};

/// A watch on a directory, from before the sockets are created.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    directory: PathBuf,
    watch: Watch,
}

impl SocketWatch {
    pub(crate) fn new(directory: &Path) -> Result<Self, FileError> {
        let set_up = || -> io::Result<Watch> {
            let watch = Watch::new()?;
            watch.add(directory, WatchFlags::CREATE)?;
            Ok(watch)
        };
        match set_up() {
            Ok(watch) => Ok(Self { directory: directory.to_owned(), watch }),
            Err(source) => Err(FileError::Watch { path: directory.to_owned(), source }),
        }
    }

    /// Ends the watch, and does not wait for its end: to close it, the kernel waits until no thread
    /// can be looking at it any more, 5 to 20 milliseconds.
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
        deadline: Deadline,
    ) -> Result<bool, FileError> {
        loop {
            if is_there(socket)? {
                return Ok(true);
            }
            if deadline.is_over() {
                return Ok(false);
            }
            let mut sources =
                [PollFd::new(&self.watch, PollFlags::IN), PollFd::new(&over, PollFlags::IN)];
            match poll(&mut sources, deadline.timespec().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(FileError::Watch {
                        path: self.directory.clone(),
                        source: errno.into(),
                    });
                }
            }
            let closed = !sources[1].revents().is_empty();
            self.watch.drain();
            if closed {
                return is_there(socket);
            }
        }
    }
}

/// A directory that can't be looked at is no reason to wait until the deadline.
fn is_there(socket: &Path) -> Result<bool, FileError> {
    match socket.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::Watch { path: socket.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn a_socket_is_seen_when_it_appears() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("main.sock");
        let watch = SocketWatch::new(directory.path()).unwrap();
        let (over, _open) = std::io::pipe().unwrap();
        let path = socket.clone();
        let maker = std::thread::spawn(move || UnixListener::bind(path).unwrap());
        assert!(watch.wait_for(&socket, &over, soon()).unwrap());
        drop(maker.join());
    }

    /// Regression: a start waited its whole minute in a directory that can't be read (7337a60).
    #[test]
    fn what_cannot_be_looked_at_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("net"), "").unwrap();
        let watch = SocketWatch::new(directory.path()).unwrap();
        let (over, _open) = std::io::pipe().unwrap();
        let error = watch.wait_for(&directory.path().join("net/main.sock"), &over, soon());
        assert!(matches!(error, Err(FileError::Watch { .. })), "{error:?}");
    }

    #[test]
    fn the_wait_ends_when_the_boot_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let watch = SocketWatch::new(directory.path()).unwrap();
        let (over, open) = std::io::pipe().unwrap();
        let closer = std::thread::spawn(move || drop(open));
        assert!(!watch.wait_for(&directory.path().join("no"), &over, soon()).unwrap());
        closer.join().unwrap();
    }
}
