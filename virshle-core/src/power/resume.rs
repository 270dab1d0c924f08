//! Resuming a paused machine.

use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::state::VmState;
use crate::power::pause::switch_state;

impl Vm {
    /// Resumes the guest's vCPUs.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`] unless the guest is paused, or runs already.
    pub fn resume(&self) -> Result<Change, MachineError> {
        switch_state(self, "resume", VmState::Paused, VmState::Running)
    }
}
