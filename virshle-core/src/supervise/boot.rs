//! The machines that start with the host, in their order.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::selector::Selection;

/// Machines that are started together, and how long those of the next place wait.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BootTurn {
    /// The machines.
    pub vms: Vec<Vm>,
    /// How long the next ones wait once these run.
    pub delay: Duration,
}

impl Node {
    /// The machines that start with the host, in the order in which they do: those of the same place
    /// together, those without one last.
    ///
    /// # Errors
    ///
    /// If the machines can't be listed.
    pub fn boot_order(&self) -> Result<Vec<BootTurn>, MachineError> {
        Ok(turns(self.select(&Selection::all().autostart())?))
    }
}

fn turns(vms: Vec<Vm>) -> Vec<BootTurn> {
    let mut turns: BTreeMap<u64, BootTurn> = BTreeMap::new();
    for vm in vms {
        let place = vm.definition().order.map_or(u64::MAX, u64::from);
        let delay = Duration::from_secs(vm.definition().delay_seconds);
        let turn = turns
            .entry(place)
            .or_insert_with(|| BootTurn { vms: Vec::new(), delay: Duration::ZERO });
        turn.delay = turn.delay.max(delay);
        turn.vms.push(vm);
    }
    turns.into_values().collect()
}
