//! One run of a machine: when it began, how far its start got, and how it ended.

use serde::{Deserialize, Serialize};

/// How the last run of a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LastExit {
    /// The guest powered itself off.
    Guest,
    /// Stopped by its power button, as asked.
    Stopped,
    /// Its power was cut, as asked.
    Forced,
    /// Its VMM ended without being asked to.
    Crashed,
    /// The host went down under it.
    Host,
    /// Nothing shows it.
    Unknown,
}

impl LastExit {
    /// The name in JSON and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Stopped => "stopped",
            Self::Forced => "forced",
            Self::Crashed => "crashed",
            Self::Host => "host",
            Self::Unknown => "unknown",
        }
    }
}

/// How far a start got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// A process works on it, or died while doing so.
    Starting,
    /// It was done.
    Started,
}

/// The record of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The host's boot, from `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot_id: String,
    pub(crate) phase: Phase,
    /// What was asked for, before it happened.
    #[serde(default)]
    pub(crate) asked: Option<LastExit>,
    /// How it ended, once that is known for good.
    #[serde(default)]
    pub(crate) ended: Option<LastExit>,
    /// The port of the host's loopback that leads to the guest's ssh server, by a user network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ssh_port: Option<u16>,
}

impl Run {
    /// A run that begins, on the host's boot `boot_id`.
    pub(crate) fn starting(boot_id: String) -> Self {
        Self { boot_id, phase: Phase::Starting, asked: None, ended: None, ssh_port: None }
    }

    /// The same run, once its start is done.
    pub(crate) fn started(self) -> Self {
        Self { phase: Phase::Started, ..self }
    }

    /// How the run ended, given that it did, on a host whose boot is `boot_id` now; `deduce` is
    /// called when the record does not show it.
    pub(crate) fn exit(&self, boot_id: &str, deduce: impl FnOnce() -> LastExit) -> LastExit {
        if let Some(ended) = self.ended.or(self.asked) {
            ended
        } else if self.boot_id != boot_id {
            LastExit::Host
        } else {
            deduce()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_decides_before_what_is_deduced() {
        let mut run = Run::starting("this".into());
        assert_eq!(run.exit("this", || LastExit::Guest), LastExit::Guest);
        assert_eq!(run.exit("another", || LastExit::Guest), LastExit::Host);
        run.asked = Some(LastExit::Stopped);
        assert_eq!(run.exit("another", || LastExit::Guest), LastExit::Stopped);
    }
}
