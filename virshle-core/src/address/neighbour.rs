//! The kernel's table of neighbours: which card answers for which address, as the host saw it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netdevice::index_to_name;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use virshle_net::MacAddr;

/// The kernel answers at once; this is for a kernel that doesn't.
const TIMEOUT: Duration = Duration::from_secs(2);

/// `struct nlmsghdr` of netlink(7).
const HEADER: usize = 16;
/// `struct ndmsg` of rtnetlink(7).
const NEIGHBOUR_HEADER: usize = 12;
const REQUEST_LENGTH: u32 = 28;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
/// The multicast group that tells of changes.
const RTMGRP_NEIGH: u32 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Nobody answered, or not yet.
const NUD_INCOMPLETE: u16 = 1;
const NUD_REACHABLE: u16 = 2;
const NUD_FAILED: u16 = 0x20;

/// A neighbour of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) mac: MacAddr,
    pub(crate) ip: IpAddr,
    /// The host's interface on which it was seen.
    pub(crate) device: String,
    /// It answered a moment ago.
    pub(crate) reachable: bool,
}

/// The neighbours there are, those that answered lately first.
///
/// # References
///
/// rtnetlink(7), `RTM_GETNEIGH`.
pub(crate) fn read() -> io::Result<Vec<Neighbour>> {
    let socket = open(0)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
    sendto(&socket, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut entries = Vec::new();
    let mut room = vec![0; 64 << 10];
    loop {
        let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
        if received == 0 || parse(&room[..received], &mut entries)? == Dump::Over {
            break;
        }
    }
    let mut neighbours: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| {
            // An interface that went away meanwhile took its neighbours along.
            let device = index_to_name(&socket, entry.device_index).ok()?;
            Some(Neighbour { mac: entry.mac, ip: entry.ip, device, reachable: entry.reachable })
        })
        .collect();
    neighbours.sort_by_key(|neighbour| !neighbour.reachable);
    Ok(neighbours)
}

/// Hears of changes to the table: readable when something changed.
#[derive(Debug)]
pub(crate) struct NeighbourWatch(OwnedFd);

impl NeighbourWatch {
    pub(crate) fn new() -> io::Result<Self> {
        open(RTMGRP_NEIGH).map(Self)
    }

    /// Takes what was heard: the table itself is asked for what it means.
    pub(crate) fn drain(&self) {
        let mut room = [0; 8192];
        // Also a note that something was missed is taken here, and is a change.
        while recv(&self.0, room.as_mut_slice(), RecvFlags::DONTWAIT).is_ok() {}
    }
}

impl AsFd for NeighbourWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn request() -> [u8; HEADER + NEIGHBOUR_HEADER] {
    let mut bytes = [0; HEADER + NEIGHBOUR_HEADER];
    // No family named: addresses of every family.
    bytes[..4].copy_from_slice(&REQUEST_LENGTH.to_ne_bytes());
    bytes[4..6].copy_from_slice(&RTM_GETNEIGH.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    GoesOn,
    Over,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mac: MacAddr,
    ip: IpAddr,
    device_index: u32,
    reachable: bool,
}

/// Reads the messages in `bytes`, up to the first that is cut short.
fn parse(mut bytes: &[u8], entries: &mut Vec<Entry>) -> io::Result<Dump> {
    while let Some(length) = piece(bytes, 0).map(u32::from_ne_bytes) {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else { break };
        match piece(message, 4).map(u16::from_ne_bytes) {
            Some(NLMSG_DONE) => return Ok(Dump::Over),
            Some(NLMSG_ERROR) => {
                let errno = piece(message, HEADER).map_or(0, i32::from_ne_bytes);
                return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
            }
            Some(RTM_NEWNEIGH) => entries.extend(entry(&message[HEADER..])),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Dump::GoesOn)
}

fn entry(message: &[u8]) -> Option<Entry> {
    let device_index = u32::from_ne_bytes(piece(message, 4)?);
    let state = u16::from_ne_bytes(piece(message, 8)?);
    if state & (NUD_INCOMPLETE | NUD_FAILED) != 0 {
        return None;
    }
    let (mut mac, mut ip) = (None, None);
    let mut rest = message.get(NEIGHBOUR_HEADER..)?;
    while let Some(length) = piece(rest, 0).map(u16::from_ne_bytes) {
        let kind = u16::from_ne_bytes(piece(rest, 2)?);
        let value = rest.get(4..usize::from(length))?;
        match kind {
            NDA_DST => {
                ip = match value.len() {
                    4 => Some(IpAddr::from(piece::<4>(value, 0)?)),
                    16 => Some(IpAddr::from(piece::<16>(value, 0)?)),
                    _ => None,
                };
            }
            NDA_LLADDR => mac = value.try_into().ok().map(MacAddr::new),
            _ => {}
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Entry { mac: mac?, ip: ip?, device_index, reachable: state & NUD_REACHABLE != 0 })
}

fn piece<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(state: u16, ip: &[u8], mac: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + NEIGHBOUR_HEADER];
        bytes[4..6].copy_from_slice(&RTM_NEWNEIGH.to_ne_bytes());
        bytes[HEADER + 4..HEADER + 8].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[HEADER + 8..HEADER + 10].copy_from_slice(&state.to_ne_bytes());
        for (kind, value) in [(NDA_DST, ip), (NDA_LLADDR, mac)] {
            let length = u16::try_from(4 + value.len()).unwrap();
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    #[test]
    fn neighbours_that_answered_are_read() {
        let bytes = [
            message(NUD_REACHABLE, &[192, 0, 2, 1], &MAC),
            message(NUD_FAILED, &[192, 0, 2, 2], &MAC),
            message(4, &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &MAC),
            message(4, &[192, 0, 2, 3], &[]),
        ]
        .concat();
        let mut entries = Vec::new();
        assert_eq!(parse(&bytes, &mut entries).unwrap(), Dump::GoesOn);
        let ips: Vec<_> = entries.iter().map(|entry| entry.ip.to_string()).collect();
        assert_eq!(ips, ["192.0.2.1", "fe80::1"]);
        assert_eq!((entries[0].device_index, entries[0].reachable), (7, true));
    }

    #[test]
    fn cut_answers_and_errors_never_panic() {
        let bytes = message(NUD_REACHABLE, &[192, 0, 2, 1], &MAC);
        for end in 0..bytes.len() {
            drop(parse(&bytes[..end], &mut Vec::new()));
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] = 0xff;
            drop(parse(&wrong, &mut Vec::new()));
        }
        drop(parse(&[0; 64], &mut Vec::new()));
        let mut refused = vec![0; HEADER + 4];
        refused[0] = 20;
        refused[4] = 2;
        refused[HEADER..].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(parse(&refused, &mut Vec::new()).unwrap_err().raw_os_error(), Some(1));
    }

    #[test]
    fn the_kernel_answers() {
        read().unwrap();
        NeighbourWatch::new().unwrap().drain();
    }
}
