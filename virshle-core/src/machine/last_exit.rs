//! How a run ended: deduced from what cloud-hypervisor and the kernel left in writing, and what shows it.

use std::time::Duration;

use virshle_hypervisor::{
    ExitReason, exit_reason_of_machine, guest_panicked, last_events, last_lines, watchdog_resets,
};

use crate::machine::oom;
use crate::machine::vm::Vm;
use crate::model::past_run::PastRun;
use crate::model::run::{LastExit, Phase, Run};
use crate::model::timestamp::Timestamp;
use crate::store::run_record;

/// How many of the guest's last lines are kept.
const SERIAL_LINES: usize = 5;
/// How many of cloud-hypervisor's last lines are kept, of a run that failed.
const LOG_LINES: usize = 5;
/// How many events are kept.
const EVENTS: usize = 4;
/// A line of evidence is cut to this, in characters.
const WIDTH: usize = 200;

/// Deduces the end of the last run from the events and the log that it left behind, when its end was
/// not asked for.
pub(crate) fn deduce(vm: &Vm, run: &Run) -> LastExit {
    if guest_panicked(&vm.events()) {
        return LastExit::Panic;
    }
    match exit_reason_of_machine(&vm.events(), &vm.vmm_log(), &vm.vsock()) {
        ExitReason::GuestPowerOff => LastExit::Guest,
        // It ended before it had written anything, and has not taken the machine down in order.
        ExitReason::Unknown if run.phase == Phase::Started && vm.vsock().exists() => {
            oom_record(run).map_or(LastExit::Crashed, |_| LastExit::Oom)
        }
        ExitReason::Crashed if oom_record(run).is_some() => LastExit::Oom,
        ExitReason::Crashed => LastExit::Crashed,
        // Ended by its API or a signal, by another hand than ours.
        ExitReason::HostShutdown | ExitReason::Unknown => LastExit::Unknown,
    }
}

/// What is known of a run that has ended.
pub(crate) fn past_run(vm: &Vm, run: &Run) -> PastRun {
    let exit = run_record::exit(run, || deduce(vm, run));
    PastRun {
        began: run.began,
        ended: Timestamp::now(),
        seconds: run_record::lasted(run).map(|time| time.as_secs()),
        exit,
        by: ended_by(run, exit),
        evidence: evidence(vm, run, exit),
    }
}

/// Who ended a run that ended like that.
fn ended_by(run: &Run, exit: LastExit) -> Option<String> {
    let by = match exit {
        LastExit::Stopped | LastExit::Forced => return run.asked_by.clone(),
        LastExit::Guest | LastExit::Panic => "guest",
        LastExit::Oom => "kernel",
        LastExit::Host => "host",
        LastExit::Crashed | LastExit::Unknown => return None,
    };
    Some(by.to_owned())
}

/// What shows how the run ended: the kernel's record, the last events, the last lines.
fn evidence(vm: &Vm, run: &Run, exit: LastExit) -> Vec<String> {
    let mut evidence = Vec::new();
    let mut add = |what: &str, line: &str| {
        let line: String = line.chars().filter(|character| !character.is_control()).collect();
        let cut: String = line.chars().take(WIDTH).collect();
        evidence.push(format!("{what}: {cut}"));
    };
    let killed = (exit == LastExit::Oom).then(|| oom_record(run));
    if let Some(record) = killed.flatten() {
        add("kernel", &format!("oom-kill: {record}"));
    }
    for (number, time) in (1..).zip(resets(vm)) {
        add(
            "watchdog",
            &format!("reset the guest, which hung, after {} s ({number})", time.as_secs()),
        );
    }
    let events = last_events(&vm.events()).unwrap_or_default();
    let first = events.len().saturating_sub(EVENTS);
    for event in events.iter().skip(first) {
        add(
            "event",
            &format!("{} {} after {} s", event.source, event.event, event.timestamp.as_secs()),
        );
    }
    if matches!(exit, LastExit::Crashed | LastExit::Unknown | LastExit::Panic) {
        for line in last_lines(&vm.vmm_log(), LOG_LINES) {
            add("cloud-hypervisor", &line);
        }
    }
    for line in last_lines(&vm.serial_log(), SERIAL_LINES) {
        add("serial", &line);
    }
    evidence
}

/// When the guest of the last run, or of the one that goes on, was reset by its watchdog, from the run's
/// beginning.
pub(crate) fn resets(vm: &Vm) -> Vec<Duration> {
    match vm.definition().watchdog {
        true => watchdog_resets(&vm.vmm_log()),
        // Most have none: nothing is read.
        false => Vec::new(),
    }
}

fn oom_record(run: &Run) -> Option<String> {
    let began = Duration::from_millis(run.began_uptime.unwrap_or_default());
    oom::record_of(run.pid?, began)
}
