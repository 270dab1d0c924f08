//! A server at a Unix socket that ends, with all its threads, when it is dropped.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// Serves each connection in a thread of its own.
#[derive(Debug)]
pub(crate) struct SocketServer {
    socket: PathBuf,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
}

impl SocketServer {
    /// Listens at `socket`, and gives each connection to `serve`.
    ///
    /// # Errors
    ///
    /// If the socket can't be made.
    pub(crate) fn start<S>(socket: &Path, serve: S) -> io::Result<Self>
    where
        S: Fn(UnixStream) + Clone + Send + 'static,
    {
        let listener = UnixListener::bind(socket)?;
        let thread = thread::spawn({
            let listener = listener.try_clone()?;
            move || accept(&listener, &serve)
        });
        Ok(Self { socket: socket.to_owned(), listener, thread: Some(thread) })
    }
}

/// Serves until the listener is shut down, and ends what is still connected then.
fn accept<S>(listener: &UnixListener, serve: &S)
where
    S: Fn(UnixStream) + Clone + Send + 'static,
{
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        let Ok(ours) = stream.try_clone() else { continue };
        let serve = serve.clone();
        let thread = thread::spawn(move || {
            let end = stream.try_clone();
            serve(stream);
            // The copy that is kept to end it early must not keep it.
            drop(end.and_then(|end| end.shutdown(Shutdown::Both)));
        });
        connections.push((ours, thread));
    }
    for (stream, thread) in connections {
        // It fails for one that has ended.
        drop(stream.shutdown(Shutdown::Both));
        drop(thread.join());
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        // It wakes the thread, which a connection would not once the directory of the socket is gone;
        // a thread that is left keeps all that it serves with: keys, directories.
        let woken = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        assert!(woken.is_ok() || thread::panicking(), "cannot end a server: {woken:?}");
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(std::fs::remove_file(&self.socket));
    }
}
