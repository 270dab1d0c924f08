//! A port of the host that leads to one of a machine on the managed network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::{Forward, ForwardProtocol};

/// A port of the host that leads to one of a machine, as a map of nftables has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PublishedPort {
    /// By UDP, and not by TCP.
    pub udp: bool,
    /// The address of the host; all of the guest's family if unset.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The machine's address and port.
    pub guest: SocketAddr,
}

impl PublishedPort {
    /// Those that a [`Forward`] means for a machine with these addresses: one for each family.
    pub fn of(forward: &Forward, guest: &[IpAddr]) -> Vec<Self> {
        let any = forward.address.is_none_or(|address| address.is_unspecified());
        // As a socket has it, which IPv6's unspecified address gives both families.
        let both = matches!(forward.address, None | Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        guest
            .iter()
            .filter(|ip| {
                both || forward.address.is_none_or(|address| address.is_ipv4() == ip.is_ipv4())
            })
            .map(|ip| Self {
                udp: forward.protocol == ForwardProtocol::Udp,
                address: forward.address.filter(|_| !any),
                host_port: forward.host_port,
                guest: SocketAddr::new(*ip, forward.guest_port),
            })
            .collect()
    }

    /// The map it is in.
    pub(crate) fn map(&self) -> String {
        let protocol = if self.udp { "udp" } else { "tcp" };
        let family = if self.guest.is_ipv4() { '4' } else { '6' };
        let at = if self.address.is_some() { "_at" } else { "" };
        format!("{protocol}{family}{at}")
    }

    /// Its key there.
    pub(crate) fn key(&self) -> String {
        match self.address {
            Some(address) => format!("{address} . {}", self.host_port),
            None => self.host_port.to_string(),
        }
    }

    /// The element.
    pub(crate) fn element(&self) -> String {
        format!("{} : {} . {}", self.key(), self.guest.ip(), self.guest.port())
    }

    /// Reads what [`map`](Self::map) and `nft --json` have of one: the key, and the value.
    pub(crate) fn read(
        map: &str,
        key: &serde_json::Value,
        value: &serde_json::Value,
    ) -> Option<Self> {
        let udp = map.starts_with("udp");
        let concat = |value: &serde_json::Value| {
            let pair = value.get("concat")?.as_array()?.clone();
            let ip: IpAddr = pair.first()?.as_str()?.parse().ok()?;
            Some((ip, port(pair.get(1)?)?))
        };
        let (address, host_port) = match concat(key) {
            Some((ip, port)) => (Some(ip), port),
            None => (None, port(key)?),
        };
        let (ip, guest_port) = concat(value)?;
        let read = Self { udp, address, host_port, guest: SocketAddr::new(ip, guest_port) };
        (read.map() == map).then_some(read)
    }
}

fn port(value: &serde_json::Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn guest() -> [IpAddr; 2] {
        ["192.168.177.35".parse().unwrap(), "fd12::23".parse().unwrap()]
    }

    #[test]
    fn a_port_leads_to_each_family_that_its_address_has() {
        let forward = Forward::new(ForwardProtocol::Tcp, 8080, 80);
        let shown = |forward: &Forward| {
            let ports = PublishedPort::of(forward, &guest());
            ports
                .iter()
                .map(|port| format!("{} {}", port.map(), port.element()))
                .collect::<Vec<_>>()
        };
        let both = ["tcp4 8080 : 192.168.177.35 . 80", "tcp6 8080 : fd12::23 . 80"];
        assert_eq!(shown(&forward), both);
        assert_eq!(shown(&forward.at("::".parse().unwrap())), both);
        assert_eq!(shown(&forward.at("0.0.0.0".parse().unwrap())), both[..1]);
        let local = forward.at("127.0.0.1".parse().unwrap());
        assert_eq!(shown(&local), ["tcp4_at 127.0.0.1 . 8080 : 192.168.177.35 . 80"]);
        let udp = Forward::new(ForwardProtocol::Udp, 53, 53).at("2001:db8::1".parse().unwrap());
        assert_eq!(shown(&udp), ["udp6_at 2001:db8::1 . 53 : fd12::23 . 53"]);
    }

    #[test]
    fn what_nft_prints_is_read_again() {
        let value = json!({"concat": ["192.168.177.35", 80]});
        let plain = PublishedPort::read("tcp4", &json!(8080), &value).unwrap();
        assert_eq!(plain.element(), "8080 : 192.168.177.35 . 80");
        let key = json!({"concat": ["127.0.0.1", 8080]});
        let at = PublishedPort::read("tcp4_at", &key, &value).unwrap();
        assert_eq!(at.element(), "127.0.0.1 . 8080 : 192.168.177.35 . 80");
        for (map, key) in [("tcp6", json!(8080)), ("tcp4", json!("http")), ("tcp4", json!(-1))] {
            assert_eq!(PublishedPort::read(map, &key, &value), None);
        }
        assert_eq!(PublishedPort::read("tcp4", &json!(1), &json!({"concat": ["x"]})), None);
    }
}
