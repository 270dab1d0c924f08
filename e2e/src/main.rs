//! Real guests, made by the real `v` with the real Open vSwitch and the real cloud-hypervisor, on a
//! nested host that QEMU emulates. `scripts/e2e` builds and runs this.

mod acceleration;
mod cache;
mod failure;
mod host;
mod image;
mod lab;
mod machine;
mod options;
mod program;
mod qemu;
mod qmp;
mod report;
mod requirement;
mod scenario;
mod scenarios;
mod serial;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use failure::Failure;
use lab::Lab;
use options::{Options, Wish};
use report::{Report, Verdict};
use scenario::{Scenario, Stage};

fn main() -> ExitCode {
    let start = Instant::now();
    let report = Report::default();
    let ended = Options::from_args(std::env::args().skip(1)).and_then(|options| {
        match options.wish {
            Wish::Help => report.text(options::HELP),
            Wish::List => {
                let all = scenarios::ALL.iter().chain(scenarios::BY_NAME);
                all.for_each(|scenario| report.text(scenario.name));
            }
            Wish::Shell => return shell(&options, &report),
            Wish::Run => return Ok(run(options, &report, start)),
        }
        Ok(true)
    });
    host::remove_sockets();
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            report.line(&format!("FAILED: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios; whether none failed.
fn run(options: Options, report: &Report, start: Instant) -> bool {
    let missing = requirement::missing(&options);
    if !missing.is_empty() {
        return report.close(&options.scenarios, Verdict::Skipped, &missing.join(", "));
    }
    let options = Arc::new(options);
    let (sender, ended) = mpsc::channel();
    let (of_worker, to) = (Arc::clone(&options), report.clone());
    // In a thread that is left behind when the time is up: QEMU ends with this process.
    std::thread::spawn(move || {
        sender.send(run_all(&of_worker, &to, start)).ok(); // Nothing waits when the time is up.
    });
    let ended = match options.within {
        None => ended.recv().ok(),
        Some(within) => ended.recv_timeout(within.saturating_sub(start.elapsed())).ok(),
    };
    match ended {
        Some(Ok(())) => report.close(&options.scenarios, Verdict::Failed, "it never ended"),
        Some(Err(failure)) if failure.is_missing() => {
            report.close(&options.scenarios, Verdict::Skipped, &failure.to_string())
        }
        Some(Err(failure)) => {
            report.close(&options.scenarios, Verdict::Failed, &format!("no lab: {failure}"))
        }
        None => report.close(&options.scenarios, Verdict::Skipped, "the time was up"),
    }
}

/// Opens the lab and plays every scenario.
fn run_all(options: &Options, report: &Report, start: Instant) -> Result<(), Failure> {
    let lab = Lab::open(&options.cache, &options.programs, report)?;
    report.line(&format!("the lab is open after {:.0} s", start.elapsed().as_secs_f64()));
    let end = options.within.map(|within| start + within);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some(scenario) =
                    options.scenarios.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    play(&lab, scenario, options, report, end);
                }
            });
        }
    });
    lab.close();
    Ok(())
}

/// Plays one scenario, again where it failed and that is wanted, and reports it.
fn play(lab: &Lab, scenario: &Scenario, options: &Options, report: &Report, end: Option<Instant>) {
    let start = Instant::now();
    let mut notes = Vec::new();
    for attempt in 1..=options.tries {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| *left < scenario.takes) {
            let takes = scenario.takes.as_secs();
            notes.push(format!("it takes up to {takes} s, and {} s are left", left.as_secs()));
            let verdict = if attempt == 1 { Verdict::Skipped } else { Verdict::Failed };
            report.scenario(scenario.name, verdict, start.elapsed(), &notes);
            return;
        }
        if attempt > 1 {
            notes.push(format!("FAILED at try {}; try {attempt}:", attempt - 1));
        }
        let logs = options.logs.join(format!("{}-{attempt}", scenario.name));
        let verdict = play_once(lab, scenario, logs, end, &mut notes);
        if verdict != Verdict::Failed || attempt == options.tries {
            report.scenario(scenario.name, verdict, start.elapsed(), &notes);
            return;
        }
    }
}

/// Plays one scenario on a stage of its own.
fn play_once(
    lab: &Lab,
    scenario: &Scenario,
    logs: PathBuf,
    end: Option<Instant>,
    notes: &mut Vec<String>,
) -> Verdict {
    drop(std::fs::remove_dir_all(&logs)); // Of an earlier run, or not there.
    let (result, noted) = match Stage::new(lab, scenario.name, logs, end) {
        Ok(stage) => {
            let result = (scenario.run)(&stage);
            (result, stage.into_notes())
        }
        Err(failure) => (Err(failure), Vec::new()),
    };
    let verdict = match result {
        Ok(()) => Verdict::Passed,
        Err(failure) => {
            notes.push(failure.to_string());
            if failure.is_missing() { Verdict::Skipped } else { Verdict::Failed }
        }
    };
    notes.extend(noted);
    verdict
}

/// Gives a person a shell on a nested host.
fn shell(options: &Options, report: &Report) -> Result<bool, Failure> {
    let missing = requirement::missing(options);
    failure::ensure!(missing.is_empty(), "not here: {}", missing.join(", "));
    let lab = Lab::open(&options.cache, &options.programs, report)?;
    {
        let directory = lab.disks("shell")?;
        lab.restore(&directory)?.interactive()?;
    }
    lab.close();
    Ok(true)
}
