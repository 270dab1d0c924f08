//! A frame in words, as `tcpdump` shows one, and terms that choose frames.
//!
//! The frames are a guest's, which may send what it likes: everything is looked at as bytes, and what is cut
//! short or makes no sense is shown as far as it does.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::MacAddr;

/// The most tags that are looked behind.
const MOST_TAGS: usize = 4;

/// What can be read of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameWords {
    /// The sender.
    pub from: MacAddr,
    /// The receiver.
    pub to: MacAddr,
    /// The tags of VLANs, the outer first.
    pub vlans: Vec<u16>,
    /// The type behind them.
    pub kind: u16,
    /// The addresses of an IP packet, or of ARP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The protocol of an IP packet.
    pub protocol: Option<u8>,
    /// The ports of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// The rest, in words.
    pub what: String,
    /// The length of the frame.
    pub length: usize,
}

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

impl FrameWords {
    /// Reads a frame; nothing if it is shorter than its own header.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let mac = |at: usize| Some(MacAddr::new(frame.get(at..at + 6)?.try_into().ok()?));
        let (to, from) = (mac(0)?, mac(6)?);
        let mut kind = word(frame, 12)?;
        let mut rest = frame.get(14..)?;
        let mut vlans = Vec::new();
        while matches!(kind, 0x8100 | 0x88a8) && vlans.len() < MOST_TAGS {
            let (Some(tag), Some(next)) = (word(rest, 0), word(rest, 2)) else { break };
            vlans.push(tag & 0xfff);
            kind = next;
            rest = rest.get(4..).unwrap_or_default();
        }
        let mut words = Self {
            from,
            to,
            vlans,
            kind,
            addresses: None,
            protocol: None,
            ports: None,
            what: String::new(),
            length: frame.len(),
        };
        let read = match kind {
            ARP => words.read_arp(rest),
            IPV4 => words.read_ipv4(rest),
            IPV6 => words.read_ipv6(rest),
            _ => {
                words.what = format!("type 0x{kind:04x}");
                Some(())
            }
        };
        if read.is_none() {
            words.what.push_str(" (cut short)");
        }
        Some(words)
    }

    fn read_arp(&mut self, packet: &[u8]) -> Option<()> {
        self.what = "ARP".into();
        let operation = word(packet, 6)?;
        let sender: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
        let target: [u8; 4] = packet.get(24..28)?.try_into().ok()?;
        let (sender, target) = (Ipv4Addr::from(sender), Ipv4Addr::from(target));
        let mac = MacAddr::new(packet.get(8..14)?.try_into().ok()?);
        self.addresses = Some((sender.into(), target.into()));
        self.what = match operation {
            1 => format!("ARP, who has {target}? {sender} ({mac}) asks"),
            2 => format!("ARP, {sender} is at {mac}"),
            other => format!("ARP operation {other}"),
        };
        Some(())
    }

    fn read_ipv4(&mut self, packet: &[u8]) -> Option<()> {
        self.what = "IPv4".into();
        let header = usize::from(packet.first()? & 15) * 4;
        let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
        self.addresses = Some((Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()));
        let protocol = *packet.get(9)?;
        // What is in a later fragment is no header.
        if word(packet, 6)? & 0x1fff != 0 {
            self.protocol = Some(protocol);
            self.what = "fragment".into();
            return Some(());
        }
        self.read_inner(protocol, packet.get(header.max(20)..)?)
    }

    fn read_ipv6(&mut self, packet: &[u8]) -> Option<()> {
        self.what = "IPv6".into();
        let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
        let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
        self.addresses = Some((Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into()));
        let mut next = *packet.get(6)?;
        let mut rest = packet.get(40..)?;
        // Hop-by-hop, routing and destination options, which have their length in eight bytes.
        for _ in 0..MOST_TAGS {
            if !matches!(next, 0 | 43 | 60) {
                break;
            }
            let length = (usize::from(*rest.get(1)?) + 1) * 8;
            next = *rest.first()?;
            rest = rest.get(length..)?;
        }
        self.read_inner(next, rest)
    }

    fn read_inner(&mut self, protocol: u8, packet: &[u8]) -> Option<()> {
        self.protocol = Some(protocol);
        match protocol {
            TCP => {
                self.what = "TCP".into();
                self.ports = Some((word(packet, 0)?, word(packet, 2)?));
                let flags = *packet.get(13)?;
                let set = [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.')];
                let set: String =
                    set.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name).collect();
                self.what = format!("TCP [{set}]");
            }
            UDP => {
                self.what = "UDP".into();
                self.ports = Some((word(packet, 0)?, word(packet, 2)?));
                self.what = match self.ports {
                    Some((67, _) | (_, 67)) => "UDP, DHCP",
                    Some((547, _) | (_, 547)) => "UDP, DHCPv6",
                    Some((53, _) | (_, 53)) => "UDP, DNS",
                    _ => "UDP",
                }
                .into();
            }
            ICMP => {
                self.what = match packet.first()? {
                    0 => "ICMP echo reply".into(),
                    3 => "ICMP unreachable".into(),
                    8 => "ICMP echo request".into(),
                    other => format!("ICMP type {other}"),
                };
            }
            ICMPV6 => {
                self.what = match packet.first()? {
                    128 => "ICMPv6 echo request".into(),
                    129 => "ICMPv6 echo reply".into(),
                    133 => "ICMPv6 router solicitation".into(),
                    134 => "ICMPv6 router advertisement".into(),
                    135 => "ICMPv6 neighbour solicitation".into(),
                    136 => "ICMPv6 neighbour advertisement".into(),
                    137 => "ICMPv6 redirect".into(),
                    other => format!("ICMPv6 type {other}"),
                };
            }
            other => self.what = format!("protocol {other}"),
        }
        Some(())
    }
}

impl fmt::Display for FrameWords {
    /// `192.0.2.1.40000 > 192.0.2.2.80: TCP [S], 74 bytes`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for vlan in &self.vlans {
            write!(formatter, "VLAN {vlan}, ")?;
        }
        match (self.kind, self.addresses, self.ports) {
            (ARP, ..) | (_, None, _) => write!(formatter, "{} > {}: ", self.from, self.to)?,
            (_, Some((from, to)), Some((source, target))) => {
                write!(formatter, "{from}.{source} > {to}.{target}: ")?;
            }
            (_, Some((from, to)), None) => write!(formatter, "{from} > {to}: ")?,
        }
        write!(formatter, "{}, {} bytes", self.what, self.length)
    }
}

/// A term that chooses frames, in the words of tcpdump: `arp`, `ip`, `ip6`, `icmp`, `tcp`, `udp`, `dhcp`,
/// `port N`, `host ADDRESS`, `ether ADDRESS`, each perhaps behind `not`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTerm {
    negated: bool,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Kind(u16),
    Protocol(u8),
    Icmp,
    Dhcp,
    Port(u16),
    Host(IpAddr),
    Ether(MacAddr),
}

/// A text that is no term.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no filter: arp, ip, ip6, icmp, tcp, udp, dhcp, port N, host ADDRESS, ether ADDRESS, each perhaps behind not"
)]
pub struct InvalidFrameTerm {
    /// What was given.
    pub text: String,
}

impl FrameTerm {
    /// Reads terms that stand one behind the other, with or without `and` between them.
    ///
    /// # Errors
    ///
    /// [`InvalidFrameTerm`] with the first word that fits nowhere.
    pub fn read_all<'a>(
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, InvalidFrameTerm> {
        let mut words = words.into_iter().flat_map(str::split_whitespace);
        let mut terms = Vec::new();
        let mut negated = false;
        while let Some(word) = words.next() {
            let wrong = |text: &str| InvalidFrameTerm { text: text.to_owned() };
            let mut value = || words.next().ok_or_else(|| wrong(word));
            let test = match word {
                "and" => continue,
                "not" => {
                    negated = !negated;
                    continue;
                }
                "arp" => Test::Kind(ARP),
                "ip" => Test::Kind(IPV4),
                "ip6" => Test::Kind(IPV6),
                "icmp" => Test::Icmp,
                "tcp" => Test::Protocol(TCP),
                "udp" => Test::Protocol(UDP),
                "dhcp" => Test::Dhcp,
                "port" => Test::Port(parsed(value()?)?),
                "host" => Test::Host(parsed(value()?)?),
                "ether" => Test::Ether(parsed(value()?)?),
                other => return Err(wrong(other)),
            };
            terms.push(Self { negated, test });
            negated = false;
        }
        Ok(terms)
    }

    /// Whether the frame is one of those.
    pub fn fits(&self, words: &FrameWords) -> bool {
        let has = |ports: fn(u16) -> bool| {
            words.ports.is_some_and(|(source, target)| ports(source) || ports(target))
        };
        let fits = match self.test {
            Test::Kind(kind) => words.kind == kind,
            Test::Protocol(protocol) => words.protocol == Some(protocol),
            Test::Icmp => matches!(words.protocol, Some(ICMP | ICMPV6)),
            Test::Dhcp => has(|port| matches!(port, 67 | 68 | 546 | 547)),
            Test::Port(port) => {
                words.ports.is_some_and(|(source, target)| source == port || target == port)
            }
            Test::Host(ip) => words.addresses.is_some_and(|(from, to)| from == ip || to == ip),
            Test::Ether(mac) => words.from == mac || words.to == mac,
        };
        fits != self.negated
    }
}

fn parsed<T: FromStr>(text: &str) -> Result<T, InvalidFrameTerm> {
    text.parse().map_err(|_| InvalidFrameTerm { text: text.to_owned() })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &kind.to_be_bytes(), rest].concat()
    }

    fn tcp() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
        packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        packet
    }

    fn shown(frame: &[u8]) -> String {
        FrameWords::read(frame).map(|words| words.to_string()).unwrap_or_default()
    }

    #[test]
    fn frames_are_shown_as_people_know_them() {
        let frame = ethernet(IPV4, &tcp());
        assert_eq!(shown(&frame), "192.0.2.1.40000 > 192.0.2.2.80: TCP [S], 54 bytes");
        let tagged = ethernet(0x8100, &[&[0, 12, 8, 0][..], &tcp()].concat());
        assert!(shown(&tagged).starts_with("VLAN 12, 192.0.2.1.40000 > "));
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1];
        arp.extend([0, 0, 0, 0, 0, 0, 192, 0, 2, 2]);
        assert_eq!(
            shown(&ethernet(ARP, &arp)),
            "02:00:00:00:00:01 > 02:00:00:00:00:02: ARP, who has 192.0.2.2? 192.0.2.1 \
             (02:00:00:00:00:01) asks, 42 bytes"
        );
        assert!(shown(&ethernet(0x88cc, &[])).ends_with(": type 0x88cc, 14 bytes"));
    }

    #[test]
    fn what_is_cut_short_is_shown_as_far_as_it_goes() {
        let whole = ethernet(IPV4, &tcp());
        for end in 0..whole.len() {
            assert_eq!(FrameWords::read(&whole[..end]).is_some(), end >= 14, "{end}");
        }
        assert!(shown(&whole[..30]).contains("cut short"));
        for kind in [ARP, IPV4, IPV6, 0x8100] {
            for byte in [0, 0xff, 0x45, 0x81] {
                for length in 0..90 {
                    drop(shown(&ethernet(kind, &vec![byte; length])));
                }
            }
        }
    }

    #[test]
    fn terms_choose_frames() {
        let words = FrameWords::read(&ethernet(IPV4, &tcp())).unwrap();
        let fits =
            |text: &str| FrameTerm::read_all([text]).unwrap().iter().all(|term| term.fits(&words));
        for text in [
            "tcp",
            "tcp and port 80",
            "host 192.0.2.1 port 40000",
            "ip not arp",
            "ether 02:00:00:00:00:01",
            "",
        ] {
            assert!(fits(text), "{text}");
        }
        for text in ["udp", "arp", "not tcp", "port 81", "host 192.0.2.3", "icmp", "dhcp", "ip6"] {
            assert!(!fits(text), "{text}");
        }
        for text in ["port", "port x", "or", "host web", "ether 1", "tcp or udp"] {
            assert!(FrameTerm::read_all([text]).is_err(), "{text}");
        }
    }
}
