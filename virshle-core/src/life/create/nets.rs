//! The network interfaces of a machine that is being created.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use virshle_net::MacAddr;
use virshle_template::{BitRate, NetTemplate, VmTemplate};

use crate::life::create::define::Creation;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::model::definition::{InterfaceAddress, ManagedNet, NetDefinition, NetKind, UserNet};
use crate::model::identity::Identity;
use crate::model::port_name::{port_name, unmistakable_name};
use crate::network::addresses::{static_address, wants_address};
use crate::network::settings;

/// What the template gives its machine that only one can have.
pub(super) fn fixed_identities(
    node: &Node,
    template: &VmTemplate,
) -> Result<Vec<Identity>, CreateError> {
    let mut identities = Vec::new();
    for net in &template.nets {
        identities.extend(fixed_mac(template, net)?.map(Identity::mac));
        // Those of a user network are no other machine's to see.
        if NetKind::from(net.kind) == NetKind::User {
            continue;
        }
        let bridge = bridge_of(node, net);
        let addresses = net.addresses.iter();
        identities.extend(addresses.map(|address| Identity::address(bridge, net.vlan, address.ip)));
    }
    Ok(identities)
}

/// Refuses a template whose ports can't be published, or whose address is this host's.
pub(super) fn check_publish(node: &Node, template: &VmTemplate) -> Result<(), CreateError> {
    let network = settings::find(node);
    for net in template.nets.iter().filter(|net| NetKind::from(net.kind).is_switched()) {
        let subnet = network.as_ref().map(|network| network.subnet);
        let (template, name) = (template.name.clone(), net.name.clone());
        let gateway = subnet.map(|subnet| IpAddr::V4(subnet.gateway()));
        if let Some(ip) = gateway.filter(|ip| net.addresses.iter().any(|own| own.ip == *ip)) {
            return Err(CreateError::HostsAddress { template, net: name, ip });
        }
        let is_managed = subnet
            .is_some_and(|subnet| wants_address(net) || static_address(&subnet, net).is_some());
        if !net.publish.is_empty() && !is_managed {
            return Err(CreateError::NotManaged { template, net: name });
        }
    }
    Ok(())
}

/// The bridge that an interface is connected to; for a macvtap the interface below it; none for a user
/// network.
fn bridge_of<'a>(node: &'a Node, net: &'a NetTemplate) -> &'a str {
    match (NetKind::from(net.kind), &net.link) {
        (NetKind::User, _) => "",
        (NetKind::Bridge | NetKind::Macvtap, Some(link)) => link,
        _ => &node.config().network.bridge,
    }
}

fn fixed_mac(template: &VmTemplate, net: &NetTemplate) -> Result<Option<MacAddr>, CreateError> {
    net.mac.as_ref().map(|mac| mac.parse()).transpose().map_err(|source| CreateError::Mac {
        template: template.name.clone(),
        net: net.name.clone(),
        source,
    })
}

impl Creation<'_> {
    /// Defines the interfaces of the template.
    pub(super) fn nets(&self) -> Result<Vec<NetDefinition>, CreateError> {
        let mut numbers = free_networks();
        let mut addresses = self.staged.addresses.iter().copied();
        let subnet = settings::find(self.node).map(|network| network.subnet);
        let nets = self.template.nets.iter().enumerate();
        let mut nets: Vec<NetDefinition> = nets
            .map(|(index, net)| {
                let mut made = self.net(net, index, &mut numbers)?;
                let address = match wants_address(net) {
                    true => addresses.next(),
                    false => subnet.and_then(|subnet| static_address(&subnet, net)),
                };
                made.managed = address.map(|address| ManagedNet {
                    publish: net.publish.clone(),
                    ..ManagedNet::at(address)
                });
                Ok(made)
            })
            .collect::<Result<_, CreateError>>()?;
        if nets.is_empty() && !self.template.has_nets && self.has_user_nets() {
            nets.push(NetDefinition {
                name: "main".into(),
                kind: NetKind::User,
                mac: self.mac(None)?,
                bridge: String::new(),
                port: String::new(),
                vlan: None,
                trunk: Vec::new(),
                trust: false,
                mtu_bytes: None,
                rate_in_bits: None,
                rate_out_bits: None,
                queues: None,
                addresses: Vec::new(),
                user: numbers.next().map(UserNet::numbered),
                managed: None,
            });
        }
        Ok(nets)
    }

    /// Whether a template that says nothing of networks gets the one that works for a user who is not
    /// root, who may have no other.
    fn has_user_nets(&self) -> bool {
        let program = &self.node.config().network.passt;
        !rustix::process::geteuid().is_root()
            && virshle_net::check_passt(program, PASST_TIMEOUT).is_ok()
    }

    fn net(
        &self,
        net: &NetTemplate,
        index: usize,
        numbers: &mut impl Iterator<Item = u16>,
    ) -> Result<NetDefinition, CreateError> {
        let kind = NetKind::from(net.kind);
        Ok(NetDefinition {
            name: net.name.clone(),
            kind,
            mac: self.mac(Some(net))?,
            bridge: bridge_of(self.node, net).to_owned(),
            port: match kind {
                NetKind::User => String::new(),
                _ => self.port_name(&net.name, index, kind),
            },
            vlan: net.vlan,
            trunk: net.trunk.clone(),
            trust: net.trust,
            mtu_bytes: net.mtu,
            rate_in_bits: net.rate_in.map(BitRate::bits),
            rate_out_bits: net.rate_out.map(BitRate::bits),
            queues: net.queues,
            addresses: net.addresses.iter().map(InterfaceAddress::from).collect(),
            user: match kind {
                NetKind::User => user_net(net, numbers),
                NetKind::Vhost | NetKind::Tap | NetKind::Bridge | NetKind::Macvtap => None,
            },
            managed: None,
        })
    }

    /// The name of a port: it shows the machine.
    ///
    /// The nodes of a host have one switch between them, and each counts its machines from 1: only the
    /// node of the system itself names its ports by id and net.
    fn port_name(&self, net: &str, index: usize, kind: NetKind) -> String {
        match self.node.root() == Path::new(SYSTEM) {
            true => port_name(self.staged.id, net, index, kind),
            false => unmistakable_name(self.staged.id, self.staged.uuid, index),
        }
    }

    /// The template's address, or a random one that no machine of this node has.
    fn mac(&self, net: Option<&NetTemplate>) -> Result<MacAddr, CreateError> {
        if let Some(net) = net {
            if let Some(mac) = fixed_mac(self.template, net)? {
                return Ok(mac);
            }
        }
        loop {
            let mac = MacAddr::random().map_err(|source| CreateError::Random { source })?;
            if !self.staged.taken_macs.contains(&mac) {
                return Ok(mac);
            }
        }
    }
}

/// How long passt may take to say what it can do.
const PASST_TIMEOUT: Duration = Duration::from_secs(5);

/// What passt gives to the guest of `net`: the addresses that the template names, or those of the
/// next free network.
fn user_net(net: &NetTemplate, numbers: &mut impl Iterator<Item = u16>) -> Option<UserNet> {
    let ipv4 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    let own = net.addresses.iter().find_map(|own| Some((ipv4(own.ip)?, own.prefix_len)));
    let mut user = match own {
        Some((ip, prefix_len)) => {
            UserNet::at(ip, prefix_len, net.gateways.iter().copied().find_map(ipv4))
        }
        None => UserNet::numbered(numbers.next()?),
    };
    user.dns = net.dns.clone();
    user.publish = net.publish.clone();
    user.host_loopback = net.host_loopback;
    Some(user)
}

/// The numbers of networks, as 2 is that of `10.0.2.0/24`, to which this host has no route of its
/// own: what is in them would be out of the guest's reach.
fn free_networks() -> impl Iterator<Item = u16> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let routes: Vec<(u32, u32)> = table.lines().skip(1).filter_map(route).collect();
    (2..=u16::MAX).filter(move |number| {
        let network = 10 << 24 | u32::from(*number) << 8;
        let meets = |(to, mask): &(u32, u32)| {
            let common = mask & 0xffff_ff00;
            *mask != 0 && (to ^ network) & common == 0
        };
        !routes.iter().any(meets)
    })
}

/// The destination and the mask of a line of `/proc/net/route`, whose numbers are as they lie in the
/// memory of the host.
fn route(line: &str) -> Option<(u32, u32)> {
    let mut words = line.split_ascii_whitespace();
    let number = |word: &str| Some(u32::from_be(u32::from_str_radix(word, 16).ok()?));
    let to = number(words.nth(1)?)?;
    Some((to, number(words.nth(5)?)?))
}

/// The node of the system itself: [`virshle_template::NodeSettings::default_root`] of root.
const SYSTEM: &str = "/var/lib/virshle";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_the_kernel_writes_it() {
        let line = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(route(line), Some((0x0a00_0200, 0xffff_ff00)));
        assert_eq!(route("eth0\t0002000A\t0"), None);
        assert_eq!(route(""), None);
    }
}
