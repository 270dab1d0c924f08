//! The host goes down: all guests are shut down at once, and those that do not hear lose their power.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fs::deadline::Deadline;
use crate::machine::error::MachineError;
use crate::machine::hold::is_locked;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::selector::Selection;
use crate::model::state::VmState;
use crate::power::error::StopError;
use crate::power::stop::{StopRequest, stop};
use crate::store::restart_state;

/// What became of a machine when the host went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownOutcome {
    /// Its guest shut down.
    ShutDown,
    /// It did not in time, or could not be asked: its power was cut.
    Cut,
    /// It had ended already.
    NotRunning,
}

impl Node {
    /// Shuts down all machines that run, all at once, and waits up to `timeout` for their guests; then
    /// cuts the power of those that are left. One whose start is under way is shut down once it is done,
    /// and one that waits for its restart gets none. `done` is called with the outcome of each, from several
    /// threads at once, and each has a thread of its own: a guest that does not hear delays no other.
    ///
    /// # Errors
    ///
    /// If the machines can't be listed.
    pub fn shutdown(
        &self,
        timeout: Duration,
        done: &(dyn Fn(&Vm, Result<ShutdownOutcome, StopError>) + Sync),
    ) -> Result<(), MachineError> {
        let deadline = Deadline::after(timeout);
        let mut seen = BTreeSet::new();
        loop {
            let vms = self.select(&Selection::all())?;
            let concerned: Vec<&Vm> = vms
                .iter()
                .filter(|vm| !seen.contains(&vm.definition().uuid) && may_run(vm))
                .collect();
            if concerned.is_empty() {
                return Ok(());
            }
            shut_down_all(&concerned, deadline, done);
            // A start that was about to begin when this looked has its machine now.
            seen.extend(concerned.iter().map(|vm| vm.definition().uuid));
        }
    }
}

/// Whether a machine runs, is about to, or will be started again by itself.
fn may_run(vm: &Vm) -> bool {
    vm.state() != VmState::Stopped
        || restart_state::read(vm.directory()).next.is_some()
        // Another process works on it: what comes of that shows once its lock is free.
        || vm.is_being_changed()
}

/// Shuts these machines down, all at once.
fn shut_down_all(
    vms: &[&Vm],
    deadline: Deadline,
    done: &(dyn Fn(&Vm, Result<ShutdownOutcome, StopError>) + Sync),
) {
    std::thread::scope(|scope| {
        let mut rest = Vec::new();
        for vm in vms {
            let work = move || done(vm, shut_down(vm, deadline));
            let spawned = std::thread::Builder::new().spawn_scoped(scope, work);
            // A host that has no thread to give: they get their turn here.
            if spawned.is_err() {
                rest.push(*vm);
            }
        }
        for vm in rest {
            done(vm, shut_down(vm, deadline));
        }
    });
}

fn shut_down(vm: &Vm, deadline: Deadline) -> Result<ShutdownOutcome, StopError> {
    loop {
        match stop(vm, &StopRequest::power_button(deadline.left()).for_host()) {
            Ok(Change::Unchanged) => return Ok(ShutdownOutcome::NotRunning),
            Ok(_) => return Ok(ShutdownOutcome::ShutDown),
            // A start may take longer than its lock is waited for.
            Err(StopError::Machine(error)) if is_locked(&error) && !deadline.is_over() => {}
            Err(error) => {
                tracing::debug!(vm = %vm.name(), %error, "its guest did not shut down");
                break;
            }
        }
    }
    // Also one that is paused, silent, or was being started.
    match stop(vm, &StopRequest::force().for_host())? {
        Change::Unchanged => Ok(ShutdownOutcome::NotRunning),
        _ => Ok(ShutdownOutcome::Cut),
    }
}
