//! The ports that machines on the managed network publish.

use std::net::IpAddr;

use virshle_net::{
    Forward, ForwardProtocol, ManagedError, ManagedNetwork, PasstError, PublishedPort, Ruleset,
};
use virshle_template::{Protocol, Publish};

use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::state::VmState;
use crate::network::addresses::{managed_nets, of_net};
use crate::network::settings::{self, failed};

/// What a port that is published is for sockets.
pub(crate) fn forward(publish: &Publish) -> Forward {
    let protocol = match publish.protocol {
        Protocol::Tcp => ForwardProtocol::Tcp,
        Protocol::Udp => ForwardProtocol::Udp,
    };
    let forward = Forward::new(protocol, publish.host_port, publish.guest_port);
    match publish.address {
        Some(address) => forward.at(address),
        None => forward,
    }
}

/// The ports that the machine publishes on the managed network.
pub(crate) fn ports(network: &ManagedNetwork, vm: &Vm) -> Vec<PublishedPort> {
    let mut ports = Vec::new();
    for (net, managed) in managed_nets(network, vm) {
        let addresses = of_net(network, net);
        for publish in &managed.publish {
            ports.extend(PublishedPort::of(&forward(publish), &addresses));
        }
    }
    ports
}

/// Those of all machines that run, but of those that can't be read.
pub(crate) fn of_running(
    node: &Node,
    network: &ManagedNetwork,
) -> Result<Vec<PublishedPort>, MachineError> {
    let mut all = Vec::new();
    for uuid in node.store().uuids()? {
        let Ok(vm) = node.vm(uuid) else { continue };
        let ports = ports(network, &vm);
        // Of most it need not be asked.
        if !ports.is_empty() && vm.state() != VmState::Stopped {
            for port in ports {
                let meets = |other: &PublishedPort| {
                    (other.udp, other.address, other.host_port, other.guest.is_ipv4())
                        == (port.udp, port.address, port.host_port, port.guest.is_ipv4())
                };
                // Of two that have one port the rules take neither, and no others with them.
                if !all.iter().any(meets) {
                    all.push(port);
                }
            }
        }
    }
    Ok(all)
}

/// Makes sure that the ports that the machine publishes can be had, before anything is changed.
pub(crate) fn check(vm: &Vm) -> Result<(), MachineError> {
    let Some(network) = settings::find(vm.node()) else { return Ok(()) };
    let published: Vec<Publish> =
        managed_nets(&network, vm).flat_map(|(_, managed)| managed.publish.clone()).collect();
    check_all(&network, vm, &published)
}

pub(crate) fn check_all(
    network: &ManagedNetwork,
    vm: &Vm,
    published: &[Publish],
) -> Result<(), MachineError> {
    if published.is_empty() {
        return Ok(());
    }
    let doing = || format!("publish the ports of machine {}", vm.name());
    let own: Vec<IpAddr> =
        managed_nets(network, vm).flat_map(|(net, _)| of_net(network, net)).collect();
    let there = Ruleset::read(network).map_err(failed(doing()))?.ports;
    for publish in published {
        let forward = forward(publish);
        let taken = |source| MachineError::Managed { doing: doing(), source };
        for other in there.iter().filter(|other| meets(other, &forward)) {
            if own.contains(&other.guest.ip()) {
                continue;
            }
            match holder(vm.node(), network, other) {
                Some(holder) if holder.state() != VmState::Stopped => {
                    let holder = format!("machine {}", holder.name());
                    return Err(taken(ManagedError::PortTaken {
                        port: forward.to_string(),
                        holder,
                    }));
                }
                // What a guest that powered itself off, or a machine that is gone, has left.
                _ => Ruleset::withdraw(network, &[*other]).map_err(failed(doing()))?,
            }
        }
        match forward.check_free() {
            Ok(()) => {}
            Err(PasstError::PortTaken { forward, holder }) => {
                let holder = holder
                    .map_or("a process that can't be seen".into(), |holder| holder.to_string());
                return Err(taken(ManagedError::PortTaken { port: forward.to_string(), holder }));
            }
            Err(source) => {
                let action = format!("publish {forward}");
                let source = std::io::Error::other(match std::error::Error::source(&source) {
                    Some(cause) => cause.to_string(),
                    None => source.to_string(),
                });
                return Err(taken(ManagedError::Kernel { action, source }));
            }
        }
    }
    Ok(())
}

/// Whether both are one port of the host.
fn meets(port: &PublishedPort, forward: &Forward) -> bool {
    let udp = forward.protocol == ForwardProtocol::Udp;
    let of_family = forward.address.is_none_or(|address| {
        address.is_unspecified() || address.is_ipv4() == port.guest.is_ipv4()
    });
    let at = match (port.address, forward.address.filter(|address| !address.is_unspecified())) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    (port.udp, port.host_port) == (udp, forward.host_port) && of_family && at
}

/// The machine of the node that has the address that a port leads to.
pub(crate) fn holder(node: &Node, network: &ManagedNetwork, port: &PublishedPort) -> Option<Vm> {
    let uuids = node.store().uuids().ok()?;
    uuids.into_iter().filter_map(|uuid| node.vm(uuid).ok()).find(|vm| {
        vm.definition().nets.iter().any(|net| of_net(network, net).contains(&port.guest.ip()))
    })
}
