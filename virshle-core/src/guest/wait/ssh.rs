//! Whether the ssh server of a machine answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};

use crate::fs::deadline::{Deadline, timespec};
use crate::guest::error::GuestError;
use crate::guest::stream::{GuestStream, connect};
use crate::guest::wait::awaited::SSH_PORT;
use crate::guest::wait::missing::{LONGEST_ATTEMPT, Missing, SHORTEST_ATTEMPT, Wakeup};
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;

/// How long a server may take to send its first byte: one that is started for each connection may
/// have to be read from a slow disk.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// The most that a server sends before its version, in bytes.
const MAX_GREETING: u64 = 8 << 10;

pub(super) fn missing_ssh(vm: &Vm, deadline: Deadline) -> Option<Missing> {
    // Also the last question is a real one, and so is the only one of a wait of no time.
    let left = deadline.left();
    let error = match connect(vm, SSH_PORT, left.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT)) {
        Ok(stream) => match greet(stream, left.clamp(SHORTEST_ATTEMPT, GREETING)) {
            Ok(()) => return None,
            Err(error) => {
                let what = format!("no SSH server on that port: {error}");
                return Some(Missing { what, wakeup: Wakeup::Poll });
            }
        },
        Err(error) => error,
    };
    // The way to a machine that is off opens when it is started, which is an event. But a socket is
    // there a moment before it is listened at, and that is none.
    let wrong_state = matches!(error, GuestError::Machine(MachineError::WrongState { .. }));
    let is_off = wrong_state && !vm.vsock().exists() && !vm.api_socket().exists();
    let wakeup = if is_off { Wakeup::Event } else { Wakeup::Poll };
    Some(Missing { what: error.to_string(), wakeup })
}

/// Waits until the server at the other end sends something, and leaves it to be read. One that is
/// silent for so long may yet send it to the process that gets the connection.
pub(super) fn await_greeting(stream: &GuestStream, timeout: Duration) -> io::Result<()> {
    let mut events = [PollFd::new(stream, PollFlags::IN)];
    match poll(&mut events, timespec(timeout).as_ref()) {
        Ok(0) | Err(Errno::INTR) => return Ok(()),
        other => other?,
    };
    match recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "connection closed before the SSH banner",
        )),
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads the version of the ssh server at the other end, and sends ours, as it would otherwise log a
/// client without one.
///
/// # References
///
/// RFC 4253, section 4.2: other lines may come before it.
fn greet(stream: GuestStream, timeout: Duration) -> io::Result<()> {
    // Reading and writing is the same on any socket.
    let mut stream = UnixStream::from(OwnedFd::from(stream));
    set_socket_timeout(&stream, Timeout::Recv, Some(timeout))?;
    let mut greeting = BufReader::new((&stream).take(MAX_GREETING));
    loop {
        let mut line = Vec::new();
        if greeting.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    // Whether it still listens is of no interest.
    drop(stream.write_all(b"SSH-2.0-virshle\r\n"));
    Ok(())
}
