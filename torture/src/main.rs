//! Faults, kills and races, tried on the real `v` with a real Open vSwitch and real
//! cloud-hypervisor processes, all of them private. `scripts/torture` builds and runs this;
//! `docs/reliability.md` says what it shows.
//!
//! It steps through the system calls of x86_64; on another architecture there is nothing here.
#![cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "steps through x86_64"))]

mod attempt;
mod audit;
mod board;
mod call;
mod dice;
mod home;
mod impostor;
mod lane;
mod machine;
mod options;
mod processes;
mod program;
mod race;
mod report;
mod scenario;
mod stepper;
#[expect(unsafe_code, reason = "ptrace(2) and inherited descriptors have no safe wrapper")]
mod sys;
mod trial;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use virshle_testkit::{Part, has};

use attempt::{Attempt, Mode};
use board::{Board, Done, Job};
use call::{Call, Weight};
use dice::Dice;
use options::Options;
use report::Report;
use scenario::Scenario;

fn main() -> ExitCode {
    if impostor::is_one() {
        return impostor::run().map_or(ExitCode::from(2), |()| ExitCode::SUCCESS);
    }
    let report = Report::default();
    match Options::from_args(std::env::args().skip(1)) {
        Ok(options) if options.help => {
            report.print(options::HELP);
            ExitCode::SUCCESS
        }
        Ok(options) => run(&options),
        Err(failure) => {
            report.print(&failure.to_string());
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let started = Instant::now();
    let mut report = Report::new(options);
    let parts = [
        (Part::Root, "root"),
        (Part::Ovs, "Open vSwitch"),
        (Part::Ch, "cloud-hypervisor"),
        (Part::Kvm, "/dev/kvm"),
        (Part::Reflink, "XFS on a loop device"),
    ];
    let missing: Vec<&str> =
        parts.into_iter().filter(|(part, _)| !has(*part)).map(|(_, name)| name).collect();
    if !missing.is_empty() {
        report.print(&format!("SKIPPED, for want of: {}", missing.join(", ")));
        return ExitCode::SUCCESS;
    }
    if !cfg!(target_arch = "x86_64") {
        report.print("SKIPPED: steps through the system calls of x86_64 only");
        return ExitCode::SUCCESS;
    }
    let dpdk = has(Part::Dpdk);
    if !dpdk {
        report.print("no Open vSwitch with DPDK: vhost-user is left out");
    }
    let passt = has(Part::Passt);
    if !passt {
        report.print("no passt that knows vhost-user: user networks are left out");
    }
    let minutes = options.minutes.unwrap_or(if options.short { 1.0 } else { 23.0 });
    let plan =
        Plan { options, dpdk, passt, started, limit: Duration::from_secs_f64(minutes * 60.0) };

    let board = Board::default();
    std::thread::scope(|scope| {
        for lane in 0..options.lanes.max(1) {
            let (board, programs) = (&board, &options.programs);
            scope.spawn(move || lane::run(board, programs, dpdk && lane == 0));
        }
        board.wait_for_lanes(options.lanes.max(1));
        plan.work(&board, &mut report);
        board.close();
    });
    board.work([], None, |done| {
        if let Done::Broken(failure) = done {
            report.broken("a lane", &failure);
        }
    });
    if report.close(started.elapsed()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How often each race is run, if there is time.
const ROUNDS: usize = 25;

/// What is to be tried, and until when.
struct Plan<'a> {
    options: &'a Options,
    dpdk: bool,
    passt: bool,
    started: Instant,
    limit: Duration,
}

impl Plan<'_> {
    fn work(&self, board: &Board, report: &mut Report) {
        let surveys = self.survey(board, report);
        if self.options.calls {
            for (name, calls) in &surveys {
                list(report, name, calls);
            }
            return;
        }
        // Races and trials have the last part of the time.
        let share = if self.options.only.is_empty() { 0.75 } else { 1.0 };
        let until = self.started + self.limit.mul_f64(share);
        let attempts = self.attempts(&surveys, report);
        let (point, all) = (self.options.point.is_some(), self.options.tolerated);
        board.work(attempts.into_iter().map(Job::Attempt), Some(until), |done| match done {
            Done::Attempt(record) => {
                let tolerated = matches!(record.result, Ok(attempt::Verdict::Tolerated));
                report.attempt(&record, point || (all && tolerated));
            }
            other => unexpected(other, report),
        });
        let until = self.started + self.limit;
        let wants = |kind, name| self.options.wants(kind) || self.options.wants(name);
        if self.options.point.is_none() {
            let fits = |trial: &&trial::Trial| {
                wants("parts", trial.name)
                    && (self.dpdk || !trial.needs_dpdk())
                    && !(self.options.short && trial.is_slow())
            };
            let jobs = trial::ALL.iter().filter(fits).map(Job::Trial);
            board.work(jobs, None, |done| round("parts", done, report));
        }
        if self.options.point.is_none() {
            let races: Vec<_> = race::ALL.iter().filter(|race| wants("races", race.name)).collect();
            let rounds = if self.options.short { 1 } else { ROUNDS };
            let jobs = (0..rounds).flat_map(|_| races.iter().copied().map(Job::Race));
            // The first round of each is run whatever the time.
            let (first, more): (Vec<_>, Vec<_>) =
                jobs.enumerate().partition(|(turn, _)| *turn < races.len());
            for (jobs, until) in [(first, None), (more, Some(until))] {
                let jobs = jobs.into_iter().map(|(_, job)| job);
                board.work(jobs, until, |done| round("races", done, report));
            }
        }
    }

    fn survey(&self, board: &Board, report: &mut Report) -> BTreeMap<&'static str, Vec<Call>> {
        let wanted = |scenario: &&Scenario| {
            self.options.wants(scenario.name)
                && (self.dpdk || !scenario.needs_dpdk())
                && (self.passt || scenario.part != Some(Part::Passt))
                && (scenario.short || !self.options.short)
        };
        let mut surveys = BTreeMap::new();
        let jobs = scenario::ALL.iter().filter(wanted).map(Job::Survey);
        board.work(jobs, None, |done| match done {
            Done::Survey(scenario, Ok(calls)) => {
                surveys.insert(scenario.name, calls);
            }
            Done::Survey(scenario, Err(failure)) => report.broken(scenario.name, &failure),
            other => unexpected(other, report),
        });
        surveys
    }

    /// Every try there is, in an order in which any beginning has its share of each command and
    /// mode.
    fn attempts(
        &self,
        surveys: &BTreeMap<&'static str, Vec<Call>>,
        report: &mut Report,
    ) -> Vec<Attempt> {
        let mut dice = Dice::new(self.options.seed);
        let mut ranked = Vec::new();
        for scenario in scenario::ALL {
            let Some(calls) = surveys.get(scenario.name) else { continue };
            for mode in Mode::ALL {
                if self.options.mode.is_some_and(|wanted| wanted != mode) {
                    continue;
                }
                let mut stratum = stratum(scenario, mode, calls);
                stratum.retain(|attempt| self.is_wanted(attempt));
                report.expect(scenario.name, mode.name(), stratum.len());
                dice.shuffle(&mut stratum);
                let count = stratum.len();
                ranked.extend(
                    stratum.into_iter().enumerate().map(|(rank, attempt)| {
                        ((rank * 1_000_000 + 500_000) / count.max(1), attempt)
                    }),
                );
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, attempt)| attempt).collect()
    }

    fn is_wanted(&self, attempt: &Attempt) -> bool {
        self.options.point.is_none_or(|point| point == attempt.point)
            && self
                .options
                .errno
                .as_ref()
                .is_none_or(|errno| call::errno_name(attempt.errno) == errno)
    }
}

/// All that can be done to one command in one mode.
fn stratum(scenario: &'static Scenario, mode: Mode, calls: &[Call]) -> Vec<Attempt> {
    let attempt = |point, errno| Attempt { scenario, mode, point, errno };
    match mode {
        Mode::Error => calls
            .iter()
            .enumerate()
            .flat_map(|(index, call)| {
                call.errnos.iter().map(move |errno| attempt(index + 1, *errno))
            })
            .collect(),
        _ => {
            let changing = calls.iter().filter(|call| call.weight == Weight::Changing).count();
            (1..=changing).map(|point| attempt(point, 0)).collect()
        }
    }
}

fn list(report: &Report, name: &str, calls: &[Call]) {
    report.print(&format!("\n{name}: --point of a kill, of an error; the call"));
    let mut changing = 0;
    for (index, call) in calls.iter().enumerate() {
        let kill = if call.weight == Weight::Changing {
            changing += 1;
            changing.to_string()
        } else {
            String::new()
        };
        let errors: Vec<&str> = call.errnos.iter().map(|errno| call::errno_name(*errno)).collect();
        report.print(&format!(
            "{kill:>5} {:>5}  {}({})  {}",
            index + 1,
            call.name,
            call.object,
            errors.join(" ")
        ));
    }
}

fn round(kind: &str, done: Done, report: &mut Report) {
    match done {
        Done::Round(name, result) => report.round(kind, name, &result),
        other => unexpected(other, report),
    }
}

fn unexpected(done: Done, report: &mut Report) {
    if let Done::Broken(failure) = done {
        report.broken("a lane", &failure);
    }
}
