//! What only one machine of a network can have: a MAC address, an IP address.

use std::fmt;
use std::net::IpAddr;

use virshle_net::MacAddr;

use crate::model::definition::{Definition, NetDefinition};

/// What only one machine can have, as people and the claim of a machine name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(String);

impl Identity {
    /// A MAC address, on whatever network.
    pub(crate) fn mac(mac: MacAddr) -> Self {
        Self(format!("MAC address {mac}"))
    }

    /// An address of one network: in another VLAN it is another machine's.
    pub(crate) fn address(bridge: &str, vlan: Option<u16>, ip: IpAddr) -> Self {
        let vlan = vlan.map(|vlan| format!(", VLAN {vlan}")).unwrap_or_default();
        Self(format!("address {ip} (on {bridge}{vlan})"))
    }

    /// The identity that a line of a claim names.
    pub(crate) fn of_claim(line: &str) -> Self {
        Self(line.to_owned())
    }

    /// Those of a machine.
    pub(crate) fn all_of(definition: &Definition) -> impl Iterator<Item = Self> + '_ {
        let of_net = |net: &NetDefinition| {
            let managed = net.managed.iter().map(|managed| managed.address.into());
            let addresses: Vec<_> = net
                .addresses
                .iter()
                .map(|address| address.ip)
                .chain(managed)
                .map(|ip| Self::address(&net.bridge, net.vlan, ip))
                .collect();
            std::iter::once(Self::mac(net.mac)).chain(addresses)
        };
        definition.nets.iter().flat_map(of_net)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
