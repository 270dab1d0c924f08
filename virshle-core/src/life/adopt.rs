//! Gives machines that were created before there was a managed network their addresses on it.

use virshle_net::ManagedNetwork;

use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::{ManagedNet, NetDefinition};
use crate::network::addresses::lacks_address;
use crate::network::{hosts, settings};
use crate::store::claim::Pool;

/// Gives each machine of the node its addresses on the managed network, as far as it has none, or has that
/// of another subnet; and lets dnsmasq know all machines, and none that isn't there. Returns the names of those
/// that got one. What of a machine can't be done is logged.
pub(crate) fn adopt(node: &Node) -> Result<Vec<String>, MachineError> {
    let Some(network) = settings::find(node) else { return Ok(Vec::new()) };
    let mut adopted = Vec::new();
    for uuid in node.store().uuids()? {
        let Ok(vm) = node.vm(uuid) else { continue };
        if !vm.definition().nets.iter().any(|net| lacks_address(&network, net)) {
            continue;
        }
        match adopt_one(&network, &vm) {
            Ok(()) => adopted.push(vm.name().to_string()),
            Err(error) => {
                tracing::warn!(vm = %vm.name(), %error, "it has no address on the managed network");
            }
        }
    }
    hosts::register_all(node)?;
    Ok(adopted)
}

fn adopt_one(network: &ManagedNetwork, vm: &Vm) -> Result<(), MachineError> {
    let _lock = vm.lock()?;
    let mut definition = vm.node().store().read(vm.uuid())?;
    let lacking = |net: &&mut NetDefinition| lacks_address(network, net);
    let nets = definition.nets.iter_mut().filter(lacking).map(|net| net.name.clone()).collect();
    let pool = Pool { subnet: network.subnet, bridge: network.bridge.to_string(), nets };
    let name = definition.name.clone();
    vm.node().store().with_addresses(&name, &pool, |store, addresses| {
        for (net, address) in definition.nets.iter_mut().filter(lacking).zip(addresses) {
            let publish = net.managed.take().map(|managed| managed.publish).unwrap_or_default();
            net.managed = Some(ManagedNet { publish, ..ManagedNet::at(*address) });
        }
        store.rewrite(&definition)
    })?;
    Ok(())
}
