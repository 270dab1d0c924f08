//! A run of a machine that has ended: what its history keeps of it.

use serde::{Deserialize, Serialize};

use crate::model::run::LastExit;
use crate::model::timestamp::Timestamp;

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastRun {
    /// When it began; null if an earlier version started it.
    pub began: Option<Timestamp>,
    /// When its end was noticed: within a second where systemd supervises the machine, else when the
    /// machine was next looked at by a command that changes it.
    pub ended: Timestamp,
    /// How long it ran, in seconds; null if that is unknown, as after a power failure.
    pub seconds: Option<u64>,
    /// How it ended.
    pub exit: LastExit,
    /// Who ended it: a user, `guest`, `kernel`, `host`; null if nothing shows it.
    pub by: Option<String>,
    /// What shows it, line by line: events, the kernel's record, the end of the guest's output.
    pub evidence: Vec<String>,
}
