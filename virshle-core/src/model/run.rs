//! One run of a machine: when it began, how far its start got, and how it ended.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::timestamp::Timestamp;

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
    /// The guest's kernel panicked.
    Panic,
    /// The kernel killed it for want of memory.
    Oom,
    /// The host went down, under it or after having shut it down.
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
            Self::Panic => "panic",
            Self::Oom => "oom",
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
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked_by: Option<String>,
    /// When it began, by the clock, which may be set while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<Timestamp>,
    /// The same as the time since the host's boot, in milliseconds, which only grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began_uptime: Option<u64>,
    /// The VMM's process, once the start is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// The configuration that it was started with, unless there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<PathBuf>,
    /// The port of the host's loopback that leads to the guest's ssh server, by a user network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ssh_port: Option<u16>,
    /// The user networks whose NIC is to be plugged in anew, since their passt died.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unplugged: Vec<String>,
}

/// What tells one run of a machine from all others of it: the host's boot, and when on it the run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunId {
    boot_id: String,
    began_uptime: Option<u64>,
}

impl Run {
    /// A run that begins, on the host's boot `boot_id`.
    pub(crate) fn starting(boot_id: String) -> Self {
        Self {
            boot_id,
            phase: Phase::Starting,
            asked: None,
            ended: None,
            asked_by: None,
            began: None,
            began_uptime: None,
            pid: None,
            config: None,
            ssh_port: None,
            unplugged: Vec::new(),
        }
    }

    /// The same run, once its start is done.
    pub(crate) fn started(self) -> Self {
        Self { phase: Phase::Started, ..self }
    }

    /// Which run it is.
    pub(crate) fn id(&self) -> RunId {
        RunId { boot_id: self.boot_id.clone(), began_uptime: self.began_uptime }
    }

    /// How long it has run, on a host whose boot is `boot_id` and that is up for `uptime` now; unknown
    /// after another boot.
    pub(crate) fn lasted(&self, boot_id: &str, uptime: Duration) -> Option<Duration> {
        let began = Duration::from_millis(self.began_uptime?);
        (self.boot_id == boot_id).then(|| uptime.saturating_sub(began))
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
    fn how_long_it_ran_is_no_matter_of_the_clock() {
        let run = Run { began_uptime: Some(5_000), ..Run::starting("this".into()) };
        let up = Duration::from_secs(65);
        assert_eq!(run.lasted("this", up), Some(Duration::from_secs(60)));
        assert_eq!(run.lasted("another", up), None);
        assert_eq!(run.lasted("this", Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(Run { began_uptime: None, ..run }.lasted("this", up), None);
    }

    #[test]
    fn what_an_earlier_version_recorded_is_read() {
        let text = r#"{"boot_id":"b","phase":"started","asked":null,"ended":"guest"}"#;
        let run: Run = serde_json::from_str(text).unwrap();
        assert_eq!(
            run,
            Run { ended: Some(LastExit::Guest), ..Run::starting("b".into()).started() }
        );
    }

    #[test]
    fn what_was_asked_for_decides_before_what_is_deduced() {
        let mut run = Run::starting("this".into());
        assert_eq!(run.exit("this", || LastExit::Guest), LastExit::Guest);
        assert_eq!(run.exit("another", || LastExit::Guest), LastExit::Host);
        run.asked = Some(LastExit::Stopped);
        assert_eq!(run.exit("another", || LastExit::Guest), LastExit::Stopped);
    }
}
