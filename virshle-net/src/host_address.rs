//! The addresses and routes of this host, as its kernel has them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{RecvFlags, recv};

use crate::netlink::{
    self, HEADER, Message, NLM_F_REQUEST, NLMSG_DONE, attributes, encode, messages, piece,
};
use crate::{Change, InterfaceName};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
/// `struct ifaddrmsg` and `struct rtmsg` of rtnetlink(7).
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// It is used at once: nobody else can have it yet.
const IFA_F_NODAD: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;
/// A route by a router's advertisement.
const RTPROT_RA: u8 = 9;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostAddress {
    /// The device that has it.
    pub device: String,
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are the network's.
    pub prefix_len: u8,
}

/// A route of this host, of its main table, that leads to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The first address of the network that it leads to.
    pub to: IpAddr,
    /// How many bits of it are the network's: 0 for a default route.
    pub prefix_len: u8,
    /// The device it leads to.
    pub device: String,
    /// Whether a router's advertisement has made it.
    pub by_advertisement: bool,
}

impl HostAddress {
    /// The addresses of this network namespace.
    ///
    /// # Errors
    ///
    /// If the kernel can't be asked.
    ///
    /// # References
    ///
    /// rtnetlink(7), `RTM_GETADDR`.
    #[doc(alias = "RTM_GETADDR")]
    pub fn list() -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        dump(RTM_GETADDR, ADDRESS_HEADER, |socket, message| {
            found.extend(read_address(message).and_then(|(ip, prefix_len, index)| {
                let device = index_to_name(socket, index).ok()?;
                Some(Self { device, ip, prefix_len })
            }));
        })?;
        Ok(found)
    }

    /// Gives the device an address, which is used at once.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it, or there is no such device.
    pub fn add(device: &InterfaceName, ip: IpAddr, prefix_len: u8) -> io::Result<Change> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match change(RTM_NEWADDR, flags, device, ip, prefix_len) {
            Ok(()) => Ok(Change::Made),
            Err(error) if error.raw_os_error() == Some(EEXIST) => Ok(Change::Unchanged),
            Err(error) => Err(error),
        }
    }

    /// Takes an address from the device.
    ///
    /// # Errors
    ///
    /// If the kernel refuses that.
    pub fn remove(device: &InterfaceName, ip: IpAddr, prefix_len: u8) -> io::Result<Change> {
        match change(RTM_DELADDR, 0, device, ip, prefix_len) {
            Ok(()) => Ok(Change::Removed),
            Err(error) if matches!(error.raw_os_error(), Some(EADDRNOTAVAIL | ENODEV)) => {
                Ok(Change::Unchanged)
            }
            Err(error) => Err(error),
        }
    }
}

impl Route {
    /// The routes of this network namespace to hosts and networks.
    ///
    /// # Errors
    ///
    /// If the kernel can't be asked.
    ///
    /// # References
    ///
    /// rtnetlink(7), `RTM_GETROUTE`.
    #[doc(alias = "RTM_GETROUTE")]
    pub fn list() -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        dump(RTM_GETROUTE, ROUTE_HEADER, |socket, message| {
            found.extend(read_route(message).and_then(
                |(to, prefix_len, index, by_advertisement)| {
                    let device = index_to_name(socket, index).ok()?;
                    Some(Self { to, prefix_len, device, by_advertisement })
                },
            ));
        })?;
        Ok(found)
    }
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(one: (IpAddr, u8), other: (IpAddr, u8)) -> bool {
    let common = one.1.min(other.1);
    match (one.0, other.0) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let differ = one.to_bits() ^ other.to_bits();
            differ.checked_shr(32 - u32::from(common.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let differ = one.to_bits() ^ other.to_bits();
            differ.checked_shr(128 - u32::from(common.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn dump(
    kind: u16,
    header: usize,
    mut take: impl FnMut(&std::os::fd::OwnedFd, &Message<'_>),
) -> io::Result<()> {
    let socket = netlink::open(0)?;
    let length = u32::try_from(HEADER + header).map_err(io::Error::other)?;
    let mut request = netlink::header(length, kind, NLM_F_REQUEST | NLM_F_DUMP).to_vec();
    request.resize(HEADER + header, 0);
    netlink::send(&socket, &request)?;
    let mut room = vec![0; 64 << 10];
    loop {
        let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
        if received == 0 {
            return Ok(());
        }
        for message in messages(&room[..received]) {
            let message = message?;
            if message.kind == NLMSG_DONE {
                return Ok(());
            }
            take(&socket, &message);
        }
    }
}

fn change(
    kind: u16,
    flags: u16,
    device: &InterfaceName,
    ip: IpAddr,
    prefix_len: u8,
) -> io::Result<()> {
    let socket = netlink::open(0)?;
    let index = name_to_index(&socket, device.as_str())?;
    let (family, bytes) = match ip {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    };
    let mut body = vec![family, prefix_len, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(encode(IFA_LOCAL, &bytes));
    body.extend(encode(IFA_ADDRESS, &bytes));
    if ip.is_ipv6() && kind == RTM_NEWADDR {
        body.extend(encode(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes()));
    }
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut request = netlink::header(length, kind, NLM_F_REQUEST | NLM_F_ACK | flags).to_vec();
    request.extend(body);
    netlink::send(&socket, &request)?;
    let mut room = vec![0; 32 << 10];
    let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
    messages(&room[..received]).try_for_each(|message| message.map(drop))
}

fn read_address(message: &Message<'_>) -> Option<(IpAddr, u8, u32)> {
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let [family, prefix_len, ..] = piece::<4>(message.body, 0)?;
    let index = u32::from_ne_bytes(piece(message.body, 4)?);
    let mut found = None;
    for (kind, value) in attributes(message.body.get(ADDRESS_HEADER..)?) {
        // Of a point-to-point device the other one is its peer's.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && found.is_none()) {
            found = address(family, value).or(found);
        }
    }
    Some((found?, prefix_len, index))
}

fn read_route(message: &Message<'_>) -> Option<(IpAddr, u8, u32, bool)> {
    if message.kind != RTM_NEWROUTE {
        return None;
    }
    let [family, prefix_len, _, _, table, protocol, _, kind] = piece::<8>(message.body, 0)?;
    let (mut to, mut index, mut table) = (None, None, u32::from(table));
    for (attribute, value) in attributes(message.body.get(ROUTE_HEADER..)?) {
        match attribute {
            RTA_DST => to = address(family, value),
            RTA_OIF => index = piece(value, 0).map(u32::from_ne_bytes),
            RTA_TABLE => table = piece(value, 0).map_or(table, u32::from_ne_bytes),
            _ => {}
        }
    }
    let unspecified = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let is_ours = kind == RTN_UNICAST && table == RT_TABLE_MAIN;
    let found = (to.unwrap_or(unspecified), prefix_len, index?, protocol == RTPROT_RA);
    is_ours.then_some(found)
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => piece::<4>(bytes, 0).map(IpAddr::from),
        AF_INET6 => piece::<16>(bytes, 0).map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaps(one: &str, other: &str) -> bool {
        let network = |text: &str| {
            let (ip, bits) = text.split_once('/').unwrap();
            (ip.parse().unwrap(), bits.parse().unwrap())
        };
        assert_eq!(overlap(network(one), network(other)), overlap(network(other), network(one)));
        overlap(network(one), network(other))
    }

    #[test]
    fn networks_overlap_where_one_is_in_the_other() {
        assert!(overlaps("192.168.177.1/24", "192.168.0.0/16"));
        assert!(overlaps("192.168.177.1/24", "192.168.177.128/25"));
        assert!(overlaps("192.168.177.1/24", "0.0.0.0/0"));
        assert!(!overlaps("192.168.177.1/24", "192.168.178.0/24"));
        assert!(!overlaps("192.168.177.1/24", "fd00::/8"));
        assert!(overlaps("fd12:3456::1/64", "fd12::/16"));
        assert!(overlaps("fd12:3456::1/128", "fd12:3456::1/128"));
        assert!(!overlaps("fd12:3456::1/64", "fd12:3457::/32"));
    }

    #[test]
    fn the_loopback_has_its_address() {
        let all = HostAddress::list().unwrap();
        let local = all.iter().find(|address| address.ip.to_string() == "127.0.0.1").unwrap();
        assert_eq!((local.device.as_str(), local.prefix_len), ("lo", 8));
        Route::list().unwrap();
    }

    #[test]
    fn what_is_cut_short_is_no_address_and_no_panic() {
        let mut body = vec![AF_INET, 24, 0, 0, 1, 0, 0, 0];
        body.extend(encode(IFA_LOCAL, &[192, 0, 2, 1]));
        for end in 0..body.len() {
            let message = Message { kind: RTM_NEWADDR, body: &body[..end] };
            assert_eq!(read_address(&message), None);
        }
        let message = Message { kind: RTM_NEWADDR, body: &body };
        assert_eq!(read_address(&message).unwrap().0.to_string(), "192.0.2.1");
        let mut route = vec![AF_INET, 24, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0];
        route.extend(encode(RTA_DST, &[192, 0, 2, 0]));
        route.extend(encode(RTA_OIF, &1_u32.to_ne_bytes()));
        for end in 0..route.len() {
            assert_eq!(read_route(&Message { kind: RTM_NEWROUTE, body: &route[..end] }), None);
        }
        assert!(read_route(&Message { kind: RTM_NEWROUTE, body: &route }).is_some());
    }
}
