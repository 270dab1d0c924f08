//! Where a machine stands with its restarts.

use serde::{Deserialize, Serialize};

use crate::model::run::RunId;
use crate::model::timestamp::Timestamp;

/// After so many restarts in a row, a machine is left stopped.
pub(crate) const MAX_ATTEMPTS: u32 = 10;

/// Where a machine stands with its restarts: what `restart.json` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestartState {
    /// The run whose end was acted upon: no end counts twice.
    #[serde(default)]
    pub(crate) considered: Option<RunId>,
    /// The run that the last restart began: one of another id was begun by hand.
    #[serde(default)]
    pub(crate) started: Option<RunId>,
    /// How many restarts there were in a row, since the machine last ran for long or was started or
    /// stopped by hand.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// When the next one is due.
    #[serde(default)]
    pub(crate) next: Option<NextRestart>,
    /// Why there is none.
    #[serde(default)]
    pub(crate) held_back: Option<String>,
}

/// When a restart is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NextRestart {
    /// By the clock, for people.
    pub(crate) at: Timestamp,
    /// The host's boot on which it was decided: after another one it is void.
    pub(crate) boot_id: String,
    /// Which one in the row it is.
    pub(crate) attempt: u32,
}

/// A machine's restarts, as programs get them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RestartInfo {
    /// `no`, `on-failure` or `always`.
    pub policy: &'static str,
    /// How many restarts there were in a row.
    pub attempts: u32,
    /// After how many the machine is left stopped.
    pub max_attempts: u32,
    /// How often its watchdog reset the guest in the last run, or in the one that goes on: each counts as
    /// a restart.
    pub watchdog_resets: usize,
    /// When the next one is due; null if none is.
    pub next: Option<Timestamp>,
    /// Why there is none, if the machine was to be restarted.
    pub held_back: Option<String>,
}
