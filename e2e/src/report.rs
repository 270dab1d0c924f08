//! What the harness says on its standard output.
#![expect(clippy::print_stdout, reason = "a command's output, all of it through this file")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::scenario::Scenario;

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All it says holds.
    Passed,
    /// Something doesn't.
    Failed,
    /// A part it needs isn't here.
    Skipped,
}

/// The lines of a run, and its sums. Its clones are the same report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    verdicts: Vec<(&'static str, Verdict)>,
    /// Nothing comes after the closing line.
    closed: bool,
}

impl Report {
    /// Prints a line about the lab.
    pub(crate) fn line(&self, text: &str) {
        if !self.printed().closed {
            println!("e2e: {text}");
        }
    }

    /// Prints a text that was asked for.
    pub(crate) fn text(&self, text: &str) {
        println!("{text}");
    }

    /// Prints how a scenario ended, with what it wants known.
    pub(crate) fn scenario(
        &self,
        name: &'static str,
        verdict: Verdict,
        took: Duration,
        notes: &[String],
    ) {
        self.printed().scenario(name, verdict, took, notes);
    }

    /// Gives the scenarios that haven't ended a verdict, and prints the closing line; whether nothing
    /// failed.
    pub(crate) fn close(&self, scenarios: &[Scenario], verdict: Verdict, reason: &str) -> bool {
        let mut printed = self.printed();
        for scenario in scenarios {
            if !printed.verdicts.iter().any(|(name, _)| *name == scenario.name) {
                printed.scenario(scenario.name, verdict, Duration::ZERO, &[reason.to_owned()]);
            }
        }
        printed.closed = true;
        let count =
            |wanted| printed.verdicts.iter().filter(|(_, verdict)| *verdict == wanted).count();
        println!(
            "{} passed, {} failed, {} skipped",
            count(Verdict::Passed),
            count(Verdict::Failed),
            count(Verdict::Skipped)
        );
        count(Verdict::Failed) == 0
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Printed {
    fn scenario(&mut self, name: &'static str, verdict: Verdict, took: Duration, notes: &[String]) {
        if self.closed {
            return;
        }
        let label = match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "SKIPPED",
        };
        println!("scenario {name} ... {label} ({:.1} s)", took.as_secs_f64());
        for line in notes.iter().flat_map(|note| note.lines()) {
            println!("    {line}");
        }
        self.verdicts.push((name, verdict));
    }
}
