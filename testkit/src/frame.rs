//! Frames as a guest writes them, genuine and forged.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address.
type Mac = [u8; 6];

/// Every machine.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// An Ethernet frame, before it is written to a tap.
///
/// Addresses of layers that disagree are what a forger writes: each layer has its own here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    destination: Mac,
    source: Mac,
    vlan: Option<u16>,
    kind: u16,
    payload: Vec<u8>,
    is_cut: bool,
}

impl Frame {
    fn new(destination: Mac, source: Mac, kind: u16, payload: Vec<u8>) -> Self {
        Self { destination, source, vlan: None, kind, payload, is_cut: false }
    }

    /// An ARP request of `mac` and `ip` for `target`.
    pub fn arp_request(mac: [u8; 6], ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self::arp(1, (mac, ip), ([0; 6], target), BROADCAST)
    }

    /// An ARP reply that claims `ip` for `mac`, to all.
    pub fn arp_reply(mac: [u8; 6], ip: Ipv4Addr) -> Self {
        Self::arp(2, (mac, ip), (BROADCAST, ip), BROADCAST)
    }

    fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr), to: Mac) -> Self {
        let mut payload = vec![0, 1, 8, 0, 6, 4];
        payload.extend(operation.to_be_bytes());
        for (mac, ip) in [sender, target] {
            payload.extend(mac);
            payload.extend(ip.octets());
        }
        Self::new(to, sender.0, 0x0806, payload)
    }

    /// A UDP packet over IPv4, to all on the link.
    pub fn udp4(mac: [u8; 6], from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), content: &[u8]) -> Self {
        let udp = udp(from.1, to.1, content);
        let mut ip = vec![0x45, 0];
        ip.extend(be16(20 + udp.len()));
        ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        ip.extend(from.0.octets());
        ip.extend(to.0.octets());
        let sum = checksum(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        ip.extend(udp);
        Self::new(BROADCAST, mac, 0x0800, ip)
    }

    /// A UDP packet over IPv6, to all nodes.
    pub fn udp6(mac: [u8; 6], from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), content: &[u8]) -> Self {
        Self::ipv6(mac, from.0, to.0, 17, udp(from.1, to.1, content), 6)
    }

    /// A router advertisement that gives the link `prefix`, a /64, and its sender as the router.
    pub fn router_advertisement(mac: [u8; 6], from: Ipv6Addr, prefix: Ipv6Addr) -> Self {
        // Hop limit, flags, the lifetime of half an hour, two times that are unspecified.
        let mut icmp = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        icmp.extend([1, 1]);
        icmp.extend(mac);
        // A prefix on the link, for addresses of one's own.
        icmp.extend([3, 4, 64, 0xc0]);
        icmp.extend(3600_u32.to_be_bytes());
        icmp.extend(3600_u32.to_be_bytes());
        icmp.extend([0; 4]);
        icmp.extend(prefix.octets());
        Self::ipv6(mac, from, ALL_NODES, 58, icmp, 2)
    }

    /// A neighbour advertisement that claims `target` for `mac`, to all nodes.
    pub fn neighbour_advertisement(mac: [u8; 6], from: Ipv6Addr, target: Ipv6Addr) -> Self {
        let mut icmp = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        icmp.extend(target.octets());
        icmp.extend([2, 1]);
        icmp.extend(mac);
        Self::ipv6(mac, from, ALL_NODES, 58, icmp, 2)
    }

    fn ipv6(
        mac: Mac,
        from: Ipv6Addr,
        to: Ipv6Addr,
        protocol: u8,
        mut content: Vec<u8>,
        sum_at: usize,
    ) -> Self {
        let mut pseudo = [from.octets(), to.octets()].concat();
        pseudo.extend([0, 0]);
        pseudo.extend(be16(content.len()));
        pseudo.extend([0, 0, 0, protocol]);
        pseudo.extend(&content);
        let sum = checksum(&pseudo).to_be_bytes();
        content[sum_at..sum_at + 2].copy_from_slice(&sum);
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend(be16(content.len()));
        ip.extend([protocol, 255]);
        ip.extend(from.octets());
        ip.extend(to.octets());
        ip.extend(content);
        Self::new([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd, ip)
    }

    /// With another sender in the Ethernet header.
    #[must_use]
    pub fn sent_as(mut self, mac: [u8; 6]) -> Self {
        self.source = mac;
        self
    }

    /// To another machine, or to a group.
    #[must_use]
    pub fn sent_to(mut self, mac: [u8; 6]) -> Self {
        self.destination = mac;
        self
    }

    /// An IPv6 packet with these extension headers before what it has, by their numbers: a fragment's
    /// (44) is of the first piece, an authentication header (51) has 12 bytes.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn behind(mut self, headers: &[u8]) -> Self {
        assert_eq!(self.kind, 0x86dd, "an IPv6 packet has extension headers");
        let mut next = self.payload[6];
        let mut content = self.payload.split_off(40);
        for header in headers.iter().rev() {
            let bytes = match header {
                44 => vec![next, 0, 0, 1, 0, 0, 0, 7],
                51 => vec![next, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1],
                _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
            };
            content = [bytes, content].concat();
            next = *header;
        }
        self.payload[6] = next;
        self.payload[4..6].copy_from_slice(&be16(content.len()));
        self.payload.extend(content);
        self
    }

    /// An IPv6 packet that says that this is what follows its own header.
    #[must_use]
    pub fn next_header(mut self, number: u8) -> Self {
        self.payload[6] = number;
        self
    }

    /// Its first `length` bytes alone, without padding.
    #[must_use]
    pub fn cut(mut self, length: usize) -> Self {
        self.payload.truncate(length.saturating_sub(14));
        self.is_cut = true;
        self
    }

    /// With the tag of a VLAN.
    #[must_use]
    pub fn tagged(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// With the tag of a VLAN in another tag of it.
    #[must_use]
    pub fn tagged_twice(self, vlan: u16) -> Self {
        let inner = [&vlan.to_be_bytes()[..], &self.kind.to_be_bytes(), &self.payload].concat();
        Self { vlan: Some(vlan), kind: 0x8100, payload: inner, ..self }
    }

    /// With another sender in an ARP packet.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn arp_sender(mut self, mac: [u8; 6]) -> Self {
        assert_eq!(self.kind, 0x0806, "an ARP packet has an ARP sender");
        self.payload[8..14].copy_from_slice(&mac);
        self
    }

    /// The bytes, padded to the least length of a frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        if let Some(vlan) = self.vlan {
            bytes.extend([0x81, 0]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(&self.payload);
        if !self.is_cut {
            bytes.resize(bytes.len().max(60), 0);
        }
        bytes
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn udp(from: u16, to: u16, content: &[u8]) -> Vec<u8> {
    let mut udp = [from.to_be_bytes(), to.to_be_bytes()].concat();
    udp.extend(be16(8 + content.len()));
    udp.extend([0, 0]);
    udp.extend(content);
    udp
}

fn be16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or_else(|_| panic!("no packet has {length} bytes")).to_be_bytes()
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
