//! Pausing a machine: its guest's vCPUs stop, its memory stays.

use std::time::Duration;

use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::state::VmState;

/// How long cloud-hypervisor may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl Vm {
    /// Pauses the guest's vCPUs.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`] unless the guest runs, or is paused already.
    pub fn pause(&self) -> Result<Change, MachineError> {
        switch_state(self, "pause", VmState::Running, VmState::Paused)
    }
}

/// Takes a guest from one state to the other; it may be there already.
pub(crate) fn switch_state(
    vm: &Vm,
    verb: &'static str,
    from: VmState,
    to: VmState,
) -> Result<Change, MachineError> {
    let _lock = vm.lock()?;
    let state = vm.state();
    if state == to {
        return Ok(Change::Unchanged);
    }
    if state != from {
        return Err(vm.wrong_state(verb, state));
    }
    let client = vm.client(ANSWER_TIMEOUT, verb)?;
    let answer = if to == VmState::Paused { client.pause() } else { client.resume() };
    answer.map_err(|source| vm.vmm_error(verb, source))?;
    Ok(Change::Done)
}
