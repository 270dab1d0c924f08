//! The question that every listing asks: is there a VMM, and what is its guest doing?

use std::path::Path;
use std::time::Duration;

use virshle_hypervisor::{HypervisorError, Vmm};

use crate::model::state::VmState;
use crate::store::layout::API_SOCKET;

/// How long a VMM's API may be silent before the machine is called unresponsive.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a machine is doing, and whose process does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: VmState,
    pub(crate) pid: Option<u32>,
}

pub(crate) const STOPPED: Status = Status { state: VmState::Stopped, pid: None };

/// Asks the VMM in the machine's `directory`, if there is one.
pub(crate) fn status(directory: &Path, program: &Path) -> Status {
    let socket = directory.join(API_SOCKET);
    match Vmm::find(&socket, program) {
        Ok(Some(vmm)) => Status { state: state_of(&vmm), pid: Some(vmm.pid()) },
        Ok(None) => STOPPED,
        Err(error) => {
            // A process listens, and it is not known which: the machine may well be running.
            tracing::debug!(socket = %socket.display(), %error, "cannot find whose socket it is");
            Status { state: VmState::Unresponsive, pid: None }
        }
    }
}

fn state_of(vmm: &Vmm) -> VmState {
    use virshle_hypervisor::VmState as Reported;
    let info = vmm.client(PATIENCE).info();
    match info.map(|info| info.state) {
        Ok(Reported::Running) => VmState::Running,
        Ok(Reported::Paused | Reported::BreakPoint) => VmState::Paused,
        Ok(_) => VmState::Created,
        // A VMM without a VM answers 404.
        Err(HypervisorError::Refused { status: 404, .. }) => VmState::Created,
        Err(_) => VmState::Unresponsive,
    }
}
