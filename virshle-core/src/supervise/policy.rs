//! What follows from the end of a run: pure, so that every case can be seen.

use std::time::Duration;

use virshle_template::RestartPolicy;

use crate::model::restart_state::MAX_ATTEMPTS;
use crate::model::run::LastExit;

/// The wait before the first restart of a row. It doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A run that lasted so long ends the row: what it ended of is another matter.
const STABLE: Duration = Duration::from_secs(600);

/// What is to be done about a machine that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing: it was asked to end, or its policy leaves it off.
    Leave,
    /// Start it again, after a wait. It is the restart of that number in the row.
    Restart { attempt: u32, after: Duration },
    /// Nothing, after too many restarts in a row.
    GiveUp { attempts: u32 },
}

/// Decides about a run that ended as `exit` and `lasted` so long, after `attempts` restarts in a row.
pub(crate) fn decide(
    policy: RestartPolicy,
    exit: LastExit,
    lasted: Option<Duration>,
    attempts: u32,
) -> Decision {
    if !wants_restart(policy, exit) {
        return Decision::Leave;
    }
    let stable = lasted.is_some_and(|time| time >= STABLE);
    next(if stable { 0 } else { attempts })
}

/// Decides about a restart that failed, the last of `attempts` in a row.
pub(crate) fn next(attempts: u32) -> Decision {
    if attempts >= MAX_ATTEMPTS {
        return Decision::GiveUp { attempts };
    }
    let factor = 2_u32.checked_pow(attempts).unwrap_or(u32::MAX);
    let after = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
    Decision::Restart { attempt: attempts.saturating_add(1), after }
}

fn wants_restart(policy: RestartPolicy, exit: LastExit) -> bool {
    let failed = match exit {
        // It was asked for, or the host goes down: another boot is another matter (autostart).
        LastExit::Stopped | LastExit::Forced | LastExit::Host => return false,
        LastExit::Crashed | LastExit::Panic | LastExit::Oom => true,
        // Unknown: a signal by another hand than ours, after which cloud-hypervisor ended in order.
        LastExit::Guest | LastExit::Unknown => false,
    };
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => failed,
        // And what a later version may know.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LastExit; 8] = [
        LastExit::Guest,
        LastExit::Stopped,
        LastExit::Forced,
        LastExit::Crashed,
        LastExit::Panic,
        LastExit::Oom,
        LastExit::Host,
        LastExit::Unknown,
    ];

    #[test]
    fn each_policy_restarts_after_its_ends_and_no_other() {
        use LastExit::{Crashed, Guest, Oom, Panic, Unknown};
        for (policy, restarted) in [
            (RestartPolicy::No, &[][..]),
            (RestartPolicy::OnFailure, &[Crashed, Panic, Oom]),
            (RestartPolicy::Always, &[Guest, Crashed, Panic, Oom, Unknown]),
        ] {
            for exit in ALL {
                let restarts = decide(policy, exit, None, 0) != Decision::Leave;
                assert_eq!(restarts, restarted.contains(&exit), "{policy} after {exit:?}");
            }
        }
    }

    #[test]
    fn restarts_wait_longer_each_time_and_end() {
        let mut waits = Vec::new();
        let mut attempts = 0;
        while let Decision::Restart { attempt, after } = next(attempts) {
            assert_eq!(attempt, attempts + 1);
            waits.push(after.as_secs());
            attempts = attempt;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(next(attempts), Decision::GiveUp { attempts: 10 });
        assert_eq!(next(u32::MAX), Decision::GiveUp { attempts: u32::MAX });
    }

    #[test]
    fn a_run_that_lasted_ends_the_row() {
        let decide = |seconds| {
            let lasted = Some(Duration::from_secs(seconds));
            decide(RestartPolicy::OnFailure, LastExit::Crashed, lasted, 9)
        };
        assert_eq!(decide(599), Decision::Restart { attempt: 10, after: LONGEST_WAIT });
        assert_eq!(decide(600), Decision::Restart { attempt: 1, after: FIRST_WAIT });
    }
}
