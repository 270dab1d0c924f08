//! Networks that running machines have lost, and their restoring.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use crate::hardware::net::user;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::power::error::StartError;
use crate::power::start::heal;
use crate::store::run_record;

/// A network that a running machine has lost: the process that served it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LostNet {
    /// The machine.
    pub vm: VmName,
    /// The network.
    pub net: String,
    #[serde(skip)]
    uuid: Uuid,
}

impl fmt::Display for LostNet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user network {} of machine {}", self.net, self.vm)
    }
}

impl Node {
    /// Gives running machines back what they have lost, each with its result. A machine that was
    /// stopped meanwhile is left alone.
    ///
    /// cloud-hypervisor looks for the process that served a user network for a minute; what comes back
    /// later needs a restart of the machine.
    ///
    /// # Errors
    ///
    /// Each has its own result: one failure does not keep the others from being restored.
    pub fn heal(&self, lost: Vec<LostNet>) -> Vec<(LostNet, Result<(), StartError>)> {
        lost.into_iter()
            .map(|lost| {
                let result = self.vm(lost.uuid).map_err(StartError::from).and_then(|vm| {
                    let _lock = vm.lock()?;
                    if runs(&vm) {
                        heal(&vm, run_record::read(vm.directory()))?;
                    }
                    Ok(())
                });
                (lost, result)
            })
            .collect()
    }
}

fn runs(vm: &Vm) -> bool {
    matches!(vm.state(), VmState::Running | VmState::Paused)
}

/// Finds what running machines have lost.
pub(crate) fn lost(node: &Node) -> Result<Vec<LostNet>, MachineError> {
    let mut found = Vec::new();
    for uuid in node.store().uuids()? {
        let Ok(vm) = node.vm(uuid) else { continue };
        // What is between two states has lost nothing.
        let lost = user::lost(&vm);
        if lost.is_empty() || vm.is_being_changed() || !runs(&vm) {
            continue;
        }
        let of_vm = |net: &str| LostNet { vm: vm.name().clone(), net: net.to_owned(), uuid };
        found.extend(lost.into_iter().map(|net| of_vm(&net.name)));
    }
    Ok(found)
}
