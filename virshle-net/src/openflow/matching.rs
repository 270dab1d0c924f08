//! What a flow matches (7.2.2, 7.2.3): a list of fields, each with its value.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::MacAddr;

/// The fields of OpenFlow.
const BASIC: u16 = 0x8000;
/// Open vSwitch's registers.
const REGISTERS: u16 = 0x0001;

/// `OFPXMT_OFB_…`
mod field {
    pub(super) const IN_PORT: u8 = 0;
    pub(super) const ETH_SRC: u8 = 4;
    pub(super) const ETH_TYPE: u8 = 5;
    pub(super) const IP_PROTO: u8 = 10;
    pub(super) const IPV4_DST: u8 = 12;
    pub(super) const UDP_SRC: u8 = 15;
    pub(super) const ARP_SPA: u8 = 22;
    pub(super) const ARP_SHA: u8 = 24;
    pub(super) const IPV6_SRC: u8 = 26;
    pub(super) const ICMPV6_TYPE: u8 = 29;
    pub(super) const ICMPV6_CODE: u8 = 30;
    pub(super) const ND_TARGET: u8 = 31;
    pub(super) const ND_SLL: u8 = 32;
    pub(super) const ND_TLL: u8 = 33;
}

/// What a flow matches: everything, and less with each field. A field stands after those that it
/// needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Match {
    fields: Vec<u8>,
}

impl Match {
    /// Every packet.
    pub fn any() -> Self {
        Self::default()
    }

    /// Packets that came in by this port.
    pub fn in_port(self, ofport: u32) -> Self {
        self.basic(field::IN_PORT, &ofport.to_be_bytes())
    }

    /// Packets whose register `number`, 0 to 15, has this value.
    pub fn register(self, number: u8, value: u32) -> Self {
        self.with(&register(number, value))
    }

    /// Frames of this sender.
    pub fn eth_src(self, mac: MacAddr) -> Self {
        self.basic(field::ETH_SRC, &mac.bytes())
    }

    /// Frames of this type: behind the tag of a VLAN, if there is one.
    pub fn eth_type(self, kind: u16) -> Self {
        self.basic(field::ETH_TYPE, &kind.to_be_bytes())
    }

    /// ARP packets.
    pub fn arp(self) -> Self {
        self.eth_type(0x0806)
    }

    /// ARP packets of this sender, by its MAC address.
    pub fn arp_sha(self, mac: MacAddr) -> Self {
        self.basic(field::ARP_SHA, &mac.bytes())
    }

    /// ARP packets of this sender, by its IP address.
    pub fn arp_spa(self, ip: Ipv4Addr) -> Self {
        self.basic(field::ARP_SPA, &ip.octets())
    }

    /// IPv4 packets to these receivers.
    pub fn ipv4_dst(self, ip: Ipv4Addr, prefix_len: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
        let value = (ip.to_bits() & mask).to_be_bytes();
        let masked = [value, mask.to_be_bytes()].concat();
        self.eth_type(0x0800).with(&tlv(BASIC, field::IPV4_DST, true, &masked))
    }

    /// UDP packets over IPv4 from this port.
    pub fn udp4_src(self, port: u16) -> Self {
        self.eth_type(0x0800).udp_src(port)
    }

    /// UDP packets over IPv6 from this port.
    pub fn udp6_src(self, port: u16) -> Self {
        self.eth_type(0x86dd).udp_src(port)
    }

    fn udp_src(self, port: u16) -> Self {
        self.basic(field::IP_PROTO, &[17]).basic(field::UDP_SRC, &port.to_be_bytes())
    }

    /// ICMPv6 packets of this type.
    pub fn icmp6(self, kind: u8) -> Self {
        self.eth_type(0x86dd).basic(field::IP_PROTO, &[58]).basic(field::ICMPV6_TYPE, &[kind])
    }

    /// ICMPv6 packets of this type and of code 0, as the fields of neighbour discovery need them.
    pub fn neighbour(self, kind: u8) -> Self {
        self.icmp6(kind).basic(field::ICMPV6_CODE, &[0])
    }

    /// IPv6 packets of these senders.
    pub fn ipv6_src(self, ip: Ipv6Addr, prefix_len: u8) -> Self {
        self.prefix(field::IPV6_SRC, ip, prefix_len)
    }

    /// Solicitations and advertisements of these addresses.
    pub fn nd_target(self, ip: Ipv6Addr, prefix_len: u8) -> Self {
        self.prefix(field::ND_TARGET, ip, prefix_len)
    }

    /// Solicitations of this sender; all zeros for those that name none.
    pub fn nd_sll(self, mac: MacAddr) -> Self {
        self.basic(field::ND_SLL, &mac.bytes())
    }

    /// Advertisements for this MAC address; all zeros for those that name none.
    pub fn nd_tll(self, mac: MacAddr) -> Self {
        self.basic(field::ND_TLL, &mac.bytes())
    }

    fn prefix(self, field: u8, ip: Ipv6Addr, prefix_len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len.min(128))).unwrap_or(0);
        if mask == u128::MAX {
            return self.basic(field, &ip.octets());
        }
        let value = (u128::from(ip) & mask).to_be_bytes();
        self.with(&tlv(BASIC, field, true, &[value, mask.to_be_bytes()].concat()))
    }

    fn basic(self, field: u8, value: &[u8]) -> Self {
        self.with(&tlv(BASIC, field, false, value))
    }

    fn with(mut self, field: &[u8]) -> Self {
        self.fields.extend(field);
        self
    }

    /// As it stands in a message: with its length, and padded to eight bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = u16::try_from(4 + self.fields.len()).unwrap_or(u16::MAX);
        let mut bytes = [1_u16.to_be_bytes(), length.to_be_bytes()].concat();
        bytes.extend(&self.fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// The value of the port that packets come in by, in a match as it stands in a message.
    pub(crate) fn in_port_of(encoded: &[u8]) -> Option<u32> {
        let length = usize::from(u16::from_be_bytes([*encoded.get(2)?, *encoded.get(3)?]));
        let mut rest = encoded.get(4..length)?;
        while let [first, second, third, length, after @ ..] = rest {
            let value = after.get(..usize::from(*length))?;
            if u16::from_be_bytes([*first, *second]) == BASIC && *third == field::IN_PORT << 1 {
                return Some(u32::from_be_bytes(value.try_into().ok()?));
            }
            rest = &after[value.len()..];
        }
        None
    }
}

/// A register with its value.
pub(crate) fn register(number: u8, value: u32) -> Vec<u8> {
    tlv(REGISTERS, number & 15, false, &value.to_be_bytes())
}

fn tlv(class: u16, field: u8, has_mask: bool, value: &[u8]) -> Vec<u8> {
    let mut bytes = class.to_be_bytes().to_vec();
    bytes.push(field << 1 | u8::from(has_mask));
    // The longest field is an IPv6 address with its mask.
    bytes.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
    bytes.extend(value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_written_as_the_specification_says() {
        let mac: MacAddr = "52:54:00:00:00:01".parse().unwrap();
        let bytes = Match::any().in_port(7).eth_src(mac).encode();
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(bytes[..12], [0, 1, 0, 22, 0x80, 0, 0, 4, 0, 0, 0, 7]);
        assert_eq!(bytes[12..22], [0x80, 0, 8, 6, 0x52, 0x54, 0, 0, 0, 1]);
        assert_eq!(Match::in_port_of(&bytes), Some(7));
        let link_local = Match::any().nd_target("fe80::1".parse().unwrap(), 10).encode();
        assert_eq!(link_local[4..12], [0x80, 0, 63, 32, 0xfe, 0x80, 0, 0]);
        assert_eq!(link_local[24..28], [0xff, 0xc0, 0, 0]);
        assert_eq!(Match::in_port_of(&link_local), None);
        assert_eq!(Match::any().register(15, 1).encode()[4..8], [0, 1, 30, 4]);
    }

    #[test]
    fn a_match_that_is_cut_short_has_no_port() {
        let bytes = Match::any().in_port(7).encode();
        for end in 0..bytes.len() {
            assert_eq!(Match::in_port_of(&bytes[..end]), (end >= 12).then_some(7), "{end}");
        }
    }
}
