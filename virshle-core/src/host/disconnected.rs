//! Running machines that have lost their network, and how they get it back.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use crate::hardware::error::HardwareError;
use crate::hardware::net::guard::GuardBook;
use crate::hardware::net::linux_bridge;
use crate::hardware::net::ports::switched;
use crate::hardware::net::reconnect::{Lapse, lapses, reconnect};
use crate::hardware::net::user;
use crate::host::check::finding::TIMEOUT;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::power::error::StartError;

/// A running machine whose network is not as it is defined: its port was deleted, the switch has a new
/// database, or its passt is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Disconnected {
    /// The machine.
    pub vm: VmName,
    /// What is missing, or not as it should be.
    pub what: String,
    #[serde(skip)]
    uuid: Uuid,
}

impl fmt::Display for Disconnected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "machine {}: {}", self.vm, self.what)
    }
}

impl Node {
    /// Gives running machines their network back, each with its result, while they run on. What
    /// works is not touched, nor a machine that has ended meanwhile.
    ///
    /// # Errors
    ///
    /// Each machine has its own result: one failure does not keep the others from being reconnected.
    pub fn reconnect(
        &self,
        machines: Vec<Disconnected>,
    ) -> Vec<(Disconnected, Result<(), StartError>)> {
        machines
            .into_iter()
            .map(|machine| {
                let result = reconnect_one(self, machine.uuid);
                (machine, result)
            })
            .collect()
    }
}

fn reconnect_one(node: &Node, uuid: Uuid) -> Result<(), StartError> {
    let vm = node.vm(uuid)?;
    let _lock = vm.lock()?;
    if matches!(vm.state(), VmState::Running | VmState::Paused) {
        reconnect(&vm, TIMEOUT)?;
    }
    Ok(())
}

/// Finds the running machines whose network is not as it is defined. What is on a switch that can't be
/// reached is reported elsewhere.
pub(crate) fn disconnected(
    node: &Node,
    has_switch: bool,
) -> Result<Vec<Disconnected>, MachineError> {
    let mut running = Vec::new();
    for uuid in node.store().uuids()? {
        let Ok(vm) = node.vm(uuid) else { continue };
        // What is between two states is not yet as it will be.
        let is_switched = has_switch && switched(&vm).next().is_some();
        let is_bridged = linux_bridge::bridged(&vm).next().is_some();
        if (is_switched || is_bridged || !user::lost(&vm).is_empty())
            && !vm.is_being_changed()
            && matches!(vm.state(), VmState::Running | VmState::Paused)
        {
            running.push(vm);
        }
    }
    if running.is_empty() {
        return Ok(Vec::new());
    }
    let failed =
        |source| MachineError::Switch { doing: "list the ports of machines".into(), source };
    let ports = match has_switch && running.iter().any(|vm| switched(vm).next().is_some()) {
        true => Some(node.switch(TIMEOUT)?.owned_ports().map_err(failed)?),
        false => None,
    };
    let mut book = GuardBook::new(node, TIMEOUT);
    let mut found = Vec::new();
    for vm in running {
        let lost = user::lost(&vm).into_iter();
        let mut what: Vec<String> = lost.map(|(net, loss)| user::lapse(net, loss)).collect();
        match linux_bridge::lapses(&vm) {
            Ok(lapses) => what.extend(lapses),
            Err(source) => {
                let error = HardwareError::network(&vm)(source);
                tracing::warn!(vm = %vm.name(), %error, "its bridge can't be checked");
            }
        }
        let on_switch =
            ports.as_ref().map_or(Ok(Vec::new()), |ports| lapses(&vm, ports, &mut book));
        match on_switch {
            Ok(lapses) => what.extend(lapses.into_iter().map(|(_, lapse)| Lapse::text(lapse))),
            Err(source) => {
                let error = HardwareError::network(&vm)(source);
                tracing::warn!(vm = %vm.name(), %error, "its ports can't be checked");
            }
        }
        // It may have been stopped since the ports were read.
        if !what.is_empty() && vm.vmm()?.is_some() {
            let (name, uuid) = (vm.name().clone(), vm.definition().uuid);
            found.push(Disconnected { vm: name, what: what.join("; "), uuid });
        }
    }
    Ok(found)
}
