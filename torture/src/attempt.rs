//! One try: a command is run to a certain call, something is done to it there, and everything
//! is looked at.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::audit;
use crate::call::{Call, errno_name, shorten};
use crate::home::{Home, LIMIT};
use crate::program::Outcome;
use crate::scenario::{Effect, Progress, Scenario, Seen};
use crate::stepper::{self, Begin, Plan, Trace};
use virshle_testkit::{Failure, While, ensure};

/// What is done to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Killed before the call; then given again, then repaired.
    KillBefore,
    /// Killed after the call; then repaired, then given again.
    KillAfter,
    /// The call fails.
    Error,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::KillBefore, Self::KillAfter, Self::Error];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillBefore => "kill-before",
            Self::KillAfter => "kill-after",
            Self::Error => "error",
        }
    }
}

/// A try that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) scenario: &'static Scenario,
    pub(crate) mode: Mode,
    /// The number of the call, from 1: of the changing ones, or with [`Mode::Error`] of all that
    /// may fail.
    pub(crate) point: usize,
    /// The error, with [`Mode::Error`].
    pub(crate) errno: i32,
}

impl PartialEq for Scenario {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scenario {}

/// How a try came out that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything is as it should be.
    Passed,
    /// The call failed and the command did not, or it failed with the work done, and reported it; what
    /// it left behind it warned of, and `v node check --repair` removed.
    Tolerated,
    /// The command ended before it came to the call: its threads went another way this time.
    Beyond,
}

/// A try with all that is known of it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) attempt: Attempt,
    pub(crate) result: Result<Verdict, Failure>,
    /// The call, for people.
    pub(crate) hit: String,
    /// What the command said.
    pub(crate) outcome: Option<Outcome>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, mode, point, .. } = self;
        write!(out, "--only {} --mode {} --point {point}", scenario.name, mode.name())?;
        if *mode == Mode::Error {
            write!(out, " --errno {}", errno_name(self.errno))?;
        }
        Ok(())
    }
}

impl Attempt {
    fn plan(&self) -> Plan {
        match self.mode {
            Mode::KillBefore => Plan::KillBefore(self.point),
            Mode::KillAfter => Plan::KillAfter(self.point),
            Mode::Error => Plan::Fail(self.point, self.errno),
        }
    }

    /// Makes the try. Whatever comes of it, the home is fit for the next one.
    pub(crate) fn make(&self, home: &Home) -> Record {
        let mut record = Record {
            attempt: *self,
            result: Ok(Verdict::Passed),
            hit: String::new(),
            outcome: None,
        };
        record.result = self.try_it(home, &mut record);
        if let Some(Err(failure)) = record.result.is_err().then(|| home.rebuild()) {
            record.result = record.result.map_err(|first| {
                Failure::new(format!("{first}\nand then, to begin anew: {failure}"))
            });
        }
        record
    }

    fn try_it(&self, home: &Home, record: &mut Record) -> Result<Verdict, Failure> {
        let seen = self.scenario.prepare(home).doing(|| "before the command".into())?;
        let trace = run(self.scenario, home, self.plan())?;
        record.hit = trace.hit.as_ref().map(|call| describe(call, home)).unwrap_or_default();
        let outcome = Outcome::from(&trace);
        record.outcome = Some(outcome.clone());
        ensure!(!trace.late, "did not end");
        if trace.hit.is_none() {
            whole(self.scenario, home, &seen, &outcome)?;
            return Ok(Verdict::Beyond);
        }
        match self.mode {
            Mode::Error => self.after_error(home, &seen, &outcome),
            _ => self.after_kill(home, &seen, &outcome).map(|()| Verdict::Passed),
        }
    }

    fn after_kill(&self, home: &Home, seen: &Seen, outcome: &Outcome) -> Result<(), Failure> {
        ensure!(outcome.signal == Some(libc::SIGKILL), "was not killed");
        if self.mode == Mode::KillAfter {
            audit::wait_for_guests_that_obey(home)?;
            repair(home).doing(|| "repaired".into())?;
            clean(home, &home.machines()?).doing(|| "repaired".into())?;
        }
        let between = home.machines().doing(|| "listed after the kill".into())?;
        self.scenario.progress(home, seen, &between).doing(|| "after the kill".into())?;
        let again = crate::program::run(&mut self.scenario.command(home), LIMIT)?;
        self.scenario.again_is_fine(home, seen, &between, &again)?;
        if self.mode == Mode::KillBefore {
            repair(home).doing(|| "repaired".into())?;
        }
        no_orphans(home)?;
        let now = home.machines()?;
        let seen = self.base(seen, &between);
        let progress = self.scenario.progress(home, &seen, &now)?;
        ensure!(progress == Progress::All, "given again, it is not done: {again}");
        clean(home, &now)
    }

    /// What the second run begins with: machines that the first one made are there now.
    fn base(&self, seen: &Seen, between: &crate::machine::Machines) -> Seen {
        match self.scenario.effect {
            Effect::Created(..) => Seen { machines: between.clone() },
            _ => seen.clone(),
        }
    }

    fn after_error(&self, home: &Home, seen: &Seen, outcome: &Outcome) -> Result<Verdict, Failure> {
        ensure!(!outcome.stderr.contains("panicked"), "it panicked");
        let now = home.machines().doing(|| "listed after the error".into())?;
        let progress = self.scenario.progress(home, seen, &now)?;
        let mut tolerated;
        match outcome.exit {
            Some(0) => {
                ensure!(progress == Progress::All, "it says that it is done, and it is not");
                tolerated = true;
            }
            Some(1..=6) => {
                let reported = outcome.stderr.lines().any(|line| line.starts_with("error: "));
                ensure!(reported, "it failed without an error message");
                // Some commands are not one step: what they had done stays done.
                let in_steps = match self.scenario.effect {
                    Effect::Node | Effect::Parts | Effect::Restarted => true,
                    Effect::Created(count, state) => count > 1 || state == "running",
                    // The power first, then the machine.
                    Effect::Removed => self.scenario.args.contains(&"--force"),
                    _ => false,
                };
                ensure!(
                    progress == Progress::None || in_steps || progress == Progress::All,
                    "it failed and left it half done"
                );
                tolerated = progress != Progress::None;
            }
            _ => return Err(Failure::new("it did not end with an exit code of its own")),
        }
        // What was there before is there until it was looked after: an end, a network that is gone.
        let looks_after = matches!(self.scenario.effect, Effect::Ended | Effect::Connected);
        let untouched = looks_after && progress == Progress::None;
        let left = if untouched { Vec::new() } else { audit::problems(home, &now)? };
        if !left.is_empty() {
            // That the command failed reports nothing of what it left.
            let reported = outcome.stderr.lines().any(|line| {
                line.trim_start().starts_with("WARN")
                    // Whose error is what remains: a removal, what was looked after.
                    || (line.starts_with("error: ")
                        && (looks_after
                            || line.contains("not all of its files")
                            || line.contains("cannot remove")))
            });
            ensure!(reported, "left behind unreported:\n  {}", left.join("\n  "));
            repair(home)?;
            no_orphans(home)?;
            clean(home, &home.machines()?).doing(|| "after the repair".into())?;
            tolerated = true;
        }
        if outcome.exit != Some(0) && progress != Progress::All {
            let again = crate::program::run(&mut self.scenario.command(home), LIMIT)?;
            ensure!(again.exit == Some(0), "given again: {again}");
            let then = home.machines()?;
            let seen = self.base(seen, &now);
            let progress = self.scenario.progress(home, &seen, &then)?;
            ensure!(progress == Progress::All, "given again, it is not done: {again}");
            clean(home, &then).doing(|| "given again".into())?;
        }
        Ok(if tolerated { Verdict::Tolerated } else { Verdict::Passed })
    }
}

/// Runs the command once with nothing done to it, and lists its calls.
pub(crate) fn survey(scenario: &Scenario, home: &Home) -> Result<Vec<Call>, Failure> {
    let survey = || {
        let seen = scenario.prepare(home)?;
        let trace = run(scenario, home, Plan::Watch)?;
        whole(scenario, home, &seen, &Outcome::from(&trace))?;
        runs_nothing_else(&trace.calls)?;
        Ok(trace.calls)
    };
    let result: Result<_, Failure> = survey();
    if result.is_err() {
        home.rebuild()?;
    }
    result
}

/// No command runs a shell, or any program but the VMM, passt, and itself as what keeps a VMM's logs.
fn runs_nothing_else(calls: &[Call]) -> Result<(), Failure> {
    let mut run = calls.iter().filter(|call| call.name.starts_with("exec"));
    match run.find(|call| {
        !["/cloud-hypervisor", "/passt", "/v"].iter().any(|own| call.object.ends_with(own))
    }) {
        Some(call) => Err(Failure::new(format!("it runs {}", call.object))),
        None => Ok(()),
    }
}

/// A line about a call.
pub(crate) fn describe(call: &Call, home: &Home) -> String {
    format!("{}({})", call.name, shorten(&call.object, &home.root()))
}

fn run(scenario: &Scenario, home: &Home, plan: Plan) -> Result<Trace, Failure> {
    stepper::run(&mut scenario.command(home), plan, Begin::Runtime, LIMIT)
        .doing(|| "cannot trace the command".into())
}

/// A command to which nothing was done has done everything.
fn whole(scenario: &Scenario, home: &Home, seen: &Seen, outcome: &Outcome) -> Result<(), Failure> {
    ensure!(outcome.exit == Some(0), "undisturbed, it failed: {outcome}");
    let now = home.machines()?;
    let progress = scenario.progress(home, seen, &now)?;
    ensure!(progress == Progress::All, "undisturbed, it did not do it: {outcome}");
    clean(home, &now)
}

fn clean(home: &Home, machines: &crate::machine::Machines) -> Result<(), Failure> {
    let left = audit::problems(home, machines)?;
    ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    Ok(())
}

fn repair(home: &Home) -> Result<(), Failure> {
    home.must(&["node", "check", "--repair", "--json"]).map(drop)
}

fn no_orphans(home: &Home) -> Result<(), Failure> {
    let outcome = home.must(&["node", "check", "--json"])?;
    let check: Value = serde_json::from_str(&outcome.stdout)
        .doing(|| format!("v node check --json wrote no document: {outcome}"))?;
    let none = check["orphans"].as_array().is_some_and(Vec::is_empty);
    ensure!(none, "repaired, there are orphans: {}", check["orphans"]);
    ensure!(outcome.took < Duration::from_secs(20), "a check took {:?}", outcome.took);
    Ok(())
}
