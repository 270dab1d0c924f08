//! Stopping a machine, and the other changes to a running one.

use std::time::Duration;

use virshle_hypervisor::{HypervisorError, Vmm};

use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::state::VmState;
use crate::power::start::StartOptions;
use crate::store::run_record::{LastExit, Phase, Run};

/// How a machine is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "`Vm::stop` does it"]
pub struct StopRequest {
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    PowerButton { timeout: Duration },
    Force,
}

impl StopRequest {
    /// Presses the power button, and waits up to `timeout` for the guest to power itself off.
    pub fn power_button(timeout: Duration) -> Self {
        Self { how: How::PowerButton { timeout } }
    }

    /// Cuts the power: the guest is not asked.
    pub fn force() -> Self {
        Self { how: How::Force }
    }
}

/// How long a VMM that is told to end may take before it is killed.
const TERM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a killed VMM may take to end: it has memory to give back.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// [`CoreError::StillRunning`] if the guest does not power off in time: it runs on.
    pub fn stop(&self, request: &StopRequest) -> Result<Change, CoreError> {
        let lock = self.lock()?;
        let Some(vmm) = self.vmm()? else {
            self.settle();
            return Ok(Change::Unchanged);
        };
        match request.how {
            How::Force => self.cut_power(&vmm)?,
            How::PowerButton { timeout } => {
                let _lock = self.press_power_button(&vmm, timeout, lock)?;
                self.settle();
                return Ok(Change::Done);
            }
        }
        self.settle();
        Ok(Change::Done)
    }

    /// Stops the machine and starts it again.
    ///
    /// # Errors
    ///
    /// As [`Vm::stop`] and [`Vm::start`].
    pub fn restart(
        &self,
        request: &StopRequest,
        options: &StartOptions,
    ) -> Result<Change, CoreError> {
        self.stop(request)?;
        self.start(options)
    }

    /// Lets the guest's vCPUs stand still.
    ///
    /// # Errors
    ///
    /// [`CoreError::WrongState`] unless the guest runs, or stands still already.
    pub fn pause(&self) -> Result<Change, CoreError> {
        self.switch_state("pause", VmState::Running, VmState::Paused)
    }

    /// Lets the guest's vCPUs go on.
    ///
    /// # Errors
    ///
    /// [`CoreError::WrongState`] unless the guest stands still, or runs already.
    pub fn resume(&self) -> Result<Change, CoreError> {
        self.switch_state("resume", VmState::Paused, VmState::Running)
    }

    fn switch_state(
        &self,
        verb: &'static str,
        from: VmState,
        to: VmState,
    ) -> Result<Change, CoreError> {
        let _lock = self.lock()?;
        let state = self.state();
        if state == to {
            return Ok(Change::Unchanged);
        }
        if state != from {
            return Err(CoreError::WrongState { vm: self.name().clone(), verb, state });
        }
        let client = self.client(ANSWER_TIMEOUT, verb)?;
        let answer = if to == VmState::Paused { client.pause() } else { client.resume() };
        answer.map_err(|source| self.hypervisor_error(verb, source))?;
        Ok(Change::Done)
    }

    /// Presses the button, lets go of the lock while the guest takes its time, and gives a new
    /// lock when the VMM has ended.
    fn press_power_button(
        &self,
        vmm: &Vmm,
        timeout: Duration,
        lock: Lock,
    ) -> Result<Lock, CoreError> {
        let state = self.state();
        match state {
            VmState::Running => {}
            // There is no guest that could be asked.
            VmState::Created => {
                self.cut_power(vmm)?;
                return Ok(lock);
            }
            _ => {
                return Err(CoreError::WrongState { vm: self.name().clone(), verb: "stop", state });
            }
        }
        self.note_asked(Some(LastExit::Stopped));
        if let Err(error) = self.press(vmm) {
            self.note_asked(None);
            return Err(error);
        }
        drop(lock);
        let ended = vmm.wait_exit(timeout);
        let lock = self.lock().inspect_err(|_| {
            if ended {
                tracing::warn!(vm = %self.name(), "it has ended; its ports are left behind");
            }
        })?;
        if ended {
            return Ok(lock);
        }
        self.note_asked(None);
        Err(CoreError::StillRunning { vm: self.name().clone(), timeout })
    }

    /// Presses the button. A guest that is off at once may take the answer with it.
    fn press(&self, vmm: &Vmm) -> Result<(), CoreError> {
        let press = || {
            let client = self.client(ANSWER_TIMEOUT, "stop")?;
            client.power_button().map_err(|source| self.hypervisor_error("stop", source))
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

    fn cut_power(&self, vmm: &Vmm) -> Result<(), CoreError> {
        self.note_asked(Some(LastExit::Forced));
        // Told to end, it closes its disks in order. One that hangs is not asked twice.
        let ended = vmm.terminate(TERM_TIMEOUT).unwrap_or(false);
        let cut = if ended { Ok(()) } else { self.kill(vmm) };
        if cut.is_err() {
            self.note_asked(None);
        }
        cut
    }

    /// Whether its power was to be cut, and whoever did it died before it was off. Whoever asks
    /// holds its lock, or knows that nobody does.
    pub(crate) fn is_half_stopped(&self) -> bool {
        Run::read(self.folder())
            .is_some_and(|run| run.asked == Some(LastExit::Forced) && run.ended.is_none())
    }

    /// Kills the VMM and waits until it has ended.
    pub(crate) fn kill(&self, vmm: &Vmm) -> Result<(), CoreError> {
        vmm.kill().map_err(|source| self.hypervisor_error("kill the VMM of", source))?;
        if vmm.wait_exit(KILL_TIMEOUT) {
            return Ok(());
        }
        Err(CoreError::Unkillable { vm: self.name().clone(), pid: vmm.pid() })
    }

    /// Notes what is asked of the machine, as nothing tells it afterwards. It is only told of if
    /// that fails: a machine on a full filesystem has to be stopped all the same.
    pub(crate) fn note_asked(&self, asked: Option<LastExit>) {
        let mut run = Run::read(self.folder())
            .unwrap_or_else(|| Run { phase: Phase::Started, ..Run::starting() });
        run.asked = asked;
        if let Err(error) = run.write(self.folder()) {
            tracing::warn!(vm = %self.name(), %error, "cannot note that this was asked for");
        }
    }

    /// Clears what a run leaves behind, once its VMM has ended: ports, sockets, and the open
    /// question how it ended.
    ///
    /// What can't be cleared is only told of: the machine is stopped all the same, and its next
    /// start or `v node check --repair` clears it.
    pub(crate) fn settle(&self) {
        if let Some(mut run) = Run::read(self.folder())
            && run.ended.is_none()
        {
            run.ended = Some(run.exit(|| crate::machine::last_exit::witness(self)));
            run.phase = Phase::Started;
            if let Err(error) = run.write(self.folder()) {
                tracing::warn!(vm = %self.name(), %error, "cannot note how the run ended");
            }
        }
        self.unplug();
        self.remove_sockets();
    }
}

/// Whether the other end may have gone in the middle of it, or just before.
fn broke(error: &CoreError) -> bool {
    let CoreError::Hypervisor { source, .. } = error else { return false };
    matches!(source, HypervisorError::Broken { .. }) || source.nobody_listens()
}
