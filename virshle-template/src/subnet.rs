//! `[network] subnet`, `subnet6` and `domain`: the network that this host itself serves to its machines.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

use crate::section::Section;
use crate::static_address::StaticAddress;
use crate::suggestion::quoted;

/// The host's address in the managed network, with the length of the network's prefix:
/// `192.168.177.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subnet {
    /// The host's address, which is the machines' gateway and name server.
    pub gateway: Ipv4Addr,
    /// How many bits of it are the network's, from 8 to 29.
    pub prefix_len: u8,
}

/// The IPv6 side of the managed network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subnet6 {
    /// A random unique local prefix (RFC 4193), which the node keeps.
    #[default]
    Auto,
    /// There is none.
    Off,
    /// The network of this prefix, whose length is 64.
    Prefix(Ipv6Addr),
}

/// Of a larger network nobody has that many machines; of a smaller one there is hardly an address.
const PREFIX_LEN: std::ops::RangeInclusive<u8> = 8..=29;
/// The longest domain, in bytes: a label of 63 stands before it (RFC 1035, 2.3.4).
const MAX_DOMAIN: usize = 180;
/// What machines are named in, unless the configuration says otherwise.
pub(crate) const DOMAIN: &str = "vm";

impl Subnet {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let text = section.string("subnet")?;
        let help = "expected the host's address in it with the length of the prefix, from 8 to 29, \
                    such as 192.168.177.1/24";
        let read = || {
            let (ip, digits) = text.value.split_once('/')?;
            let all_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
            let prefix_len = digits.parse().ok().filter(|_| all_digits)?;
            Some(Self { gateway: ip.parse().ok()?, prefix_len })
        };
        let Some(subnet) = read() else {
            let message = format!("{} is not the address of a network", quoted(text.value));
            section.wrong(text.span, message, help);
            return None;
        };
        let Self { gateway, prefix_len } = subnet;
        let own = StaticAddress { ip: gateway.into(), prefix_len };
        let of_host = !gateway.is_loopback()
            && !gateway.is_link_local()
            && !gateway.is_multicast()
            && !gateway.is_unspecified()
            && gateway.octets()[0] < 240;
        let message = if !PREFIX_LEN.contains(&prefix_len) {
            format!("{} has a prefix of {prefix_len} bits", quoted(text.value))
        } else if !of_host {
            format!("{gateway} is not an address for this host")
        } else if let Some(part) = own.reserved(gateway.into()) {
            format!("{gateway} is the {part} of its network /{prefix_len}")
        } else {
            return Some(subnet);
        };
        section.wrong(text.span, message, help);
        None
    }
}

impl Subnet6 {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let text = section.string("subnet6")?;
        match text.value {
            "auto" => return Some(Self::Auto),
            "off" => return Some(Self::Off),
            _ => {}
        }
        let prefix = text.value.strip_suffix("/64").and_then(|ip| ip.parse::<Ipv6Addr>().ok());
        let is_prefix = |ip: &Ipv6Addr| {
            let low = u128::from(*ip) & u128::from(u64::MAX);
            low == 0 && !ip.is_unicast_link_local() && !ip.is_multicast() && !ip.is_unspecified()
        };
        match prefix.filter(is_prefix) {
            Some(prefix) => Some(Self::Prefix(prefix)),
            None => {
                let message = format!("{} is not the prefix of a network", quoted(text.value));
                let help =
                    "expected auto, off, or a prefix of 64 bits such as fd12:3456:789a:1::/64";
                section.wrong(text.span, message, help);
                None
            }
        }
    }
}

/// The domain at `domain`, in lower case.
pub(crate) fn domain(section: &Section<'_>) -> Option<String> {
    let text = section.string("domain")?;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.value.len() <= MAX_DOMAIN && text.value.split('.').all(is_label) {
        return Some(text.value.to_ascii_lowercase());
    }
    let message = format!("{} is not a domain", quoted(text.value));
    let help = "expected letters, digits and hyphens, with dots between them, such as vm";
    section.wrong(text.span, message, help);
    None
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.gateway, self.prefix_len))
    }
}

impl Serialize for Subnet6 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Off => serializer.serialize_str("off"),
            Self::Prefix(prefix) => serializer.collect_str(&format_args!("{prefix}/64")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_network_is_its_hosts_address_and_a_prefix() {
        let subnet = read("subnet = '192.168.177.1/24'", Subnet::read).unwrap();
        assert_eq!((subnet.gateway, subnet.prefix_len), (Ipv4Addr::new(192, 168, 177, 1), 24));
        for (text, message) in [
            ("192.168.177.0/24", "192.168.177.0 is the network address of its network /24"),
            ("192.168.177.255/24", "192.168.177.255 is the broadcast address of its network /24"),
            ("192.168.177.1/30", "\"192.168.177.1/30\" has a prefix of 30 bits"),
            ("10.0.0.1/7", "\"10.0.0.1/7\" has a prefix of 7 bits"),
            ("127.0.0.1/8", "127.0.0.1 is not an address for this host"),
            ("169.254.1.1/16", "169.254.1.1 is not an address for this host"),
            ("240.0.0.1/8", "240.0.0.1 is not an address for this host"),
            ("192.168.177.1", "\"192.168.177.1\" is not the address of a network"),
            ("192.168.177.1/+8", "\"192.168.177.1/+8\" is not the address of a network"),
            ("fd00::1/64", "\"fd00::1/64\" is not the address of a network"),
        ] {
            assert_eq!(mistakes(&format!("subnet = '{text}'"), Subnet::read), [message]);
        }
    }

    #[test]
    fn the_other_family_is_chosen_named_or_off() {
        let found = |text: &str| read(&format!("subnet6 = '{text}'"), Subnet6::read).unwrap();
        assert_eq!(found("auto"), Subnet6::Auto);
        assert_eq!(found("off"), Subnet6::Off);
        let prefix = "fd12:3456:789a:1::".parse().unwrap();
        assert_eq!(found("fd12:3456:789a:1::/64"), Subnet6::Prefix(prefix));
        for text in
            ["", "on", "fd00::1/64", "fd00::/48", "fe80::/64", "ff02::/64", "::/64", "fd00::"]
        {
            assert_eq!(mistakes(&format!("subnet6 = '{text}'"), Subnet6::read).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_domain_has_labels() {
        assert_eq!(read("domain = 'VM.example'", domain).unwrap(), "vm.example");
        for text in ["", ".", "a..b", "-a", "a-", "a_b", "a b", "a.", "ü"] {
            assert_eq!(mistakes(&format!("domain = '{text}'"), domain).len(), 1, "{text}");
        }
    }
}
