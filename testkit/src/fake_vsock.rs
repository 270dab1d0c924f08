//! The host's end of a hybrid vsock, with a guest behind it that isn't one.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A Unix socket that speaks cloud-hypervisor's handshake: `CONNECT PORT` is answered with `OK N`,
/// and the connection is closed if no process listens at that port. It ends when it is dropped.
#[derive(Debug)]
pub struct FakeVsock {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeVsock {
    /// Listens at `socket`. Who connects to `port` of the guest talks to `guest`, each in a thread
    /// of its own.
    ///
    /// # Errors
    ///
    /// If the socket can't be created.
    pub fn start<G>(socket: &Path, port: u32, guest: G) -> io::Result<Self>
    where
        G: Fn(UnixStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = UnixListener::bind(socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let guest = Arc::new(guest);
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut connections = Vec::new();
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let Ok(ours) = stream.try_clone() else { continue };
                    let guest = Arc::clone(&guest);
                    let thread = thread::spawn(move || {
                        let end = stream.try_clone();
                        // A client that goes away is reported to this thread by an error: its end.
                        drop(serve(stream, port, &*guest));
                        // Copies of the stream are kept to end it early: they must not keep it.
                        drop(end.and_then(|end| end.shutdown(Shutdown::Both)));
                    });
                    connections.push((ours, thread));
                }
                for (stream, thread) in connections {
                    drop(stream.shutdown(Shutdown::Both));
                    drop(thread.join());
                }
            }
        });
        Ok(Self { socket: socket.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for FakeVsock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if UnixStream::connect(&self.socket).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
        drop(std::fs::remove_file(&self.socket));
    }
}

fn serve(
    mut stream: UnixStream,
    port: u32,
    guest: &dyn Fn(UnixStream) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    if line != format!("CONNECT {port}\n").into_bytes() {
        return Ok(());
    }
    stream.write_all(b"OK 1073741824\n")?;
    guest(stream)
}
