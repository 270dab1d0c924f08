//! The start of one machine, by itself or among others.

use std::sync::Arc;

use virshle_hypervisor::{Cage, VmConfig};
use virshle_net::PortRequest;

use crate::fs::lock::Lock;
use crate::hardware::error::HardwareError;
use crate::hardware::net::attach::Network;
use crate::hardware::net::disconnect::disconnect;
use crate::hardware::net::reconnect::reconnect;
use crate::hardware::net::shared_ports::SharedPorts;
use crate::hardware::net::user;
use crate::hardware::{passt_scope, scope};
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::run::{Phase, Run};
use crate::model::state::VmState;
use crate::power::ended::record_end;
use crate::power::error::StartError;
use crate::power::start::StartOptions;
use crate::power::start::boot::launch;
use crate::power::start::preflight::preflight;
use crate::power::start::undo::undo;
use crate::store::run_record;

/// A machine that is locked and checked, and has the devices of its interfaces.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    network: Network<'a>,
    config: VmConfig,
    cage: Cage,
    previous: Option<Run>,
    // The last to be dropped.
    _lock: Lock,
}

impl<'a> Ready<'a> {
    /// Takes the steps before a start, for a machine whose ports are asked for together with those
    /// of others; nothing if it is not simply stopped, or another process works on it. To wait for
    /// that here, with others in hand, could be to wait for a process that waits for those.
    pub(super) fn among(vm: &'a Vm, shared: &Arc<SharedPorts>) -> Result<Option<Self>, StartError> {
        let Some(lock) = vm.lock_if_free()? else { return Ok(None) };
        if vm.vmm()?.is_some() {
            return Ok(None);
        }
        let previous = run_record::read(vm.directory());
        let (config, cage) = preflight(vm)?;
        let network = Network::prepare_among(vm, shared)?;
        Ok(Some(Self { _lock: lock, previous, config, cage, network }))
    }

    /// What is asked of the ports of the machine's taps.
    pub(super) fn tap_requests(&self) -> Result<Vec<PortRequest>, HardwareError> {
        self.network.tap_requests()
    }

    /// Starts it, or leaves everything as it was.
    pub(super) fn start(mut self, options: &StartOptions) -> Result<Change, StartError> {
        let vm = self.network.vm();
        // Its logs are the next run's soon, and its sockets go.
        record_end(vm);
        user::end(vm);
        vm.remove_sockets();
        self.previous = run_record::read(vm.directory());
        let last_port = self.previous.as_ref().and_then(|run| run.ssh_port);
        let config = vm.node().config().origin();
        let begun = user::ssh_port(vm, last_port)
            .map_err(StartError::from)
            .and_then(|ssh_port| Ok(run_record::begin(vm.directory(), config, ssh_port)?));
        let run = match begun {
            Ok(run) => run,
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        };
        let started = launch(vm, &run, &self.config, self.cage, &mut self.network, options);
        match started.and_then(|pid| Ok(run_record::end_start(&run, pid, vm.directory())?)) {
            Ok(()) => {
                tracing::info!(vm = %vm.name(), "started");
                Ok(Change::Done)
            }
            Err(error) => {
                self.network.settle();
                undo(vm, self.previous.as_ref());
                Err(error)
            }
        }
    }

    /// Undoes what was done before the start.
    pub(super) fn abandon(self) {
        if self.network.settle() {
            disconnect(self.network.vm());
        }
    }
}

/// Starts a machine by itself.
pub(super) fn start_alone(vm: &Vm, options: &StartOptions) -> Result<Change, StartError> {
    let lock = vm.lock()?;
    let previous = run_record::read(vm.directory());
    if let Some(vmm) = vm.vmm()? {
        let state = vm.state();
        let finished = previous.as_ref().is_some_and(|run| run.phase == Phase::Started);
        match state {
            VmState::Running if finished => {
                scope::adopt(vm, vmm.pid());
                passt_scope::adopt(vm, vmm.pid(), user::served(vm));
                return reconnected(vm, options);
            }
            // The process that started it died when all but this record was done. The guest may
            // have run for days since.
            VmState::Running => {
                reconnect(vm, options.answer_timeout)?;
                let run = previous.unwrap_or_else(|| Run::starting(run_record::boot_id()));
                let run = Run { pid: Some(vmm.pid()), ..run.started() };
                run_record::write(&run, vm.directory())?;
                scope::adopt(vm, vmm.pid());
                passt_scope::adopt(vm, vmm.pid(), user::served(vm));
                return Ok(Change::Done);
            }
            VmState::Paused => return Err(vm.wrong_state("start", state).into()),
            VmState::Unresponsive if finished => {
                return Err(vm.wrong_state("start", state).into());
            }
            // The process that started it died over it: the lock is ours.
            _ => vm.kill(&vmm)?,
        }
    }
    let (config, cage) = preflight(vm)?;
    let network = Network::prepare(vm, options.answer_timeout)?;
    Ready { _lock: lock, previous, config, cage, network }.start(options)
}

/// Gives a machine that runs what is missing of its network: a port that was deleted, or all of it
/// when the switch has a new database.
fn reconnected(vm: &Vm, options: &StartOptions) -> Result<Change, StartError> {
    let missed = reconnect(vm, options.answer_timeout)?;
    if missed.is_empty() {
        return Ok(Change::Unchanged);
    }
    tracing::info!(vm = %vm.name(), missed = missed.join("; "), "reconnected");
    Ok(Change::Reconnected)
}

/// Whether a start of the machine was begun, and the process that did it died before it came to the
/// boot. The caller holds its lock, or knows that no process does.
pub(crate) fn is_half_started(vm: &Vm) -> bool {
    let record = run_record::read(vm.directory());
    record.is_some_and(|run| run.phase == Phase::Starting)
        && matches!(vm.state(), VmState::Created | VmState::Unresponsive)
}
