//! What the harness says on its standard output.
#![expect(clippy::print_stdout, reason = "a command's output, all of it through this file")]

use std::sync::Mutex;
use std::time::Duration;

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

/// The lines of a run, and its sums.
#[derive(Debug, Default)]
pub(crate) struct Report {
    verdicts: Mutex<Vec<Verdict>>,
}

impl Report {
    /// Prints a line about the lab.
    pub(crate) fn line(&self, text: &str) {
        let _one_at_a_time = self.verdicts.lock();
        println!("e2e: {text}");
    }

    /// Prints a text that was asked for.
    pub(crate) fn text(&self, text: &str) {
        let _one_at_a_time = self.verdicts.lock();
        println!("{text}");
    }

    /// Prints how a scenario ended, with what it wants known.
    pub(crate) fn scenario(&self, name: &str, verdict: Verdict, took: Duration, notes: &[String]) {
        let mut verdicts = match self.verdicts.lock() {
            Ok(verdicts) => verdicts,
            Err(poisoned) => poisoned.into_inner(),
        };
        let word = match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "SKIPPED",
        };
        println!("scenario {name} ... {word} ({:.1} s)", took.as_secs_f64());
        for note in notes {
            for line in note.lines() {
                println!("    {line}");
            }
        }
        verdicts.push(verdict);
    }

    /// Prints the closing line; whether nothing failed.
    pub(crate) fn close(&self) -> bool {
        let verdicts = match self.verdicts.lock() {
            Ok(verdicts) => verdicts,
            Err(poisoned) => poisoned.into_inner(),
        };
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        println!(
            "{} passed, {} failed, {} skipped",
            count(Verdict::Passed),
            count(Verdict::Failed),
            count(Verdict::Skipped)
        );
        count(Verdict::Failed) == 0
    }
}
