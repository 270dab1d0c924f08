//! The connection: bytes out and in, each wait with its deadline.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_nodelay, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use super::Address;
use crate::deadline::Deadline;

/// Who listens on a unix socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    pub(crate) peer: Option<Peer>,
}

impl Stream {
    pub(crate) fn connect(address: &Address, deadline: Deadline) -> io::Result<Self> {
        match address {
            Address::Unix(path) => {
                let socket = socket_with(
                    AddressFamily::UNIX,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC,
                    None,
                )?;
                // A server that accepts no connection lets its queue run full: connect waits then,
                // for as long as the timeout for sending says.
                set_socket_timeout(&socket, Timeout::Send, deadline.remaining())?;
                connect(&socket, &SocketAddrUnix::new(path.as_path())?)
                    .map_err(|error| if error == Errno::AGAIN { Errno::TIMEDOUT } else { error })?;
                let peer = socket_peercred(&socket).ok().map(|found| Peer {
                    pid: found.pid.as_raw_pid(),
                    uid: found.uid.as_raw(),
                    gid: found.gid.as_raw(),
                });
                Ok(Self { socket, peer })
            }
            Address::Tcp { host, port } => {
                let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
                    match TcpStream::connect_timeout(&address, left) {
                        Ok(stream) => {
                            let socket = OwnedFd::from(stream);
                            set_tcp_nodelay(&socket, true)?;
                            return Ok(Self { socket, peer: None });
                        }
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
        }
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&self, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives what there is, waiting for it until the deadline; nothing means the end. Without a
    /// deadline it does not wait: `WouldBlock`.
    pub(crate) fn receive(&self, room: &mut [u8], deadline: Option<Deadline>) -> io::Result<usize> {
        loop {
            match recv(&self.socket, &mut *room, RecvFlags::DONTWAIT) {
                Ok((received, _)) => return Ok(received),
                Err(Errno::AGAIN) => match deadline {
                    Some(deadline) => self.wait(PollFlags::IN, deadline)?,
                    None => return Err(io::ErrorKind::WouldBlock.into()),
                },
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self, flags: PollFlags, deadline: Deadline) -> io::Result<()> {
        let left = deadline.timespec().ok_or(io::ErrorKind::TimedOut)?;
        let mut polled = [PollFd::new(&self.socket, flags)];
        match poll(&mut polled, Some(&left)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
