//! Stopping a machine: by its power button, or by cutting its power.

use std::time::Duration;

use virshle_hypervisor::{HypervisorError, Vmm};

use crate::fs::lock::Lock;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::run::LastExit;
use crate::model::state::VmState;
use crate::power::ended::{clear_run, record_asked};
use crate::power::error::StopError;
use crate::store::{restart_state, run_record};

/// How a machine is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "`Vm::stop` executes it"]
pub struct StopRequest {
    how: How,
    for_host: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    PowerButton { timeout: Duration },
    Force,
}

impl StopRequest {
    /// Shuts the guest down by its ACPI power button, and waits up to `timeout` for it to power
    /// itself off.
    pub fn power_button(timeout: Duration) -> Self {
        Self { how: How::PowerButton { timeout }, for_host: false }
    }

    /// Cuts the power: the guest is not asked.
    pub fn force() -> Self {
        Self { how: How::Force, for_host: false }
    }

    /// The same because the host goes down: that is how the run has ended then.
    pub(crate) fn for_host(self) -> Self {
        Self { for_host: true, ..self }
    }

    /// What is recorded as asked for.
    fn asked(&self) -> LastExit {
        match self.how {
            _ if self.for_host => LastExit::Host,
            How::PowerButton { .. } => LastExit::Stopped,
            How::Force => LastExit::Forced,
        }
    }
}

/// How long a VMM that is asked to end may take before it is killed.
const TERM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long cloud-hypervisor may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl Vm {
    /// Stops the machine. One that is stopped already is left alone.
    ///
    /// While this waits for the guest, others may change the machine: cutting the power of one
    /// that ignores its button needs no patience.
    ///
    /// # Errors
    ///
    /// [`StopError::StillRunning`] if the guest does not power off in time: it runs on.
    pub fn stop(&self, request: &StopRequest) -> Result<Change, StopError> {
        stop(self, request)
    }
}

pub(crate) fn stop(vm: &Vm, request: &StopRequest) -> Result<Change, StopError> {
    let lock = vm.lock()?;
    let running = vm.vmm()?;
    let _lock = match (&running, &request.how) {
        (None, _) => lock,
        (Some(vmm), How::Force) => {
            cut_power(vm, vmm, request.asked())?;
            lock
        }
        (Some(vmm), How::PowerButton { timeout }) => {
            shut_down(vm, vmm, *timeout, request.asked(), lock)?
        }
    };
    clear_run(vm);
    // Nor is it started again by itself.
    if let Err(error) = restart_state::forget(vm.directory()) {
        tracing::warn!(vm = %vm.name(), %error, "it may be started again");
    }
    Ok(if running.is_some() { Change::Done } else { Change::Unchanged })
}

/// Presses the button, releases the lock while the guest takes its time, and gives a new lock when
/// the VMM has ended.
fn shut_down(
    vm: &Vm,
    vmm: &Vmm,
    timeout: Duration,
    asked: LastExit,
    lock: Lock,
) -> Result<Lock, StopError> {
    match vm.state() {
        VmState::Running => {}
        // There is no guest that could be asked.
        VmState::Created => {
            cut_power(vm, vmm, asked)?;
            return Ok(lock);
        }
        state => return Err(vm.wrong_state("stop", state).into()),
    }
    record_asked(vm, Some(asked));
    if let Err(error) = press(vm, vmm) {
        record_asked(vm, None);
        return Err(error.into());
    }
    drop(lock);
    let ended = vmm.wait_exit(timeout);
    let lock = vm.lock().inspect_err(|_| {
        if ended {
            tracing::warn!(vm = %vm.name(), "it has ended; its ports are left behind");
        }
    })?;
    if ended {
        return Ok(lock);
    }
    record_asked(vm, None);
    Err(StopError::StillRunning { vm: vm.name().clone(), timeout })
}

/// Presses the button. A guest that is off at once may take the answer with it.
fn press(vm: &Vm, vmm: &Vmm) -> Result<(), MachineError> {
    let press = || {
        let client = vm.client(ANSWER_TIMEOUT, "stop")?;
        client.power_button().map_err(|source| vm.vmm_error("stop", source))
    };
    match press() {
        Err(error) if broke(&error) => match press() {
            // Pressed twice, it is still pressed.
            Ok(()) => Ok(()),
            Err(_) if vmm.wait_exit(TERM_TIMEOUT) => Ok(()),
            Err(_) => Err(error),
        },
        pressed => pressed,
    }
}

fn cut_power(vm: &Vm, vmm: &Vmm, asked: LastExit) -> Result<(), MachineError> {
    record_asked(vm, Some(asked));
    // Asked to end, it closes its disks in order. One that hangs is not asked twice.
    let ended = vmm.terminate(TERM_TIMEOUT).unwrap_or(false);
    let cut = if ended { Ok(()) } else { vm.kill(vmm) };
    if cut.is_err() {
        record_asked(vm, None);
    }
    cut
}

/// Whether the power of the machine was to be cut, and the process that did it died before it was
/// off. The caller holds its lock, or knows that no process does.
pub(crate) fn is_half_stopped(vm: &Vm) -> bool {
    run_record::read(vm.directory())
        .is_some_and(|run| run.asked == Some(LastExit::Forced) && run.ended.is_none())
}

/// Whether the other end may have gone in the middle of it, or just before.
fn broke(error: &MachineError) -> bool {
    let MachineError::Hypervisor { source, .. } = error else { return false };
    matches!(source, HypervisorError::Broken { .. }) || source.nobody_listens()
}
