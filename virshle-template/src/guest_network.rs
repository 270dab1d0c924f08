//! A guest's addresses and gateways, checked against each other.
//!
//! Each value alone may be right and the guest unreachable all the same: a gateway of a family in
//! which it has no address, two default routes, one address twice.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::section::{Placed, Section};
use crate::static_address::StaticAddress;

/// What the nets of a template have told the guest so far, each with the line it stands in.
#[derive(Debug, Default)]
pub(crate) struct GuestNetwork {
    addresses: HashMap<IpAddr, usize>,
    gateway4: Option<usize>,
    gateway6: Option<usize>,
}

impl GuestNetwork {
    /// Notes what is wrong with the values of one net beside each other, and beside those of the
    /// nets before it.
    pub(crate) fn check(
        &mut self,
        section: &Section<'_>,
        addresses: &[Placed<StaticAddress>],
        gateways: &[Placed<IpAddr>],
    ) {
        for Placed { value: address, span } in addresses {
            let StaticAddress { ip, prefix_len } = address;
            if let Some(part) = address.reserved(*ip) {
                let message = format!("{ip} is the {part} of its network /{prefix_len}");
                section.wrong(span.clone(), message, "expected an address of a host in it");
            }
            let line = section.source.line(span.start);
            if let Some(first) = self.addresses.insert(*ip, line) {
                let message = format!("a second time the address {ip}");
                section.wrong(span.clone(), message, &format!("line {first} has the first"));
            }
        }
        for Placed { value: gateway, span } in gateways {
            let (family, first) = match gateway {
                IpAddr::V4(_) => ("IPv4", &mut self.gateway4),
                IpAddr::V6(_) => ("IPv6", &mut self.gateway6),
            };
            let own = addresses.iter().map(|address| address.value);
            let mut own = own.filter(|address| address.ip.is_ipv4() == gateway.is_ipv4());
            let line = section.source.line(span.start);
            if let Some(first) = first.replace(line) {
                let message = format!("a second {family} gateway");
                let help = format!(
                    "line {first} has the first: a guest has one default route of each family"
                );
                section.wrong(span.clone(), message, &help);
            } else if own.clone().next().is_none() {
                let message = format!("a gateway for {family}, and no address of that family");
                let help = "a net without addresses gets its gateway by DHCP";
                section.wrong(span.clone(), message, help);
            } else if own.any(|address| address.ip == *gateway) {
                let message = format!("{gateway} is the guest's own address");
                section.wrong(span.clone(), message, "expected that of a router");
            } else if let Some(part) = own_network(addresses, *gateway) {
                let message = format!("{gateway} is the {part} of the guest's network");
                section.wrong(span.clone(), message, "expected the address of a router in it");
            }
        }
    }
}

/// What `ip` is in the network of one of `addresses`, if it is none for a host.
fn own_network(addresses: &[Placed<StaticAddress>], ip: IpAddr) -> Option<&'static str> {
    addresses.iter().find_map(|address| address.value.reserved(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_address::placed_hosts;
    use crate::testing::{mistakes, read};

    fn network(section: &Section<'_>) -> Option<()> {
        let mut network = GuestNetwork::default();
        for net in section.sections("net", "net") {
            let addresses = StaticAddress::read_all(&net, "address");
            network.check(&net, &addresses, &placed_hosts(&net, "gateway"));
            net.finish();
        }
        Some(())
    }

    #[test]
    fn what_fits_together_is_taken() {
        for text in [
            "net = [{address = '192.0.2.10/24', gateway = '192.0.2.1'}]",
            "net = [{address = ['192.0.2.10/24', '2001:db8::2/64'],\n\
             gateway = ['2001:db8::1', '192.0.2.1']}]",
            // Of the two addresses of such a network both are a host's (RFC 3021).
            "net = [{address = '192.0.2.0/31', gateway = '192.0.2.1'}]",
            // A gateway outside, as providers have it who route a single address.
            "net = [{address = '203.0.113.7/32', gateway = '172.31.1.1'}]",
            "net = [{address = '2001:db8::2/128', gateway = 'fe80::1'}]",
            "net = [{address = '192.0.2.10/24', gateway = '192.0.2.1'},\n\
             {address = ['198.51.100.10/24', '2001:db8::2/64'], gateway = '2001:db8::1'}, {}]",
        ] {
            assert_eq!(mistakes(text, network), Vec::<String>::new(), "{text}");
            assert!(read(text, network).is_some());
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, message) in [
            (
                "net = [{address = '192.0.2.10/24', gateway = '2001:db8::1'}]",
                "a gateway for IPv6, and no address of that family",
            ),
            (
                "net = [{gateway = '192.0.2.1'}]",
                "a gateway for IPv4, and no address of that family",
            ),
            (
                "net = [{address = '192.0.2.10/24', gateway = ['192.0.2.1', '192.0.2.2']}]",
                "a second IPv4 gateway",
            ),
            (
                "net = [{address = '2001:db8::2/64', gateway = '2001:db8::1'},\n\
                 {address = '2001:db8:1::2/64', gateway = '2001:db8:1::1'}]",
                "a second IPv6 gateway",
            ),
            (
                "net = [{address = '192.0.2.10/24', gateway = '192.0.2.10'}]",
                "192.0.2.10 is the guest's own address",
            ),
            (
                "net = [{address = '192.0.2.10/24', gateway = '192.0.2.255'}]",
                "192.0.2.255 is the broadcast address of the guest's network",
            ),
            (
                "net = [{address = '192.0.2.10/24'}, {address = '192.0.2.10/32'}]",
                "a second time the address 192.0.2.10",
            ),
            (
                "net = [{address = '192.0.2.0/24'}]",
                "192.0.2.0 is the network address of its network /24",
            ),
            (
                "net = [{address = '10.1.255.255/16'}]",
                "10.1.255.255 is the broadcast address of its network /16",
            ),
        ] {
            assert_eq!(mistakes(text, network), [message], "{text}");
        }
    }
}
