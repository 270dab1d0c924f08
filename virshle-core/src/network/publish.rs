//! Publishes the ports of machines on the managed network, and ends that.

use virshle_net::{ManagedError, ManagedNetwork, PublishedPort, Ruleset};

use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::network::apply::apply;
use crate::network::ports::ports;
use crate::network::settings::{self, failed};

/// Publishes the machine's ports, while it starts.
pub(crate) fn publish(vm: &Vm) -> Result<(), MachineError> {
    let Some(network) = settings::find(vm.node()) else { return Ok(()) };
    publish_all(&network, vm, &ports(&network, vm))
}

pub(crate) fn publish_all(
    network: &ManagedNetwork,
    vm: &Vm,
    ports: &[PublishedPort],
) -> Result<(), MachineError> {
    let doing = format!("publish the ports of machine {}", vm.name());
    match Ruleset::publish(network, ports) {
        // A firewall that was started anew has taken all tables along.
        Err(ManagedError::NoTable { .. }) => {
            apply(vm.node())?;
            Ruleset::publish(network, ports).map_err(failed(doing))
        }
        other => other.map_err(failed(doing)),
    }
}

/// Ends the publication of the machine's ports.
pub(crate) fn withdraw(vm: &Vm) -> Result<(), MachineError> {
    let Some(network) = settings::find(vm.node()) else { return Ok(()) };
    let ports = ports(&network, vm);
    let doing = format!("end the publication of the ports of machine {}", vm.name());
    Ruleset::withdraw(&network, &ports).map_err(failed(doing))
}
