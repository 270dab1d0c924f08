//! How a run ended.

use std::fmt;
use std::path::Path;

use crate::event::read_events;
use crate::log::read_end;

/// How a run of cloud-hypervisor ended. Its exit status doesn't tell: it is 0 in nearly all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitReason {
    /// The guest powered itself off, of itself or because the power button was pressed.
    GuestPowerOff,
    /// The host ended it: by the API, or by a signal that it could hear.
    HostShutdown,
    /// It broke, or was killed.
    Crashed,
    /// The files don't tell.
    Unknown,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GuestPowerOff => "guest",
            Self::HostShutdown => "host",
            Self::Crashed => "crashed",
            Self::Unknown => "unknown",
        })
    }
}

/// Tells how a run ended, once the process is gone, from its event file and its log.
///
/// The events alone tell an orderly end from others, and the log, at
/// [`Verbosity::Info`](crate::Verbosity::Info) or more, whose wish it was. A process killed with
/// SIGKILL, by us, by the kernel for want of memory, or by a power cut, reads as
/// [`Crashed`](ExitReason::Crashed): whoever did it knows better.
pub fn exit_reason(event_file: &Path, log_file: &Path) -> ExitReason {
    let log = read_end(log_file).unwrap_or_default();
    let events = match read_events(event_file) {
        Ok(events) => events,
        Err(error) => {
            tracing::debug!(%error, "cannot read the events of the last run");
            Vec::new()
        }
    };
    if events.is_empty() {
        return ExitReason::Unknown;
    }
    let orderly = events.iter().any(|event| event.is("vmm", "shutdown"));
    let last = |words: &str| log.rfind(words);
    match (last("VM guest exit event"), last("VM exit event")) {
        _ if !orderly => ExitReason::Crashed,
        (Some(guest), exit) if exit.is_none_or(|exit| exit < guest) => ExitReason::GuestPowerOff,
        // A vCPU or device that fails asks for the same exit as a signal.
        (_, Some(exit)) if failed(&log[..exit]) => ExitReason::Crashed,
        (_, Some(_)) => ExitReason::HostShutdown,
        _ if last("VmmShutdown").is_some() => ExitReason::HostShutdown,
        _ => ExitReason::Unknown,
    }
}

/// Tells whether the log's last words before the exit are those of a vCPU that failed.
fn failed(log: &str) -> bool {
    let lines = log.lines().rev().take(20);
    lines
        .filter(|line| line.contains("ERROR"))
        .any(|line| ["vCPU", "vcpu", "VCPU", "panicked"].iter().any(|word| line.contains(word)))
}
