//! Keeps a connection for ssh, which takes none that is open already: it asks its `ProxyCommand` for
//! one.
//!
//! `v vm ssh` connects itself, so that an error of that is its own, and becomes ssh. A child of it, the
//! holder, waits meanwhile for the proxy that ssh runs, and gives it the connection.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use virshle_core::GuestStream;

/// How long a holder waits, in seconds: ssh runs its proxy at once, or never.
const PATIENCE: i64 = 10;

/// Starts a holder of `stream` by the command `own`. Returns the name by which [`take`] finds it.
pub(super) fn start(own: &[OsString], machine: &str, stream: GuestStream) -> io::Result<String> {
    let name = format!("virshle-{}-{}", std::process::id(), uuid());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let (program, arguments) = own.split_first().ok_or(io::ErrorKind::NotFound)?;
    Command::new(program)
        .args(arguments)
        .args(["vm", "proxy", "--hold", "--", machine])
        .stdin(OwnedFd::from(listener))
        .stdout(OwnedFd::from(stream))
        .stderr(Stdio::null())
        .spawn()?;
    Ok(name)
}

/// A part of the name that nobody guesses, as the kernel makes it.
fn uuid() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    text.trim().to_owned()
}

/// The holder: gives the connection on the standard output to who connects to the standard input.
pub(super) fn hold() -> io::Result<()> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut events = [PollFd::new(&listener, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    if poll(&mut events, Some(&patience))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (peer, _) = listener.accept()?;
    must_be_own(&peer)?;
    GuestStream::give(io::stdout(), &peer)
}

/// Hands the connection that is held under `name` on to the process that reads the standard output.
pub(super) fn take(name: &str) -> io::Result<()> {
    let holder = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    must_be_own(&holder)?;
    GuestStream::hand_on(&holder, io::stdout())
}

/// Lets go what is held under `name`.
pub(super) fn release(name: &str) {
    // One that is gone has let go already.
    drop(
        SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address)),
    );
}

/// Fails if the other end is another user's.
fn must_be_own(peer: &UnixStream) -> io::Result<()> {
    let is_own = socket_peercred(peer)?.uid == geteuid();
    if is_own { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}
