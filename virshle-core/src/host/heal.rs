//! Healing: running machines get their networks back by themselves, after a restart of the switch or
//! the death of a passt.

use std::time::Duration;

use uuid::Uuid;
use virshle_net::Switch;

use crate::fs::deadline::Deadline;
use crate::fs::in_parallel::in_parallel;
use crate::hardware::net::bridge::require_bridge;
use crate::hardware::net::ports::switched;
use crate::hardware::net::reconnect::reconnect;
use crate::host::check::finding::TIMEOUT;
use crate::host::network::is_set_up;
use crate::machine::error::MachineError;
use crate::machine::hold::hold;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::power::error::StartError;

/// How long a switch that is coming up may take.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks for it: it gives no sign when it listens.
const LOOK: Duration = Duration::from_millis(50);

/// A running machine, and what of its network was put right, for people.
#[derive(Debug)]
#[non_exhaustive]
pub struct Healed {
    /// The machine.
    pub vm: VmName,
    /// What was missing, or not as it should be; nothing if all was well.
    pub missed: Result<Vec<String>, StartError>,
}

impl Node {
    /// Gives running machines what is missing of their networks: all of them, with the managed network, or the
    /// one of that uuid.
    /// Waits for a switch that is coming up, and for other processes that work on a machine. What works
    /// is not touched.
    ///
    /// systemd runs this when the switch has been started, and when a passt or the managed network's dnsmasq has
    /// ended.
    ///
    /// # Errors
    ///
    /// If the machines can't be listed, or the switch does not come up; or if a machine can't be read, once
    /// all others are healed. Each machine has its own result: one failure keeps no other from being healed.
    pub fn heal(&self, only: Option<Uuid>) -> Result<Vec<Healed>, MachineError> {
        heal(self, only)
    }
}

fn heal(node: &Node, only: Option<Uuid>) -> Result<Vec<Healed>, MachineError> {
    let uuids = match only {
        Some(uuid) => vec![uuid],
        None => node.store().uuids()?,
    };
    let (mut vms, mut unread) = (Vec::new(), None);
    for uuid in uuids {
        match node.vm(uuid) {
            // One that is just being started may have asked the switch of before.
            Ok(vm) if vm.is_being_changed() || vm.state() != VmState::Stopped => vms.push(vm),
            // It has been removed meanwhile, or needs no network.
            Ok(_) | Err(MachineError::Select(_)) => {}
            Err(error) => unread = Some(error),
        }
    }
    let is_managed = only.is_none() && is_set_up(node);
    if is_managed || vms.iter().any(|vm| switched(vm).next().is_some()) {
        prepare_switch(node)?;
    }
    // What serves them first: a guest that has its port asks at once.
    let restored = if is_managed { restore(node) } else { Ok(()) };
    let healed =
        in_parallel(vms, |vm: Vm| Healed { vm: vm.name().clone(), missed: heal_one(node, &vm) });
    // Whose state is not known may lack everything.
    match unread {
        Some(error) => Err(error),
        None => restored.map(|()| healed),
    }
}

fn restore(node: &Node) -> Result<(), MachineError> {
    for part in node.restore_network()? {
        tracing::info!(what = part.what, "restored");
    }
    Ok(())
}

/// Waits for the switch, and has the node's bridge as it should be.
fn prepare_switch(node: &Node) -> Result<(), MachineError> {
    let deadline = Deadline::after(SWITCH_TIMEOUT);
    let mut switch = loop {
        match node.switch(TIMEOUT) {
            Err(_) if !deadline.is_over() => std::thread::sleep(LOOK.min(deadline.left())),
            answer => break answer?,
        }
    };
    let bridge = &node.config().network.bridge;
    let ready = |switch: &mut Switch| {
        switch.ping_vswitchd(deadline.left())?;
        // Its interface is a new one, and open to router advertisements.
        require_bridge(node, switch, bridge, TIMEOUT)?;
        // Those that were killed while the switch was away.
        switch.sweep_captures(&node.mark(), TIMEOUT)
    };
    ready(&mut switch).map(drop).map_err(|source| MachineError::Switch {
        doing: format!("have bridge {bridge} as it should be"),
        source,
    })
}

fn heal_one(node: &Node, vm: &Vm) -> Result<Vec<String>, StartError> {
    let Some((vm, _lock)) = hold(node, vm.definition().uuid)? else { return Ok(Vec::new()) };
    let has_guest = match vm.state() {
        VmState::Running | VmState::Paused => true,
        // Its guest may lack its network all the same; and whose process it is must be known.
        VmState::Unresponsive => vm.vmm()?.is_some(),
        VmState::Stopped | VmState::Created => false,
    };
    if has_guest { Ok(reconnect(&vm, TIMEOUT)?) } else { Ok(Vec::new()) }
}
