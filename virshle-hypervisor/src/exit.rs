//! Deduces how a run ended from the events and the log.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::event::{Event, last_events};
use crate::log::read_end;
use crate::log_keeper::await_end;

/// How a run of cloud-hypervisor ended. Its exit status doesn't show it: it is 0 in nearly all cases.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new reason, so adding one
/// is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// The guest powered itself off, of itself or because the power button was pressed; or nothing shows
    /// that it was another's wish.
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
/// The events distinguish an orderly end from others, and the log reports a vCPU or a thread that
/// failed, after which the end is orderly, too. The log of
/// [`Verbosity::Info`](crate::Verbosity::Info) or more shows as well whose wish an orderly end was; a
/// shorter one doesn't, and then the end of a machine that ran reads as
/// [`GuestPowerOff`](ExitReason::GuestPowerOff), and that of a process without one as
/// [`HostShutdown`](ExitReason::HostShutdown). A process killed with SIGKILL, by us, by the kernel for
/// want of memory, or by a power cut, reads as [`Crashed`](ExitReason::Crashed). In each case the
/// caller who did it knows better.
pub fn exit_reason(event_file: &Path, log_file: &Path) -> ExitReason {
    reason(event_file, log_file, None)
}

/// Returns how the run of a machine ended whose vsock has the socket `vsock`, as [`exit_reason`] does.
///
/// The process ends without waiting for the thread that writes its events, and on a busy host the last
/// of them are lost. It has removed that socket by then, if it took the machine down in order; one that was
/// killed leaves it there. Nothing else may have removed it.
pub fn exit_reason_of_machine(event_file: &Path, log_file: &Path, vsock: &Path) -> ExitReason {
    let there = match vsock.symlink_metadata() {
        Ok(_) => Some(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(false),
        Err(_) => None,
    };
    reason(event_file, log_file, there)
}

/// How a run ended, given whether the socket of its machine's vsock is there, if that is known.
fn reason(event_file: &Path, log_file: &Path, vsock: Option<bool>) -> ExitReason {
    await_end(log_file);
    let log = read_end(log_file).unwrap_or_default();
    let events = match last_events(event_file) {
        Ok(events) => events,
        Err(error) => {
            tracing::debug!(%error, "cannot read the events of the last run");
            Vec::new()
        }
    };
    if events.is_empty() && log.trim().is_empty() && vsock != Some(true) {
        return ExitReason::Unknown;
    }
    let last = |words: &str| log.rfind(words);
    let orderly = is_orderly(&events)
        || last("source = vmm event = shutdown").is_some()
        || vsock == Some(false) && events.iter().any(|event| event.is("vm", "booted"));
    // One that was killed early may have had no time for any of its events.
    let has_machine = vsock == Some(true) || events.iter().any(|event| event.source == "vm");
    match (last("VM guest exit event"), last("VM exit event")) {
        // Without a machine nothing but the events could show an orderly end, and they may be lost.
        _ if !orderly && !has_machine && !failed(&events, &log) => ExitReason::Unknown,
        _ if !orderly => ExitReason::Crashed,
        (Some(guest), exit) if exit.is_none_or(|exit| exit < guest) => ExitReason::GuestPowerOff,
        // A vCPU or device that fails asks for the same exit as a signal.
        _ if failed(&events, &log) => ExitReason::Crashed,
        (_, Some(_)) => ExitReason::HostShutdown,
        _ if last("VmmShutdown").is_some() => ExitReason::HostShutdown,
        _ if has_machine => ExitReason::GuestPowerOff,
        _ => ExitReason::HostShutdown,
    }
}

/// Returns whether the guest's kernel has reported a panic since its last boot, by its pvpanic device.
///
/// cloud-hypervisor runs on then; the guest reboots if it is configured to.
pub fn guest_panicked(event_file: &Path) -> bool {
    let events = last_events(event_file).unwrap_or_default();
    let last = events.iter().rev().find(|event| {
        event.is("guest", "panic") || event.is("vm", "booting") || event.is("vm", "rebooting")
    });
    last.is_some_and(|event| event.is("guest", "panic"))
}

/// Returns when the guest was reset by its watchdog, from the start of the process, as far as the end of
/// the log goes back. It hung then, and booted again in the same process.
///
/// cloud-hypervisor has no event for it but `vm rebooting`, which a guest that restarts itself has as
/// well: the log distinguishes them, at any verbosity.
pub fn watchdog_resets(log_file: &Path) -> Vec<Duration> {
    let log = read_end(log_file).unwrap_or_default();
    // As it logs it: what a guest can have logged otherwise has no such beginning.
    let is_reset =
        |line: &&str| line.contains("watchdog.rs") && line.contains("Watchdog triggered");
    log.lines().filter(is_reset).filter_map(timestamp).collect()
}

/// Whether the events lead to the end of the process. The very last of them may be missing: the process
/// ends without waiting for the thread that writes them.
fn is_orderly(events: &[Event]) -> bool {
    let of_life = |event: &&Event| event.source == "vm" || event.source == "vmm";
    events.iter().rfind(of_life).is_some_and(|event| {
        event.is("vmm", "shutdown") || event.is("vm", "shutdown") || event.is("vm", "deleted")
    })
}

/// Returns whether the log reports a thread that failed in the last boot, which it may do before the
/// boot is done.
fn failed(events: &[Event], log: &str) -> bool {
    let is_boot = |event: &&Event| event.is("vm", "booting") || event.is("vm", "rebooting");
    let boot = events.iter().rfind(is_boot).map(|event| event.timestamp).unwrap_or_default();
    let failures = ["VCPU generated error", "thread panicked"];
    log.lines()
        .filter(|line| failures.iter().any(|words| line.contains(words)))
        // A line whose time can't be read may be the one.
        .any(|line| timestamp(line).is_none_or(|time| time >= boot))
}

/// The time of a line of the log, from the start of the process: `cloud-hypervisor:   1.234567s: …`.
fn timestamp(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(": ")?;
    let (seconds, _) = rest.split_once("s: ")?;
    Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events a second apart.
    fn reason(events: &[&str], log: &str) -> ExitReason {
        let directory = tempfile::tempdir().unwrap();
        let (event_file, log_file) =
            (directory.path().join("events"), directory.path().join("log"));
        let event = |(second, words): (usize, &&str)| {
            let (source, event) = words.split_once(' ').unwrap();
            format!(
                r#"{{"timestamp":{{"secs":{second},"nanos":0}},"source":"{source}","event":"{event}"}}"#
            )
        };
        let events: String = events.iter().enumerate().map(event).collect();
        std::fs::write(&event_file, events).unwrap();
        std::fs::write(&log_file, log).unwrap();
        exit_reason(&event_file, &log_file)
    }

    const ORDERLY: [&str; 4] = ["vm booting", "vm booted", "vm shutdown", "vmm shutdown"];

    /// Regression: a guest's power-off on a busy host read as a crash, as the last events were lost.
    #[test]
    fn the_vsocks_socket_shows_an_orderly_end_whose_events_were_lost() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("log"), "").unwrap();
        let of = |events: &str| {
            std::fs::write(at("events"), events).unwrap();
            exit_reason_of_machine(&at("events"), &at("log"), &at("vsock"))
        };
        let event = |name: &str| {
            let time = r#""timestamp":{"secs":1,"nanos":0}"#;
            format!("{{{time},\"source\":\"vm\",\"event\":\"{name}\",\"properties\":null}}\n\n")
        };
        let booted = event("booting") + &event("booted");
        assert_eq!(of(&booted), ExitReason::GuestPowerOff);
        assert_eq!(of(&event("booting")), ExitReason::Crashed);
        std::fs::write(at("vsock"), "").unwrap();
        assert_eq!(of(&booted), ExitReason::Crashed);
        assert_eq!(of(""), ExitReason::Crashed, "killed before any event was written");
        std::fs::remove_file(at("vsock")).unwrap();
        assert_eq!(of(""), ExitReason::Unknown);
        std::fs::write(
            at("log"),
            "cloud-hypervisor: 2.0s: <vcpu0> ERROR:x -- VCPU generated error: y",
        )
        .unwrap();
        assert_eq!(of(&booted), ExitReason::Crashed);
    }

    #[test]
    fn a_verbose_log_shows_who_asked_for_an_orderly_end() {
        let guest = "INFO:x -- VM guest exit event\n";
        assert_eq!(reason(&ORDERLY, guest), ExitReason::GuestPowerOff);
        assert_eq!(reason(&ORDERLY, "INFO:x -- VM exit event\n"), ExitReason::HostShutdown);
        assert_eq!(reason(&ORDERLY, "API request event: VmmShutdown"), ExitReason::HostShutdown);
        // The event file may lack the last events.
        let log = format!("{guest}INFO:x -- Event: source = vmm event = shutdown \n");
        assert_eq!(reason(&["vm booted"], &log), ExitReason::GuestPowerOff);
    }

    #[test]
    fn without_one_an_orderly_end_of_what_ran_is_the_guests() {
        assert_eq!(reason(&ORDERLY, ""), ExitReason::GuestPowerOff);
        assert_eq!(reason(&ORDERLY[..3], "WARN:x"), ExitReason::GuestPowerOff);
        let reset = ["vm booted", "vm shutdown", "virtio-device reset"];
        assert_eq!(reason(&reset, ""), ExitReason::GuestPowerOff);
        assert_eq!(reason(&["vmm starting", "vmm shutdown"], ""), ExitReason::HostShutdown);
    }

    #[test]
    fn a_thread_that_fails_is_a_crash_though_the_end_is_orderly() {
        let line = |second: &str| {
            format!("cloud-hypervisor:   {second}s: <vcpu0> ERROR:x -- VCPU generated error: y\n")
        };
        assert_eq!(reason(&ORDERLY, &line("0.006956")), ExitReason::Crashed);
        assert_eq!(reason(&ORDERLY, "VCPU generated error"), ExitReason::Crashed);
        let again = ["vm booting", "vm booted", "vm rebooting", "vm rebooted", "vm shutdown"];
        assert_eq!(reason(&again, &line("1.500000")), ExitReason::GuestPowerOff);
        assert_eq!(reason(&again, &line("2.500000")), ExitReason::Crashed);
        let verbose = format!("{}VM exit event", line("1.500000"));
        assert_eq!(reason(&again, &verbose), ExitReason::HostShutdown);
    }

    #[test]
    fn a_panic_is_one_until_the_guest_boots_again() {
        let panicked = |events: &[&str]| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("events");
            let event = |words: &&str| {
                let (source, event) = words.split_once(' ').unwrap();
                format!(
                    r#"{{"timestamp":{{"secs":0,"nanos":0}},"source":"{source}","event":"{event}"}}"#
                )
            };
            std::fs::write(&path, events.iter().map(event).collect::<String>()).unwrap();
            guest_panicked(&path)
        };
        assert!(!panicked(&["vm booting", "vm booted"]));
        assert!(panicked(&["vm booting", "vm booted", "guest panic", "vm shutdown"]));
        assert!(!panicked(&["vm booted", "guest panic", "vm rebooting", "vm rebooted"]));
        assert!(!guest_panicked(Path::new("/nowhere/file")));
    }

    #[test]
    fn the_log_shows_each_reset_by_the_watchdog() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let line = |second: &str, words: &str| {
            format!("cloud-hypervisor: {second}s: <__watchdog> ERROR:virtio-devices/src/{words}\n")
        };
        let log = [
            line("  1.5", "watchdog.rs:119 -- Failed to signal used queue"),
            line(" 61.25", "watchdog.rs:159 -- Watchdog triggered: 16 seconds since last ping"),
            line(" 70.0", "net.rs:1 -- Watchdog triggered: 16 seconds since last ping"),
            line("123.0", "watchdog.rs:159 -- Watchdog triggered: 17 seconds since last ping"),
        ];
        std::fs::write(&path, log.concat()).unwrap();
        let expected = [Duration::from_millis(61_250), Duration::from_secs(123)];
        assert_eq!(watchdog_resets(&path), expected);
        assert_eq!(watchdog_resets(Path::new("/nowhere/file")), []);
    }

    #[test]
    fn events_that_stop_short_are_a_crash() {
        assert_eq!(reason(&["vm booted"], ""), ExitReason::Crashed);
        assert_eq!(reason(&["vm shutdown", "vm booting", "vm booted"], ""), ExitReason::Crashed);
        assert_eq!(reason(&[], "ERROR:x -- thread panicked"), ExitReason::Crashed);
        assert_eq!(reason(&[], "INFO:x -- v53.0 starting"), ExitReason::Unknown);
        assert_eq!(reason(&[], ""), ExitReason::Unknown);
        let nowhere = Path::new("/nowhere/file");
        assert_eq!(exit_reason(nowhere, nowhere), ExitReason::Unknown);
    }
}
