//! What a machine is doing right now.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What a machine is doing right now, as cloud-hypervisor's API reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VmState {
    /// No VMM runs for it.
    Stopped,
    /// Its VMM is up, the guest was not booted.
    Created,
    /// The guest runs.
    Running,
    /// The guest's vCPUs are paused.
    Paused,
    /// Its VMM is up, and its API has been silent for a second.
    Unresponsive,
}

impl VmState {
    /// Every state, in the order of a machine's life.
    pub const ALL: [Self; 5] =
        [Self::Stopped, Self::Created, Self::Running, Self::Paused, Self::Unresponsive];

    /// The name in tables, in JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Unresponsive => "unresponsive",
        }
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// A name that is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {word:?}: a machine is stopped, created, running, paused or unresponsive")]
pub struct UnknownState {
    /// The name.
    pub word: String,
}

impl FromStr for VmState {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.word().eq_ignore_ascii_case(word))
            .ok_or_else(|| UnknownState { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_parsed_from_its_name() {
        for state in VmState::ALL {
            assert_eq!(state.word().parse(), Ok(state));
        }
        assert!("of".parse::<VmState>().is_err());
    }
}
