//! The addresses of a machine, and how each is known.

pub(crate) mod cloud_init_log;
pub(crate) mod host_addresses;
pub(crate) mod lease;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use virshle_net::{Device, MacAddr};

use crate::address::cloud_init_log::GuestAddress;
use crate::address::host_addresses::HostAddresses;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};
use crate::network;

/// How an address is known, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AddressSource {
    /// From the machine's definition.
    Static,
    /// The guest logged it on its console when it booted. Nothing vouches for it, so no connection
    /// is made to it for that alone.
    Guest,
    /// A DHCP server of this host gave it.
    Dhcp,
    /// The host's kernel has seen it on a network.
    Neighbour,
    /// It follows from the MAC address: a guest may well choose another.
    Mac,
}

impl AddressSource {
    /// The name in JSON and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Guest => "guest",
            Self::Dhcp => "dhcp",
            Self::Neighbour => "neighbour",
            Self::Mac => "mac",
        }
    }
}

impl fmt::Display for AddressSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// An address of a machine.
///
/// Shown as programs take it: `192.0.2.10`, `fe80::5054:ff:fe00:1%br0`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address {
    /// The name of the machine's network interface.
    pub net: String,
    /// The address.
    pub ip: IpAddr,
    /// The host's interface through which a link-local address is reached.
    pub zone: Option<String>,
    /// How many bits of it are the network's, if that is known.
    pub prefix_len: Option<u8>,
    /// How it is known.
    pub source: AddressSource,
}

impl Address {
    /// Whether it holds on one link alone.
    pub fn is_link_local(&self) -> bool {
        is_link_local(self.ip)
    }

    /// The address of `port` there; none if this host has no such interface as its zone.
    pub(crate) fn socket_address(&self, port: u16) -> Option<SocketAddr> {
        match (self.ip, &self.zone) {
            (IpAddr::V6(ip), Some(zone)) => {
                let device = Device::find(&zone.parse().ok()?).ok()??;
                Some(SocketAddrV6::new(ip, port, 0, device.index).into())
            }
            (ip, _) => Some(SocketAddr::new(ip, port)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => formatter.pad(&format!("{}%{zone}", self.ip)),
            None => formatter.pad(&self.ip.to_string()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Address", 3)?;
        fields.serialize_field("ip", &self.to_string())?;
        fields.serialize_field("prefix", &self.prefix_len)?;
        fields.serialize_field("source", &self.source)?;
        fields.end()
    }
}

impl Node {
    /// A snapshot of the leases and neighbours that this host knows: for asking about many machines.
    pub fn host_addresses(&self) -> HostAddresses {
        HostAddresses::read(&self.lease_places())
    }

    /// A snapshot of the leases and neighbours that this host knows.
    #[deprecated(since = "0.1.0", note = "is called `host_addresses`")]
    pub fn sightings(&self) -> HostAddresses {
        self.host_addresses()
    }

    /// The files and directories in which DHCP servers of this host keep their leases.
    pub(crate) fn lease_places(&self) -> Vec<PathBuf> {
        let configured = &self.config().network.leases;
        let mut places =
            if configured.is_empty() { lease::usual_places() } else { configured.clone() };
        places.extend(network::settings::find(self).map(|network| network.lease_file()));
        places
    }
}

impl Vm {
    /// The addresses of the machine, as far as this host knows, in this order: those of its
    /// definition, those that the guest itself has logged, those that a DHCP server of this host gave,
    /// those that the kernel has seen, and the link-local ones that follow from its MAC addresses.
    ///
    /// It need not run: a lease may outlast a run.
    #[doc(alias = "dhcp")]
    #[doc(alias = "arp")]
    pub fn addresses(&self) -> Vec<Address> {
        addresses_among(self, &self.node().host_addresses())
    }

    /// The same, from a snapshot that was read before.
    pub fn addresses_among(&self, known: &HostAddresses) -> Vec<Address> {
        addresses_among(self, known)
    }
}

/// The addresses of a machine, from a snapshot that was read before.
pub(crate) fn addresses_among(vm: &Vm, known: &HostAddresses) -> Vec<Address> {
    addresses_with(vm, &cloud_init_log::read(&vm.serial_log()), known)
}

/// The addresses at which nothing but the machine can be: a claim of the guest is not enough, as it
/// could lead its user into another machine, or into this host.
pub(crate) fn vouched_addresses(vm: &Vm) -> Vec<Address> {
    let mut addresses = addresses_with(vm, &[], &vm.node().host_addresses());
    // In a user network's address may as well be a machine of another network: this host has no way
    // to the guest but the ports it publishes.
    let is_user = |name: &str| {
        let mut nets = vm.definition().nets.iter();
        nets.any(|net| net.name == name && net.kind == NetKind::User)
    };
    addresses.retain(|address| !is_user(&address.net));
    addresses
}

fn addresses_with(vm: &Vm, logged: &[GuestAddress], known: &HostAddresses) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    let nets = &vm.definition().nets;
    let network = network::settings::find(vm.node());
    let managed = |net: &NetDefinition| {
        let addresses = network.iter().flat_map(|network| network::addresses::of_net(network, net));
        addresses.collect::<Vec<_>>()
    };
    for address in nets.iter().flat_map(|net| of_net(net, &managed(net), logged, known)) {
        if !found.iter().any(|other| other.ip == address.ip && other.net == address.net) {
            found.push(address);
        }
    }
    // Within a source the order stays: the interfaces' order, and the newest first.
    found.sort_by_key(|address| (address.source, address.is_link_local()));
    found
}

/// The addresses of an interface, by their sources.
fn of_net(
    net: &NetDefinition,
    managed: &[IpAddr],
    logged: &[GuestAddress],
    known: &HostAddresses,
) -> Vec<Address> {
    let address = |ip, prefix_len, zone: Option<&str>, source| Address {
        net: net.name.clone(),
        ip,
        // Other addresses are reached by the host's routes.
        zone: zone.filter(|_| is_link_local(ip) && ip.is_ipv6()).map(ToOwned::to_owned),
        prefix_len,
        source,
    };
    let bridge = zone(net);
    let mut found: Vec<Address> = Vec::new();
    if let Some(user) = net.user.as_ref().filter(|_| net.addresses.is_empty()) {
        let ip = user.address.into();
        found.push(address(ip, Some(user.prefix_len), None, AddressSource::Dhcp));
    }
    for own in &net.addresses {
        found.push(address(own.ip, Some(own.prefix_len), bridge, AddressSource::Static));
    }
    // The only ones that DHCP gives it, and that the guard lets it have.
    for ip in managed {
        found.push(address(*ip, None, None, AddressSource::Dhcp));
    }
    let mac = net.mac;
    for logged in logged.iter().filter(|logged| logged.mac == mac) {
        found.push(address(logged.ip, logged.prefix_len, bridge, AddressSource::Guest));
    }
    for lease in known.leases.iter().filter(|lease| lease.mac == mac) {
        found.push(address(lease.ip, lease.prefix_len, None, AddressSource::Dhcp));
    }
    for seen in known.neighbours.iter().filter(|seen| seen.mac == mac) {
        found.push(address(seen.ip, None, Some(&seen.device), AddressSource::Neighbour));
    }
    if let Some(bridge) = bridge {
        found.push(address(link_local(mac).into(), Some(64), Some(bridge), AddressSource::Mac));
    }
    found
}

/// The host's interface on the same link as `net`, if it has one: the bridge's own. Behind a VLAN
/// it isn't on the same link, a macvtap keeps its host out, and a user network is no link.
fn zone(net: &NetDefinition) -> Option<&str> {
    (net.kind.is_switched() && net.vlan.is_none()).then_some(net.bridge.as_str())
}

/// The link-local address that follows from a MAC address.
///
/// # References
///
/// RFC 4291, 2.5.1 and appendix A: a modified EUI-64 behind `fe80::/64`.
#[doc(alias = "EUI-64")]
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.bytes();
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0xfe, 0x80]);
    bytes[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    bytes.into()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::lease::Lease;
    use crate::model::definition::tests::example;
    use virshle_net::Neighbour;

    fn shown(net: &NetDefinition, known: &HostAddresses) -> Vec<String> {
        of_net(net, &[], &[logged("192.0.2.11"), logged("192.0.2.14")], known)
            .iter()
            .map(|address| format!("{address} {}", address.source))
            .collect()
    }

    fn logged(ip: &str) -> GuestAddress {
        let mac = "52:54:00:00:00:01".parse().unwrap();
        GuestAddress { mac, ip: ip.parse().unwrap(), prefix_len: Some(24) }
    }

    fn known() -> HostAddresses {
        let mac = "52:54:00:00:00:01".parse().unwrap();
        let other = "52:54:00:00:00:02".parse().unwrap();
        let lease = |mac, ip: &str| Lease {
            mac,
            ip: ip.parse().unwrap(),
            prefix_len: Some(24),
            ends: u64::MAX,
        };
        let seen = |mac, ip: &str| Neighbour::new(mac, ip.parse().unwrap(), "br0");
        HostAddresses {
            leases: vec![lease(other, "192.0.2.12"), lease(mac, "192.0.2.11")],
            neighbours: vec![seen(mac, "fe80::1"), seen(mac, "192.0.2.13"), seen(other, "::1")],
        }
    }

    #[test]
    fn each_source_gives_its_addresses_of_the_right_interface() {
        let mut net = example().nets.remove(0);
        net.vlan = None;
        net.addresses = vec!["192.0.2.10/24".parse().unwrap()];
        let expected = [
            "192.0.2.10 static",
            "192.0.2.11 guest",
            "192.0.2.14 guest",
            "192.0.2.11 dhcp",
            "fe80::1%br0 neighbour",
            "192.0.2.13 neighbour",
            "fe80::5054:ff:fe00:1%br0 mac",
        ];
        assert_eq!(shown(&net, &known()), expected);
    }

    #[test]
    fn a_host_that_is_not_on_the_link_has_no_link_local_address_for_it() {
        let mut net = example().nets.remove(0);
        assert!(net.vlan.is_some());
        assert!(of_net(&net, &[], &[], &HostAddresses::default()).is_empty());
        net.vlan = None;
        net.kind = NetKind::Macvtap;
        assert!(of_net(&net, &[], &[], &HostAddresses::default()).is_empty());
    }

    #[test]
    fn programs_get_the_address_as_they_need_it() {
        let mut net = example().nets.remove(0);
        net.vlan = None;
        net.bridge = "no-such-bridge".into();
        let mut address = of_net(&net, &[], &[], &HostAddresses::default()).remove(0);
        let json = serde_json::to_value(&address).unwrap();
        let expected = serde_json::json!(
            {"ip": "fe80::5054:ff:fe00:1%no-such-bridge", "prefix": 64, "source": "mac"}
        );
        assert_eq!(json, expected);
        assert_eq!(address.socket_address(22), None);
        address.zone = Some("lo".into());
        let there = address.socket_address(22).map(|address| address.to_string());
        assert_eq!(there.as_deref(), Some("[fe80::5054:ff:fe00:1%1]:22"));
    }
}
