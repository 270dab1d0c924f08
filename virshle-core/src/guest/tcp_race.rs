//! A TCP connection to the first of several addresses that answers.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::fs::deadline::Deadline;

/// How long an address is alone in the race before the next one starts.
///
/// # References
///
/// RFC 8305, section 5: 250 ms is recommended.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers, in their order of preference, and returns which
/// one it is. An address that is silent keeps the next ones waiting but a moment.
///
/// # Errors
///
/// Why it failed for each address, in their order.
#[doc(alias = "happy eyeballs")]
pub(crate) fn connect_first(
    addresses: &[SocketAddr],
    deadline: Deadline,
) -> Result<(usize, TcpStream), Vec<io::Error>> {
    let mut failures: Vec<Option<io::Error>> = addresses.iter().map(|_| None).collect();
    let mut running: Vec<(usize, OwnedFd)> = Vec::new();
    let mut waiting = addresses.iter().enumerate();
    let mut next = waiting.next();
    let mut next_start = Deadline::after(Duration::ZERO);
    loop {
        if deadline.is_over() {
            break;
        }
        if let Some((place, address)) = next {
            if running.is_empty() || next_start.is_over() {
                match start(*address) {
                    Ok(socket) => running.push((place, socket)),
                    Err(error) => failures[place] = Some(error),
                }
                next = waiting.next();
                next_start = Deadline::after(STAGGER);
                continue;
            }
        }
        if running.is_empty() {
            break;
        }
        let until = if next.is_some() { next_start.min(deadline) } else { deadline };
        let mut lost = Vec::new();
        for at in ready(&running, until) {
            match sockopt::socket_error(&running[at].1).unwrap_or_else(Err) {
                Ok(()) => {
                    let (place, socket) = running.swap_remove(at);
                    match finish(socket) {
                        Ok(stream) => return Ok((place, stream)),
                        Err(error) => failures[place] = Some(error),
                    }
                    // The places of the others have changed: they are asked again.
                    break;
                }
                Err(errno) => {
                    failures[running[at].0] = Some(errno.into());
                    lost.push(running[at].0);
                }
            }
        }
        running.retain(|(place, _)| !lost.contains(place));
    }
    let silent = || io::Error::from(io::ErrorKind::TimedOut);
    Err(failures.into_iter().map(|failure| failure.unwrap_or_else(silent)).collect())
}

/// Starts to connect.
fn start(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// The places of those that are connected, or have failed, by `until`.
fn ready(running: &[(usize, OwnedFd)], until: Deadline) -> Vec<usize> {
    let mut sources: Vec<PollFd<'_>> =
        running.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT)).collect();
    // What can't be polled is polled again, until the deadline.
    poll(&mut sources, until.timespec().as_ref()).ok();
    (0..sources.len()).filter(|at| !sources[*at].revents().is_empty()).collect()
}

/// Makes a connection one that blocks, and that notices when its other end is gone for good.
fn finish(socket: OwnedFd) -> io::Result<TcpStream> {
    ioctl_fionbio(&socket, false)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn an_address_that_refuses_is_passed_over() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [closed, open.local_addr().unwrap()];
        let (place, stream) = connect_first(&addresses, soon()).unwrap();
        assert_eq!(place, 1);
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        let failures = connect_first(&addresses[..1], soon()).unwrap_err();
        assert_eq!(failures[0].kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_silent_address_does_not_keep_the_next_from_winning() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        rustix::net::listen(&silent, 0).unwrap();
        // They fill its queue; the ones after get no answer.
        let _fill: Vec<_> = (0..4).filter_map(|_| start(address).ok()).collect();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [address, open.local_addr().unwrap()];
        let (place, _) = connect_first(&addresses, soon()).unwrap();
        assert_eq!(place, 1);
        let soon = Deadline::after(Duration::from_millis(50));
        let failures = connect_first(&addresses[..1], soon).unwrap_err();
        assert_eq!(failures[0].kind(), io::ErrorKind::TimedOut);
        assert!(connect_first(&[], Deadline::after(STAGGER)).unwrap_err().is_empty());
    }
}
