//! The kernel's neighbour table: which MAC address answers for which IP address on this host's
//! links.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netdevice::index_to_name;
use rustix::net::{RecvFlags, recv};

use crate::netlink::{
    self, HEADER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, attributes, messages, piece,
};
use crate::{MacAddr, NetError};

/// `struct ndmsg` of rtnetlink(7).
const NEIGHBOUR_HEADER: usize = 12;
const REQUEST_LENGTH: u32 = 28;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// The multicast group that reports changes of the table.
const RTMGRP_NEIGH: u32 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// There was no answer, or not yet.
const NUD_INCOMPLETE: u16 = 1;
const NUD_REACHABLE: u16 = 2;
const NUD_FAILED: u16 = 0x20;

/// A neighbour of this host: a pair of addresses that its kernel has seen (ARP, NDP).
///
/// ```no_run
/// use virshle_net::{MacAddr, Neighbour};
///
/// let mac: MacAddr = "52:54:00:12:34:56".parse()?;
/// for neighbour in Neighbour::list()?.iter().filter(|neighbour| neighbour.mac == mac) {
///     println!("{mac} is {} on {}", neighbour.ip, neighbour.device);
/// }
/// # Ok::<(), virshle_net::NetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Neighbour {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IP address.
    pub ip: IpAddr,
    /// The host's network device on which it was seen.
    pub device: String,
    /// It answered a moment ago (`NUD_REACHABLE`).
    pub reachable: bool,
}

impl Neighbour {
    /// A neighbour on `device` that has not answered lately.
    pub fn new(mac: MacAddr, ip: IpAddr, device: impl Into<String>) -> Self {
        Self { mac, ip, device: device.into(), reachable: false }
    }

    /// Reads the table of this network namespace, those that answered lately first. Entries without
    /// a MAC address are left out: the kernel still looks for them, or found nothing there.
    ///
    /// # Errors
    ///
    /// [`NetError::Neighbours`].
    ///
    /// # References
    ///
    /// rtnetlink(7), `RTM_GETNEIGH`.
    #[doc(alias = "RTM_GETNEIGH")]
    #[doc(alias = "arp")]
    pub fn list() -> Result<Vec<Self>, NetError> {
        read().map_err(|source| NetError::Neighbours { source })
    }
}

fn read() -> io::Result<Vec<Neighbour>> {
    let socket = netlink::open(0)?;
    netlink::send(&socket, &request())?;
    let mut entries = Vec::new();
    let mut room = vec![0; 64 << 10];
    loop {
        let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
        if received == 0 || parse(&room[..received], &mut entries)? == Dump::Done {
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

/// A descriptor that is readable when the neighbour table has changed.
///
/// What changed is not kept: read the table again with [`Neighbour::list`].
#[derive(Debug)]
pub struct NeighbourWatch(OwnedFd);

impl NeighbourWatch {
    /// Watches the table of this network namespace.
    ///
    /// # Errors
    ///
    /// [`NetError::WatchNeighbours`].
    pub fn new() -> Result<Self, NetError> {
        netlink::open(RTMGRP_NEIGH).map(Self).map_err(|source| NetError::WatchNeighbours { source })
    }

    /// Discards the notifications that have come, so that the descriptor is readable at the next
    /// one.
    pub fn drain(&self) {
        let mut room = [0; 8192];
        // The error that some were lost (ENOBUFS) is consumed here as well, and is a change.
        while recv(&self.0, room.as_mut_slice(), RecvFlags::DONTWAIT).is_ok() {}
    }
}

impl AsFd for NeighbourWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn request() -> [u8; HEADER + NEIGHBOUR_HEADER] {
    // No family named: addresses of every family.
    let mut bytes = [0; HEADER + NEIGHBOUR_HEADER];
    let header = netlink::header(REQUEST_LENGTH, RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP);
    bytes[..HEADER].copy_from_slice(&header);
    bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    Continues,
    Done,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mac: MacAddr,
    ip: IpAddr,
    device_index: u32,
    reachable: bool,
}

/// Reads the messages in `bytes`, up to the first that is cut short.
fn parse(bytes: &[u8], entries: &mut Vec<Entry>) -> io::Result<Dump> {
    for message in messages(bytes) {
        let message = message?;
        match message.kind {
            NLMSG_DONE => return Ok(Dump::Done),
            RTM_NEWNEIGH => entries.extend(entry(message.body)),
            _ => {}
        }
    }
    Ok(Dump::Continues)
}

fn entry(message: &[u8]) -> Option<Entry> {
    let device_index = u32::from_ne_bytes(piece(message, 4)?);
    let state = u16::from_ne_bytes(piece(message, 8)?);
    if state & (NUD_INCOMPLETE | NUD_FAILED) != 0 {
        return None;
    }
    let (mut mac, mut ip) = (None, None);
    for (kind, value) in attributes(message.get(NEIGHBOUR_HEADER..)?) {
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
    }
    Some(Entry { mac: mac?, ip: ip?, device_index, reachable: state & NUD_REACHABLE != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::encode;

    fn message(state: u16, ip: &[u8], mac: &[u8]) -> Vec<u8> {
        let mut body = vec![0; NEIGHBOUR_HEADER];
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        body.extend(encode(NDA_DST, ip));
        body.extend(encode(NDA_LLADDR, mac));
        let length = u32::try_from(HEADER + body.len()).unwrap();
        [&netlink::header(length, RTM_NEWNEIGH, 0)[..], &body].concat()
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
        assert_eq!(parse(&bytes, &mut entries).unwrap(), Dump::Continues);
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
        Neighbour::list().unwrap();
        NeighbourWatch::new().unwrap().drain();
    }
}
