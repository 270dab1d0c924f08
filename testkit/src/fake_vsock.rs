//! The host's end of a hybrid vsock, with a guest behind it that isn't one.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use crate::socket_server::SocketServer;

/// A Unix socket that speaks cloud-hypervisor's handshake: `CONNECT PORT` is answered with `OK N`,
/// and the connection is closed if no process listens at that port. It ends when it is dropped.
#[derive(Debug)]
pub struct FakeVsock {
    _server: SocketServer,
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
        let guest = Arc::new(guest);
        // A client that goes away is an error: the connection's end.
        let server = SocketServer::start(socket, move |stream| drop(serve(stream, port, &*guest)))?;
        Ok(Self { _server: server })
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
