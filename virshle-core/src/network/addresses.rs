//! The addresses of machines on the managed network.

use std::net::{IpAddr, Ipv4Addr};

use virshle_net::{ManagedNetwork, ServedSubnet};
use virshle_template::{NetTemplate, VmTemplate};

use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::{ManagedNet, NetDefinition};
use crate::network::settings;
use crate::store::claim::Pool;

/// The addresses of an interface on the managed network, IPv4 first; none if it is on none, or had its
/// address of a network that has another subnet by now.
pub(crate) fn of_net(network: &ManagedNetwork, net: &NetDefinition) -> Vec<IpAddr> {
    let managed = net.managed.as_ref().filter(|managed| is_on(network, net, managed));
    let Some(managed) = managed else { return Vec::new() };
    let v6 = network.subnet.ipv6_of(managed.address).map(IpAddr::V6);
    std::iter::once(IpAddr::V4(managed.address)).chain(v6).collect()
}

fn is_on(network: &ManagedNetwork, net: &NetDefinition, managed: &ManagedNet) -> bool {
    net.can_be_managed()
        && net.bridge == network.bridge.as_str()
        && network.subnet.contains(managed.address.into())
}

/// The interfaces of the machine on the node's managed network.
pub(crate) fn managed_nets<'a>(
    network: &'a ManagedNetwork,
    vm: &'a Vm,
) -> impl Iterator<Item = (&'a NetDefinition, &'a ManagedNet)> {
    let nets = vm.definition().nets.iter();
    nets.filter_map(|net| Some((net, net.managed.as_ref()?)))
        .filter(|(net, managed)| is_on(network, net, managed))
}

/// Whether a machine's interface should have an address of the managed network, and has none.
pub(crate) fn lacks_address(network: &ManagedNetwork, net: &NetDefinition) -> bool {
    net.can_be_managed()
        && net.bridge == network.bridge.as_str()
        && net.addresses.is_empty()
        && of_net(network, net).is_empty()
}

/// The managed network's addresses for machines of a template; none if it has no interface on it.
pub(crate) fn pool(node: &Node, template: &VmTemplate) -> Option<Pool> {
    let network = settings::find(node)?;
    let nets: Vec<String> =
        template.nets.iter().filter(|net| wants_address(net)).map(|net| net.name.clone()).collect();
    let pool = Pool { subnet: network.subnet, bridge: network.bridge.to_string(), nets };
    (!pool.nets.is_empty()).then_some(pool)
}

/// Whether an interface gets an address of the managed network: on its bridge, untagged, and without a
/// static address.
pub(crate) fn wants_address(net: &NetTemplate) -> bool {
    is_switched(net) && net.addresses.is_empty()
}

fn is_switched(net: &NetTemplate) -> bool {
    use virshle_template::NetKind;
    let switched = matches!(net.kind, NetKind::Vhost | NetKind::Tap);
    switched && net.vlan.is_none() && net.trunk.is_empty()
}

/// The static IPv4 address of an interface, if it is one of the managed network.
pub(crate) fn static_address(subnet: &ServedSubnet, net: &NetTemplate) -> Option<Ipv4Addr> {
    let in_subnet = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => subnet.contains(ip.into()).then_some(ip),
        IpAddr::V6(_) => None,
    };
    let mut addresses = net.addresses.iter().map(|address| address.ip);
    is_switched(net).then(|| addresses.find_map(in_subnet)).flatten()
}
