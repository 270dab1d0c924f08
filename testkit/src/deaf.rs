//! Sockets at which nothing listens, and nothing has ever listened.
//!
//! One that listened until it was closed still takes connections for a moment, while a program that another
//! test starts has a copy of it, between its fork(2) and its exec(2).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, socket_with,
};

/// Leaves a Unix socket at `path` as a process leaves it that was killed: who connects is refused.
///
/// # Errors
///
/// If it can't be made.
pub fn stale_socket(path: &Path) -> io::Result<()> {
    bind(&stream_socket(AddressFamily::UNIX)?, &SocketAddrUnix::new(path)?)?;
    Ok(())
}

/// A TCP address of this host that nobody else gets: who connects to it is refused.
#[derive(Debug)]
pub struct DeafAddress {
    /// The address.
    pub address: SocketAddr,
    _socket: OwnedFd,
}

impl DeafAddress {
    /// Takes one of the host's loopback.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn new() -> io::Result<Self> {
        let socket = stream_socket(AddressFamily::INET)?;
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Self { address, _socket: socket })
    }
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}
