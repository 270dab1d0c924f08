//! An address of a guest, with the length of its network's prefix.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::section::{Placed, Section};
use crate::suggestion::quoted;

/// An address of a guest, with the length of its network's prefix: `192.0.2.10/24`,
/// `2001:db8::1/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StaticAddress {
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are the network's: at most 32 for IPv4, 128 for IPv6.
    pub prefix_len: u8,
}

impl StaticAddress {
    fn parse(text: &str) -> Option<Self> {
        let (ip, digits) = text.split_once('/')?;
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let prefix_len = digits.parse().ok().filter(|bits| (1..=most).contains(bits))?;
        Some(Self { ip, prefix_len })
    }

    /// Returns whether `ip` is in the network of this address, and so reached without a router.
    /// Link-local addresses of IPv6 are in every network (RFC 4291, 2.5.6).
    pub fn covers(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let host_bits = 32_u32.saturating_sub(self.prefix_len.into());
                let different = u32::from(own) ^ u32::from(ip);
                different.checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let host_bits = 128_u32.saturating_sub(self.prefix_len.into());
                let different = u128::from(own) ^ u128::from(ip);
                ip.is_unicast_link_local() || different.checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// What `ip` is in the network of this address, if no host can have it.
    pub(crate) fn reserved(&self, ip: IpAddr) -> Option<&'static str> {
        let IpAddr::V4(v4) = ip else { return None };
        // Networks of one or two addresses have neither (RFC 3021).
        let host_bits = 32_u32.checked_sub(self.prefix_len.into()).filter(|bits| *bits > 1)?;
        let hosts = u32::MAX.checked_shr(32 - host_bits)?;
        match u32::from(v4) & hosts {
            _ if !self.covers(ip) => None,
            0 => Some("network address"),
            part if part == hosts => Some("broadcast address"),
            _ => None,
        }
    }

    pub(crate) fn read_all(section: &Section<'_>, key: &'static str) -> Vec<Placed<Self>> {
        let mut addresses = Vec::new();
        for text in section.strings(key) {
            let help = "expected one such as 192.0.2.10/24 or 2001:db8::1/64";
            match Self::parse(text.value) {
                Some(address) if address.ip.is_loopback() || !is_of_a_host(address.ip) => {
                    let message = format!("{} is no address for a machine", quoted(text.value));
                    section.wrong(text.span, message, help);
                }
                Some(value) => addresses.push(Placed { value, span: text.span }),
                None => {
                    let message = format!(
                        "{} is not an address with the length of its prefix",
                        quoted(text.value)
                    );
                    section.wrong(text.span, message, help);
                }
            }
        }
        addresses
    }
}

impl fmt::Display for StaticAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.ip, self.prefix_len)
    }
}

impl Serialize for StaticAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hosts at `key`, by their addresses.
pub(crate) fn hosts(section: &Section<'_>, key: &'static str) -> Vec<IpAddr> {
    placed_hosts(section, key).into_iter().map(|host| host.value).collect()
}

/// The hosts at `key`, and where each is written.
pub(crate) fn placed_hosts(section: &Section<'_>, key: &'static str) -> Vec<Placed<IpAddr>> {
    let mut hosts = Vec::new();
    for text in section.strings(key) {
        match text.value.parse() {
            Ok(value) if is_of_a_host(value) => hosts.push(Placed { value, span: text.span }),
            found => {
                let what = if found.is_ok() { "the address of a host" } else { "an IP address" };
                let message = format!("{} is not {what}", quoted(text.value));
                section.wrong(text.span, message, "expected one such as 192.0.2.1, no prefix");
            }
        }
    }
    hosts
}

/// Whether a host on a network can have `ip`.
fn is_of_a_host(ip: IpAddr) -> bool {
    let is_reserved = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        // An IPv4 address as IPv6 has it in a program, never on a wire: ::ffff:192.0.2.1, ::192.0.2.1
        // (RFC 4291, 2.5.5).
        IpAddr::V6(ip) => ip.to_ipv4().is_some() && !ip.is_loopback(),
    };
    !ip.is_unspecified() && !ip.is_multicast() && !is_reserved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    fn addresses(section: &Section<'_>) -> Option<Vec<String>> {
        let addresses = StaticAddress::read_all(section, "a");
        Some(addresses.iter().map(|address| address.value.to_string()).collect())
    }

    #[test]
    fn one_text_or_a_list_is_taken() {
        let list = "a = ['192.0.2.10/24', '2001:0DB8::1/64', 'fe80::1/128']";
        let expected = ["192.0.2.10/24", "2001:db8::1/64", "fe80::1/128"];
        assert_eq!(read(list, addresses).unwrap(), expected);
        assert_eq!(read("a = '192.0.2.10/32'", addresses).unwrap(), ["192.0.2.10/32"]);
        assert!(read("a = []", addresses).unwrap().is_empty());
        let dns = read("a = ['192.0.2.1', '::1']", |section| Some(hosts(section, "a"))).unwrap();
        assert_eq!(dns, ["192.0.2.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
    }

    #[test]
    fn a_network_covers_its_hosts() {
        let covers = |address: &str, ip: &str| {
            StaticAddress::parse(address).unwrap().covers(ip.parse().unwrap())
        };
        assert!(covers("192.0.2.10/24", "192.0.2.1"));
        assert!(covers("192.0.2.10/1", "129.1.1.1") && !covers("192.0.2.10/25", "192.0.2.129"));
        assert!(covers("203.0.113.7/32", "203.0.113.7"));
        assert!(!covers("203.0.113.7/32", "172.31.1.1"));
        assert!(covers("2001:db8::2/64", "2001:db8::1"));
        assert!(covers("2001:db8::2/128", "fe80::1") && !covers("192.0.2.10/24", "fe80::1"));
        assert!(!covers("2001:db8::2/128", "2001:db8::1"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "/", "192.0.2.1", "192.0.2.1/", "192.0.2.1/33", "192.0.2.1/0", "::1/129"]
            .into_iter()
            .chain(["192.0.2.1/+8", "192.0.2.1/8/8", "192.0.2.300/8", "0.0.0.0/8", "127.0.0.1/8"])
            .chain(["224.0.0.1/8", "255.255.255.255/8", "::/64", "ff02::1/64", "fe80::1%eth0/64"])
            .chain(["::ffff:192.0.2.1/96", "::ffff:c000:201/128", "::192.0.2.1/96", "::1/128"])
        {
            assert_eq!(mistakes(&format!("a = '{text}'"), addresses).len(), 1, "{text}");
        }
        for text in ["", "192.0.2.1/24", "example.org", "0.0.0.0", "ff02::1", "::ffff:192.0.2.1"] {
            let found = mistakes(&format!("a = '{text}'"), |section| Some(hosts(section, "a")));
            assert_eq!(found.len(), 1, "{text}");
        }
        assert_eq!(mistakes("a = [1, true]", addresses).len(), 2);
    }
}
