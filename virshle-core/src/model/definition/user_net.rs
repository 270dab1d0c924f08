//! A network in user space, in a machine's definition.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use virshle_template::Publish;

/// What passt gives to the guest of a user network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserNet {
    /// The guest's IPv4 address. Machines don't see each other: it may be the same in each.
    pub address: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix_len: u8,
    /// The guest's gateway.
    pub gateway: Ipv4Addr,
    /// The name servers that the guest asks; the host's own if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// The ports of the host that lead to the guest's.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "write_publish",
        deserialize_with = "read_publish"
    )]
    pub publish: Vec<Publish>,
    /// The gateway stands for the host's loopback.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_loopback: bool,
}

impl UserNet {
    /// The network of `number`, as `10.0.2.0/24` is that of 2: the guest is 15 in it, its gateway 2,
    /// as with QEMU and VirtualBox.
    pub(crate) fn numbered(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        let host = |host| Ipv4Addr::new(10, high, low, host);
        Self::at(host(15), 24, Some(host(2)))
    }

    /// The network in which the guest has that address; the gateway is its second unless it is known.
    pub(crate) fn at(address: Ipv4Addr, prefix_len: u8, gateway: Option<Ipv4Addr>) -> Self {
        let gateway = gateway.unwrap_or_else(|| other_than(address, prefix_len, &[address], 2));
        Self {
            address,
            prefix_len,
            gateway,
            dns: Vec::new(),
            publish: Vec::new(),
            host_loopback: false,
        }
    }

    /// The guest's IPv6 address, a unique local one (RFC 4193) that follows from the other: guests
    /// prefer IPv4 to it where both lead on.
    pub(crate) fn ipv6(&self) -> Ipv6Addr {
        self.in_ipv6(self.address)
    }

    /// The name server that the guest is told of: what is asked there is asked of the host's own, of
    /// that family.
    pub(crate) fn resolver(&self, of_host: IpAddr) -> IpAddr {
        let taken = [self.address, self.gateway];
        let v4 = other_than(self.address, self.prefix_len, &taken, 3);
        match of_host {
            IpAddr::V4(_) => v4.into(),
            IpAddr::V6(_) => self.in_ipv6(v4).into(),
        }
    }

    /// The address that follows from one of the network.
    fn in_ipv6(&self, ip: Ipv4Addr) -> Ipv6Addr {
        let [a, b, c, _] = self.address.octets();
        let host = u16::from(ip.octets()[3]);
        let pair = |high, low| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(0xfd00, pair(a, b), pair(c, 0), 0, 0, 0, 0, host)
    }
}

/// The address `wanted` in the network of `address`, or the nearest after it that is none of `taken`.
fn other_than(address: Ipv4Addr, prefix_len: u8, taken: &[Ipv4Addr], wanted: u32) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
    let network = address.to_bits() & mask;
    let mut candidates = (wanted..).map(|host| Ipv4Addr::from_bits(network.wrapping_add(host)));
    candidates.find(|candidate| !taken.contains(candidate)).unwrap_or(address)
}

pub(super) fn write_publish<S: Serializer>(
    published: &[Publish],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(published.iter().map(ToString::to_string))
}

pub(super) fn read_publish<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Publish>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_network_follow_from_the_guests() {
        let net = UserNet::numbered(2);
        assert_eq!(
            (format!("{}/{}", net.address, net.prefix_len), net.gateway.to_string()),
            ("10.0.2.15/24".into(), "10.0.2.2".into())
        );
        assert_eq!(net.ipv6().to_string(), "fd00:a00:200::f");
        assert_eq!(net.resolver("127.0.0.53".parse().unwrap()).to_string(), "10.0.2.3");
        assert_eq!(net.resolver("::1".parse().unwrap()).to_string(), "fd00:a00:200::3");
        assert_eq!(UserNet::numbered(0x1ff).address.to_string(), "10.1.255.15");
    }

    #[test]
    fn no_address_of_a_network_is_given_twice() {
        for (address, gateway, resolver) in [
            ("192.0.2.2/24", "192.0.2.3", "192.0.2.4"),
            ("192.0.2.3/24", "192.0.2.2", "192.0.2.4"),
            ("192.0.2.200/24", "192.0.2.2", "192.0.2.3"),
            ("255.255.255.255/32", "0.0.0.1", "0.0.0.2"),
            ("10.9.8.7/0", "0.0.0.2", "0.0.0.3"),
        ] {
            let (ip, bits) = address.split_once('/').unwrap();
            let net = UserNet::at(ip.parse().unwrap(), bits.parse().unwrap(), None);
            assert_eq!(net.gateway.to_string(), gateway, "{address}");
            assert_eq!(
                net.resolver("127.0.0.1".parse().unwrap()).to_string(),
                resolver,
                "{address}"
            );
        }
    }
}
