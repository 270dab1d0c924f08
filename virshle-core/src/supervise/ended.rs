//! The end of a machine: what its scope's end has done, once for each run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use crate::fs::trust::distrust;
use crate::hardware::scope::arm_restart;
use crate::machine::hold::hold;
use crate::machine::last_exit;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::restart_state::{NextRestart, RestartState};
use crate::model::run::{LastExit, Phase, RunId};
use crate::model::timestamp::Timestamp;
use crate::power::ended::try_clear_run;
use crate::store::layout::RUN_RECORD;
use crate::store::{restart_state, run_record};
use crate::supervise::error::SuperviseError;
use crate::supervise::policy::{Decision, decide, next};

/// What was found, and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndedOutcome {
    /// The machine was removed.
    Gone,
    /// It runs, or never did.
    NotEnded,
    /// It has ended, and stays off.
    Left {
        /// How it ended.
        exit: LastExit,
    },
    /// It has ended, and will be started again.
    Restarts {
        /// How it ended.
        exit: LastExit,
        /// When.
        at: Timestamp,
        /// Which restart in a row it will be.
        attempt: u32,
    },
    /// It has ended, was to be started again, and will not be.
    HeldBack {
        /// How it ended.
        exit: LastExit,
    },
}

impl Node {
    /// Does what the end of a machine calls for: records how it ended, frees its ports and sockets,
    /// and arranges for its restart if its policy says so. May run any number of times, at any time.
    ///
    /// systemd runs this when the machine's scope has ended.
    ///
    /// # Errors
    ///
    /// If the machine's definition can't be read, or another process holds its lock for two minutes.
    pub fn ended(&self, uuid: Uuid) -> Result<EndedOutcome, SuperviseError> {
        ended(self, uuid)
    }
}

fn ended(node: &Node, uuid: Uuid) -> Result<EndedOutcome, SuperviseError> {
    let Some((vm, _lock)) = hold(node, uuid)? else { return Ok(EndedOutcome::Gone) };
    if vm.vmm()?.is_some() {
        return Ok(EndedOutcome::NotEnded);
    }
    let before = run_record::read(vm.directory());
    let cleared = try_clear_run(&vm);
    // It never ran, or its record can't be read: what it left is cleared all the same.
    let Some(before) = before else {
        return Ok(cleared.map(|()| EndedOutcome::NotEnded)?);
    };
    // A start that was cut short: nothing ran, and nobody waits for a restart.
    let ran = before.phase == Phase::Started;
    let run = run_record::read(vm.directory()).unwrap_or(before);
    let exit = run.ended.unwrap_or(LastExit::Unknown);
    let state = restart_state::read(vm.directory());
    if !ran || state.considered.as_ref() == Some(&run.id()) {
        return Ok(cleared.map(|()| EndedOutcome::Left { exit })?);
    }
    // One that was started by hand begins another row.
    let attempts = if state.started.as_ref() == Some(&run.id()) { state.attempts } else { 0 };
    let (attempts, lasted) =
        with_resets(attempts, run_record::lasted(&run), &last_exit::resets(&vm));
    let decision = decide(vm.definition().restart, exit, lasted, attempts);
    let state = apply(&vm, decision, attempts, Some(run.id()), None)?;
    // What stays behind keeps no machine from its restart, and is an error all the same.
    cleared?;
    Ok(match (decision, state.next) {
        (Decision::Leave, _) => EndedOutcome::Left { exit },
        (_, Some(next)) => EndedOutcome::Restarts { exit, at: next.at, attempt: next.attempt },
        (_, None) => EndedOutcome::HeldBack { exit },
    })
}

/// How many restarts there were in a row, and how long the last of them lasted, given the resets of the
/// guest by its watchdog: each is a failure and a restart, if within the process.
fn with_resets(
    attempts: u32,
    lasted: Option<Duration>,
    resets: &[Duration],
) -> (u32, Option<Duration>) {
    let Some(last) = resets.last() else { return (attempts, lasted) };
    let count = u32::try_from(resets.len()).unwrap_or(u32::MAX);
    (attempts.saturating_add(count), lasted.map(|lasted| lasted.saturating_sub(*last)))
}

/// Arranges for what was decided, and records it. `failure` is why the restart before failed.
pub(crate) fn apply(
    vm: &Vm,
    decision: Decision,
    attempts: u32,
    considered: Option<RunId>,
    failure: Option<String>,
) -> Result<RestartState, SuperviseError> {
    let mut state = RestartState { considered, attempts, ..RestartState::default() };
    match decision {
        Decision::Leave => {}
        Decision::GiveUp { attempts } => {
            let last = failure.map(|failure| format!("; the last one failed: {failure}"));
            let last = last.unwrap_or_default();
            state.held_back = Some(format!("{attempts} restarts in a row were no use{last}"));
        }
        Decision::Restart { attempt, after } => match arm_restart(vm, attempt, after) {
            Ok(()) => {
                let at = Timestamp::after(after);
                let boot_id = run_record::boot_id();
                state.next = Some(NextRestart { at, boot_id, attempt });
                state.held_back = failure.map(|failure| format!("the last one failed: {failure}"));
            }
            Err(error) => state.held_back = Some(error.to_string()),
        },
    }
    restart_state::write(&state, vm.directory())?;
    Ok(state)
}

/// What follows a restart that failed.
pub(crate) fn after_failure(attempts: u32) -> Decision {
    next(attempts)
}

/// The configuration that the machine in `directory` was started with, for the process that looks after
/// its end.
pub fn recorded_config(directory: &Path) -> Option<PathBuf> {
    // What it names is trusted as much as a program that is run.
    let metadata = directory.join(RUN_RECORD).symlink_metadata().ok()?;
    match distrust(&metadata) {
        None => run_record::read(directory)?.config,
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_by_the_watchdog_is_a_failure_of_the_row() {
        let seconds = Duration::from_secs;
        assert_eq!(with_resets(2, Some(seconds(90)), &[]), (2, Some(seconds(90))));
        let resets = [seconds(20), seconds(70)];
        assert_eq!(with_resets(2, Some(seconds(90)), &resets), (4, Some(seconds(20))));
        // The clocks of two processes.
        assert_eq!(with_resets(0, Some(seconds(69)), &resets), (2, Some(Duration::ZERO)));
        assert_eq!(with_resets(u32::MAX, None, &resets), (u32::MAX, None));
    }
}
