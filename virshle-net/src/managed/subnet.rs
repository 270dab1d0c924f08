//! The addresses of a managed network, and which machine gets which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of a managed network.
///
/// A machine's address follows from its name, so that another machine of that name has it again; and
/// its IPv6 address from the IPv4 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedSubnet {
    gateway: Ipv4Addr,
    prefix_len: u8,
    prefix6: Option<Ipv6Addr>,
}

impl ServedSubnet {
    /// The network in which this host has the address `gateway`, and its IPv6 side, a prefix of 64 bits.
    /// Of `prefix_len` there are at most 30.
    pub fn new(gateway: Ipv4Addr, prefix_len: u8, prefix6: Option<Ipv6Addr>) -> Self {
        Self { gateway, prefix_len: prefix_len.clamp(1, 30), prefix6: prefix6.map(upper_half) }
    }

    /// This host's address, which is the machines' gateway and name server.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// This host's IPv6 address.
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.ipv6_of(self.gateway)
    }

    /// The length of the prefix.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// The first address, which names the network.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() & self.mask())
    }

    /// The mask, as DHCP has it.
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask())
    }

    /// The prefix of the IPv6 side.
    pub fn prefix6(&self) -> Option<Ipv6Addr> {
        self.prefix6
    }

    /// How many machines have room.
    pub fn capacity(&self) -> u32 {
        // Without the network's own, the broadcast address, and the gateway's.
        self.hosts().saturating_sub(1)
    }

    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.to_bits() & self.mask() == self.network().to_bits(),
            IpAddr::V6(ip) => self.prefix6 == Some(upper_half(ip)),
        }
    }

    /// The address of the machine `name`: the first free one from where its name leads to. None if all
    /// are taken.
    pub fn address_of(&self, name: &str, is_taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let hosts = self.hosts();
        let first = u32::try_from(hash(name) % u64::from(hosts)).unwrap_or(0);
        let numbers = (first..hosts).chain(0..first);
        let mut addresses =
            numbers.map(|number| Ipv4Addr::from_bits(self.network().to_bits() + 1 + number));
        addresses.find(|address| *address != self.gateway && !is_taken(*address))
    }

    /// The IPv6 address of the machine whose IPv4 address that is.
    pub fn ipv6_of(&self, ip: Ipv4Addr) -> Option<Ipv6Addr> {
        let host = ip.to_bits() & !self.mask();
        self.prefix6.map(|prefix| Ipv6Addr::from_bits(prefix.to_bits() | u128::from(host)))
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix_len))
    }

    /// The addresses of hosts: all but the first and the last (RFC 919).
    fn hosts(&self) -> u32 {
        !self.mask() - 1
    }
}

impl std::fmt::Display for ServedSubnet {
    /// The network: `192.168.177.0/24`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.network(), self.prefix_len)
    }
}

fn upper_half(ip: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))
}

/// FNV-1a of 64 bits, its halves folded, for neighbours in the alphabet to be no neighbours here. It
/// stays as it is, across versions and hosts.
fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn subnet(text: &str) -> ServedSubnet {
        let (ip, bits) = text.split_once('/').unwrap();
        let prefix6 = "fd12:3456:789a:1::".parse().unwrap();
        ServedSubnet::new(ip.parse().unwrap(), bits.parse().unwrap(), Some(prefix6))
    }

    #[test]
    fn a_name_has_one_address_while_it_is_free() {
        let subnet = subnet("192.168.177.1/24");
        let web = subnet.address_of("web", |_| false).unwrap();
        assert_eq!(web, subnet.address_of("web", |ip| ip != web).unwrap());
        let other = subnet.address_of("web", |ip| ip == web).unwrap();
        assert_ne!(other, web);
        assert!(subnet.contains(web.into()) && subnet.contains(other.into()));
        // Machines that exist have theirs on the disk, and re-created ones shall have it again.
        assert_eq!(web.to_string(), "192.168.177.135");
        assert_eq!(subnet.ipv6_of(web).unwrap().to_string(), "fd12:3456:789a:1::87");
    }

    #[test]
    fn each_address_of_a_host_is_given_and_no_other() {
        for (text, capacity) in [("192.168.177.1/24", 253), ("10.9.8.6/29", 5), ("10.9.8.1/30", 1)]
        {
            let subnet = subnet(text);
            assert_eq!(subnet.capacity(), capacity, "{text}");
            let mut taken = HashSet::new();
            while let Some(ip) = subnet.address_of("web", |ip| taken.contains(&ip)) {
                assert!(subnet.contains(ip.into()) && ip != subnet.gateway());
                assert!(taken.insert(ip));
            }
            assert_eq!(taken.len(), usize::try_from(capacity).unwrap(), "{text}");
            assert!(!taken.contains(&subnet.network()));
            let last = subnet.network().to_bits() | !subnet.netmask().to_bits();
            assert!(!taken.contains(&Ipv4Addr::from_bits(last)));
        }
    }

    #[test]
    fn the_networks_of_both_families_are_known() {
        let subnet = subnet("10.1.2.3/20");
        assert_eq!(subnet.to_string(), "10.1.0.0/20");
        assert_eq!(subnet.netmask().to_string(), "255.255.240.0");
        assert_eq!(subnet.gateway6().unwrap().to_string(), "fd12:3456:789a:1::203");
        assert!(subnet.contains("10.1.15.255".parse().unwrap()));
        assert!(!subnet.contains("10.1.16.0".parse().unwrap()));
        assert!(subnet.contains("fd12:3456:789a:1::ffff".parse().unwrap()));
        assert!(!subnet.contains("fd12:3456:789a:2::1".parse().unwrap()));
    }
}
