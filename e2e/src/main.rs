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

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use failure::Failure;
use lab::Lab;
use options::{Options, Wish};
use report::{Report, Verdict};
use scenario::{Scenario, Stage};

fn main() -> ExitCode {
    let report = Report::default();
    let ended = Options::from_words(std::env::args().skip(1)).and_then(|options| {
        match options.wish {
            Wish::Help => report.text(options::HELP),
            Wish::List => scenarios::ALL.iter().for_each(|scenario| report.text(scenario.name)),
            Wish::Shell => return shell(&options, &report),
            Wish::Run => return Ok(run(&options, &report)),
        }
        Ok(true)
    });
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
fn run(options: &Options, report: &Report) -> bool {
    let skip_all = |verdict, reason: String| {
        for scenario in &options.scenarios {
            report.scenario(scenario.name, verdict, std::time::Duration::ZERO, &[]);
        }
        report.line(&reason);
        report.close()
    };
    let missing = requirement::missing(options);
    if !missing.is_empty() {
        return skip_all(Verdict::Skipped, format!("SKIPPED, for want of: {}", missing.join(", ")));
    }
    let lab = match Lab::open(&options.cache, &options.programs, report) {
        Ok(lab) => lab,
        Err(failure) => return skip_all(Verdict::Failed, format!("no lab: {failure}")),
    };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some(scenario) =
                    options.scenarios.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    play(&lab, scenario, options, report);
                }
            });
        }
    });
    lab.close();
    report.close()
}

/// Plays one scenario and reports it.
fn play(lab: &Lab, scenario: &Scenario, options: &Options, report: &Report) {
    let start = Instant::now();
    let logs = options.logs.join(scenario.name);
    drop(std::fs::remove_dir_all(&logs)); // Of an earlier run, or not there.
    let (verdict, notes) = match Stage::new(lab, scenario.name, logs) {
        Ok(stage) => {
            let result = (scenario.run)(&stage);
            let mut notes = stage.into_notes();
            match result {
                Ok(()) => (Verdict::Passed, notes),
                Err(failure) => {
                    notes.insert(0, failure.to_string());
                    (Verdict::Failed, notes)
                }
            }
        }
        Err(failure) => (Verdict::Failed, vec![failure.to_string()]),
    };
    report.scenario(scenario.name, verdict, start.elapsed(), &notes);
}

/// Gives a person a shell on a nested host.
fn shell(options: &Options, report: &Report) -> Result<bool, Failure> {
    let missing = requirement::missing(options);
    failure::ensure!(missing.is_empty(), "not here: {}", missing.join(", "));
    let lab = Lab::open(&options.cache, &options.programs, report)?;
    {
        let folder = lab.disks("shell")?;
        lab.restore(&folder)?.interactive()?;
    }
    lab.close();
    Ok(true)
}
