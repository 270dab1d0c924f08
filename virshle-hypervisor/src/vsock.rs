//! Virtio vsock: its configuration, and connections to the guest.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::HypervisorError;
use crate::deadline::Deadline;
use crate::http::Connection;

/// The vsock device of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VsockConfig {
    /// The guest's address, at least 3. It is private to the process: every machine may use 3.
    pub cid: u32,
    /// The host's end, a Unix socket that cloud-hypervisor creates.
    pub socket: PathBuf,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl VsockConfig {
    /// A vsock of the guest's address `cid` whose host's end is `socket`.
    pub fn new(cid: u32, socket: impl Into<PathBuf>) -> Self {
        Self { cid, socket: socket.into(), extra: Map::new() }
    }
}

/// The longest answer of the handshake: `OK`, a port and a newline.
const MAX_ANSWER: usize = 32;

/// Connects to `port` of the guest behind the vsock socket of its machine.
///
/// The stream is the guest's: what it sent right after the handshake is still to be read. It has
/// no timeouts left.
///
/// # Errors
///
/// [`HypervisorError::Vsock`] if no process listens at the socket or the handshake fails,
/// [`VsockRefused`](HypervisorError::VsockRefused) if no process listens in the guest, and
/// [`VsockSilent`](HypervisorError::VsockSilent) if the guest doesn't answer, as one that hasn't
/// started its driver doesn't.
///
/// # References
///
/// cloud-hypervisor's `docs/vsock.md`, which follows Firecracker.
#[doc(alias = "hybrid vsock")]
pub fn connect_vsock(
    socket: &Path,
    port: u32,
    timeout: Duration,
) -> Result<UnixStream, HypervisorError> {
    let deadline = Deadline::after(timeout);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            HypervisorError::VsockSilent { socket: socket.to_owned(), port, timeout }
        }
        _ => HypervisorError::Vsock { socket: socket.to_owned(), port, source },
    };
    let refused = || HypervisorError::VsockRefused { socket: socket.to_owned(), port };

    let mut stream = Connection::open(socket, &deadline).map_err(failed)?.into_stream();
    match stream.write_all(format!("CONNECT {port}\n").as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(refused()),
        result => result.map_err(failed)?,
    }
    let mut answer = Vec::new();
    // Byte by byte: what follows the newline is the guest's and must stay in the socket.
    while answer.last() != Some(&b'\n') {
        let left = deadline.left().ok_or_else(|| failed(io::ErrorKind::TimedOut.into()))?;
        set_socket_timeout(&stream, Timeout::Recv, Some(left))
            .map_err(|errno| failed(errno.into()))?;
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Err(refused()),
            Ok(_) if answer.len() < MAX_ANSWER => answer.push(byte[0]),
            Ok(_) => return Err(failed(io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(refused()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if !answer.starts_with(b"OK ") {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    }
    for which in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&stream, which, None).map_err(|errno| failed(errno.into()))?;
    }
    tracing::debug!(socket = %socket.display(), port, "connected to the guest by vsock");
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn handshake(answer: &'static [u8], keep: bool) -> Result<UnixStream, HypervisorError> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vsock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let guest = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            io::BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "CONNECT 22\n");
            stream.write_all(answer).unwrap();
            if keep {
                finished.recv().ok();
            }
        });
        let timeout = if keep { Duration::from_millis(100) } else { Duration::MAX };
        let result = connect_vsock(&socket, 22, timeout);
        drop(finish);
        guest.join().unwrap();
        result
    }

    #[test]
    fn what_the_guest_sends_first_stays_in_the_stream() {
        let mut stream = handshake(b"OK 1073741824\nSSH-2.0", false).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "SSH-2.0");
    }

    #[test]
    fn a_port_without_listener_is_no_timeout() {
        let refused = handshake(b"", false).unwrap_err();
        assert!(matches!(refused, HypervisorError::VsockRefused { port: 22, .. }), "{refused:?}");
        let silent = handshake(b"", true).unwrap_err();
        assert!(matches!(silent, HypervisorError::VsockSilent { .. }), "{silent:?}");
        assert!(silent.timed_out());
    }

    #[test]
    fn a_strange_answer_is_an_error() {
        for answer in [&b"NO 1\n"[..], b"OK 11111111111111111111111111111111111111111"] {
            let error = handshake(answer, false).unwrap_err();
            assert!(matches!(error, HypervisorError::Vsock { .. }), "{error:?}");
        }
    }

    #[test]
    fn an_absent_socket_has_an_error_of_its_own() {
        let error = connect_vsock(Path::new("/nowhere/v"), 22, Duration::from_secs(1));
        assert!(error.unwrap_err().nobody_listens());
    }
}
