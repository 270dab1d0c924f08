//! Waits for a socket to appear in a directory.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::fs::deadline::Deadline;
use crate::fs::error::FileError;
use crate::fs::watch::{Watch, WatchFlags};

/// How long a server may be between its two calls; one that the kernel's table does not show is not
/// waited for any longer.
const MOMENT: Duration = Duration::from_millis(200);
/// How long is waited before the table is read again.
const PAUSE: Duration = Duration::from_micros(200);

/// A watch on a directory, from before the sockets are created.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    directory: PathBuf,
    server: u32,
    watch: Watch,
}

impl SocketWatch {
    /// Watches for what the process `server` creates.
    pub(crate) fn new(directory: &Path, server: u32) -> Result<Self, FileError> {
        let set_up = || -> io::Result<Watch> {
            let watch = Watch::new()?;
            watch.add(directory, WatchFlags::CREATE)?;
            Ok(watch)
        };
        match set_up() {
            Ok(watch) => Ok(Self { directory: directory.to_owned(), server, watch }),
            Err(source) => Err(FileError::Watch { path: directory.to_owned(), source }),
        }
    }

    /// Ends the watch, and does not wait for its end: to close it, the kernel waits until no thread
    /// can be looking at it any more, 5 to 20 milliseconds.
    pub(crate) fn end(self) {
        // Without a thread to spare, it is closed here.
        drop(std::thread::Builder::new().name("watch".into()).spawn(move || drop(self)));
    }

    /// Waits until `socket` is there and listens: true. False if it isn't when `over` can be read or is closed
    /// at its other end, or at the deadline.
    pub(crate) fn wait_for(
        &self,
        socket: &Path,
        over: impl AsFd,
        deadline: Deadline,
    ) -> Result<bool, FileError> {
        loop {
            if is_there(socket)? {
                wait_until_it_listens(socket, self.server, deadline);
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

/// Waits a moment until `socket` listens. Between the creation of its file, which is seen, and the
/// call to listen(2), which is not, a connection is refused: of a hundred starts on a busy host it was
/// refused in 19, and the switch tries again a second later.
///
/// To connect would tell as well, and take the place of the peer that is waited for.
fn wait_until_it_listens(socket: &Path, server: u32, deadline: Deadline) {
    let deadline = deadline.min(Deadline::after(MOMENT));
    while !listens(socket, server) && !deadline.is_over() {
        std::thread::sleep(PAUSE);
    }
}

/// Whether the kernel's table of the server's sockets says so: each network namespace has its own, and a VMM
/// may have a network namespace of its own.
fn listens(socket: &Path, server: u32) -> bool {
    // `__SO_ACCEPTCON` of the column Flags (proc_pid_net(5)).
    const ACCEPTS: u64 = 1 << 16;
    let Ok(table) = std::fs::read(format!("/proc/{server}/net/unix")) else { return true };
    let path = socket.as_os_str().as_bytes();
    table.split(|byte| *byte == b'\n').any(|line| {
        let Some(columns) = line.strip_suffix(path) else { return false };
        let columns = String::from_utf8_lossy(columns);
        let flags = columns.split_whitespace().nth(3);
        flags
            .and_then(|flags| u64::from_str_radix(flags, 16).ok())
            .is_some_and(|flags| flags & ACCEPTS != 0)
    })
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
    use super::*;
    use std::os::unix::net::UnixListener;

    use virshle_testkit::NetNamespace;
    use virshle_testkit_macros::test_on;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn a_socket_is_seen_when_it_appears() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("main.sock");
        let watch = SocketWatch::new(directory.path(), std::process::id()).unwrap();
        let (over, _open) = std::io::pipe().unwrap();
        let path = socket.clone();
        let maker = std::thread::spawn(move || UnixListener::bind(path).unwrap());
        assert!(watch.wait_for(&socket, &over, soon()).unwrap());
        drop(maker.join());
    }

    /// Regression: a switch that connected between bind and listen tried again a second later.
    #[test]
    fn a_socket_that_is_bound_does_not_listen_yet() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a name with blanks.sock");
        let server = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&server, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let server_id = std::process::id();
        assert!(is_there(&path).unwrap() && !listens(&path, server_id));
        listen(&server, 1).unwrap();
        assert!(listens(&path, server_id));
        assert!(!listens(&directory.path().join("blanks.sock"), server_id));
    }

    /// Regression: each start with vhost-user took 200 ms more once VMMs had networks of their own.
    #[test_on(Root)]
    fn root_a_server_in_another_network_is_seen_to_listen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.sock");
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let at = path.clone();
        let server = std::thread::spawn(move || {
            let _network = NetNamespace::enter().unwrap();
            let _listener = UnixListener::bind(at).unwrap();
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            ended.recv().unwrap_err();
        });
        let server_id = told.recv().unwrap();
        assert!(listens(&path, server_id));
        assert!(!listens(&path, std::process::id()));
        drop(end);
        server.join().unwrap();
    }

    /// Regression: a start waited its whole minute in a directory that can't be read (7337a60).
    #[test]
    fn what_cannot_be_looked_at_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("net"), "").unwrap();
        let watch = SocketWatch::new(directory.path(), std::process::id()).unwrap();
        let (over, _open) = std::io::pipe().unwrap();
        let error = watch.wait_for(&directory.path().join("net/main.sock"), &over, soon());
        assert!(matches!(error, Err(FileError::Watch { .. })), "{error:?}");
    }

    #[test]
    fn the_wait_ends_when_the_boot_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let watch = SocketWatch::new(directory.path(), std::process::id()).unwrap();
        let (over, open) = std::io::pipe().unwrap();
        let closer = std::thread::spawn(move || drop(open));
        assert!(!watch.wait_for(&directory.path().join("no"), &over, soon()).unwrap());
        closer.join().unwrap();
    }
}
