//! Starting a machine again that has ended.

use uuid::Uuid;

use crate::failure::chain;
use crate::machine::hold::hold;
use crate::machine::node::Node;
use crate::model::run::Phase;
use crate::power::error::StartError;
use crate::power::start::{StartOptions, is_half_started, start};
use crate::store::{restart_state, run_record};
use crate::supervise::ended::{after_failure, apply};
use crate::supervise::error::SuperviseError;

/// What became of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartOutcome {
    /// The machine runs.
    Started,
    /// It is not due any more: the machine runs, was stopped by hand, or is no more.
    Void,
}

impl Node {
    /// Starts a machine again, as restart number `attempt` in a row, unless that is void by now: the
    /// machine was started or stopped by hand.
    ///
    /// systemd runs this when the time has come that [`Node::ended`] arranged.
    ///
    /// # Errors
    ///
    /// If it can't be started; then the next restart is arranged for, until there were too many.
    pub fn restart_ended(
        &self,
        uuid: Uuid,
        attempt: u32,
        options: &StartOptions,
    ) -> Result<RestartOutcome, SuperviseError> {
        restart_ended(self, uuid, attempt, options)
    }
}

fn restart_ended(
    node: &Node,
    uuid: Uuid,
    attempt: u32,
    options: &StartOptions,
) -> Result<RestartOutcome, SuperviseError> {
    let vm = {
        let Some((vm, _lock)) = hold(node, uuid)? else { return Ok(RestartOutcome::Void) };
        let state = restart_state::read(vm.directory());
        let boot_id = run_record::boot_id();
        let due = state.next.is_some_and(|next| next.boot_id == boot_id && next.attempt == attempt);
        // A restart that was killed before its guest booted is done again.
        if !due || (vm.vmm()?.is_some() && !is_half_started(&vm)) {
            return Ok(RestartOutcome::Void);
        }
        vm
    };
    // Between the two it may be started by hand: then this finds it running.
    let started = start(&vm, options);
    let Some((vm, _lock)) = hold(node, uuid)? else { return Ok(RestartOutcome::Void) };
    let mut state = restart_state::read(vm.directory());
    // It was stopped by hand meanwhile.
    if state.next.as_ref().is_none_or(|next| next.attempt != attempt) {
        return Ok(RestartOutcome::Void);
    }
    match started {
        Ok(_) => {
            state.started = run_record::read(vm.directory())
                .filter(|run| run.phase == Phase::Started)
                .map(|run| run.id());
            state.next = None;
            state.held_back = None;
            state.attempts = attempt;
            restart_state::write(&state, vm.directory())?;
            Ok(RestartOutcome::Started)
        }
        // Nothing has failed: after the next boot it counts no more.
        Err(error @ StartError::HostGoesDown { .. }) => Err(error.into()),
        Err(error) => {
            let why = chain(&error);
            apply(&vm, after_failure(attempt), attempt, state.considered, Some(why))?;
            Err(error.into())
        }
    }
}
