//! Whole commands of `v`, each measured beside the floor that it is held against, in turn and in
//! the same run; and what others take for the same. `scripts/bench` builds and runs this;
//! `docs/performance.md` says what it showed.
//!
//! Everything is private: roots, filesystems on loop devices, an Open vSwitch in a network
//! namespace, a libvirt.

mod floor;
mod home;
mod options;
mod parts;
mod program;
mod report;
mod sample;
#[expect(unsafe_code, reason = "getrusage(2) has no safe wrapper")]
mod sys;

use std::process::ExitCode;
use std::time::Instant;

use options::Options;
use report::Report;

fn main() -> ExitCode {
    let report = Report::default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((program::PEAK_MEMORY, args)) =
        args.split_first().map(|(first, args)| (first.as_str(), args))
    {
        return match program::measure_peak_memory(args) {
            Ok(kib) => {
                report.print(&kib.to_string());
                ExitCode::SUCCESS
            }
            Err(_) => ExitCode::FAILURE,
        };
    }
    match Options::from_args(args.into_iter()) {
        Ok(options) if options.help => {
            report.print(options::HELP);
            ExitCode::SUCCESS
        }
        Ok(options) => run(&options, &report),
        Err(failure) => {
            report.print(&failure.to_string());
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options, report: &Report) -> ExitCode {
    let started = Instant::now();
    parts::tell_host(options, report);
    let mut broken = false;
    for (name, part) in parts::ALL {
        if !options.wants(name) {
            continue;
        }
        report.part(name);
        if let Err(failure) = part(options, report) {
            broken = true;
            report.print(&format!("FAILED {name}: {failure}"));
        }
    }
    let all_met = report.close(started.elapsed().as_secs());
    if broken || (options.strict && !all_met) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
