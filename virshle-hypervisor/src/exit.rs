//! Deduces how a run ended from the events and the log.

use std::fmt;
use std::path::Path;

use crate::event::read_events;
use crate::log::read_end;

/// How a run of cloud-hypervisor ended. Its exit status doesn't show it: it is 0 in nearly all cases.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new reason, so adding one
/// is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// The guest powered itself off, of itself or because the power button was pressed.
    GuestPowerOff,
    /// The host ended it: by the API, or by a signal that it handles.
    HostShutdown,
    /// It broke, or was killed.
    Crashed,
    /// The files don't show it.
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

/// Returns how a run ended, once the process is gone, from its event file and its log.
///
/// The events distinguish an orderly end from others, and the log, at
/// [`Verbosity::Info`](crate::Verbosity::Info) or more, whose wish it was. A process killed with
/// SIGKILL, by us, by the kernel for want of memory, or by a power cut, reads as
/// [`Crashed`](ExitReason::Crashed): the caller who did it knows better.
pub fn exit_reason(event_file: &Path, log_file: &Path) -> ExitReason {
    let log = read_end(log_file).unwrap_or_default();
    let events = match read_events(event_file) {
        Ok(events) => events,
        Err(error) => {
            tracing::debug!(%error, "cannot read the events of the last run");
            Vec::new()
        }
    };
    if events.is_empty() && log.trim().is_empty() {
        return ExitReason::Unknown;
    }
    let last = |words: &str| log.rfind(words);
    // The last events may be missing from their file: the process ends without waiting for the
    // thread that writes them. The log has them too.
    let orderly = events.iter().any(|event| event.is("vmm", "shutdown"))
        || last("source = vmm event = shutdown").is_some();
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

/// Returns whether the log of the last boot reports a thread that failed, which it may do before
/// the boot is done.
fn failed(log: &str) -> bool {
    let boots = ["event = booting", "event = rebooting"];
    let boot = boots.iter().filter_map(|words| log.rfind(words)).max().unwrap_or_default();
    ["VCPU generated error", "thread panicked"].iter().any(|words| log[boot..].contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(events: &[&str], log: &str) -> ExitReason {
        let directory = tempfile::tempdir().unwrap();
        let (event_file, log_file) =
            (directory.path().join("events"), directory.path().join("log"));
        let event = |words: &&str| {
            let (source, event) = words.split_once(' ').unwrap();
            format!(
                r#"{{"timestamp":{{"secs":0,"nanos":0}},"source":"{source}","event":"{event}"}}"#
            )
        };
        std::fs::write(&event_file, events.iter().map(event).collect::<String>()).unwrap();
        std::fs::write(&log_file, log).unwrap();
        exit_reason(&event_file, &log_file)
    }

    const ORDERLY: [&str; 3] = ["vm booted", "vm shutdown", "vmm shutdown"];

    #[test]
    fn the_log_shows_who_asked_for_an_orderly_end() {
        let guest = "INFO:x -- VM guest exit event\n";
        assert_eq!(reason(&ORDERLY, guest), ExitReason::GuestPowerOff);
        assert_eq!(reason(&ORDERLY, "INFO:x -- VM exit event\n"), ExitReason::HostShutdown);
        assert_eq!(reason(&ORDERLY, "API request event: VmmShutdown"), ExitReason::HostShutdown);
        assert_eq!(reason(&ORDERLY, ""), ExitReason::Unknown);
        // The event file may lack the last events.
        let log = format!("{guest}INFO:x -- Event: source = vmm event = shutdown \n");
        assert_eq!(reason(&["vm booted"], &log), ExitReason::GuestPowerOff);
    }

    #[test]
    fn a_thread_that_fails_is_a_crash_though_the_end_is_orderly() {
        let failure = "event = booting\nERROR:x -- VCPU generated error: x\nevent = booted\n\
             VM exit event\n";
        assert_eq!(reason(&ORDERLY, failure), ExitReason::Crashed);
        let before = "VCPU generated error\nevent = rebooting\nVM exit event\n";
        assert_eq!(reason(&ORDERLY, before), ExitReason::HostShutdown);
    }

    #[test]
    fn events_that_stop_short_are_a_crash() {
        assert_eq!(reason(&["vm booted"], ""), ExitReason::Crashed);
        assert_eq!(reason(&[], "INFO:x -- v53.0 starting"), ExitReason::Crashed);
        assert_eq!(reason(&[], ""), ExitReason::Unknown);
        let nowhere = Path::new("/nowhere/file");
        assert_eq!(exit_reason(nowhere, nowhere), ExitReason::Unknown);
    }
}
