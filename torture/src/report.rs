//! What the harness says on its standard output.
#![expect(clippy::print_stdout, reason = "a command's output, all of it through this file")]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::attempt::{Record, Verdict};
use crate::options::Options;
use virshle_testkit::Failure;

/// A line of the table.
#[derive(Clone, Debug, Default)]
struct Line {
    /// The place in the table.
    place: usize,
    points: usize,
    tried: usize,
    tolerated: usize,
    beyond: usize,
    failed: usize,
}

/// The lines of a run, and its sums.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: BTreeMap<(String, String), Line>,
    slowest: (Duration, String),
    seed: u64,
}

/// What the table comes to, by the modes and commands of its lines.
const SUMS: [(&str, &[&str]); 4] = [
    ("kill points", &["kill-before", "kill-after"]),
    ("injected errors", &["error"]),
    ("parts that died", &["parts"]),
    ("races", &["races"]),
];

/// How many failures are printed in full; the table counts them all.
const IN_FULL: usize = 60;

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self { seed: options.seed, ..Self::default() }
    }

    /// Prints a line.
    pub(crate) fn print(&self, text: &str) {
        println!("{text}");
    }

    /// Notes that there are `points` of a command and mode to be tried.
    pub(crate) fn expect(&mut self, command: &str, mode: &str, points: usize) {
        self.line(command, mode).points += points;
    }

    fn line(&mut self, command: &str, mode: &str) -> &mut Line {
        let place = self.lines.len();
        self.lines
            .entry((command.to_owned(), mode.to_owned()))
            .or_insert_with(|| Line { place, ..Line::default() })
    }

    fn failures(&self) -> usize {
        self.lines.values().map(|line| line.failed).sum()
    }

    /// Records a try.
    pub(crate) fn attempt(&mut self, record: &Record, verbose: bool) {
        let (name, mode) = (record.attempt.scenario.name, record.attempt.mode.name());
        let line = self.line(name, mode);
        line.tried += 1;
        match record.result {
            Ok(Verdict::Passed) => {}
            Ok(Verdict::Tolerated) => line.tolerated += 1,
            Ok(Verdict::Beyond) => line.beyond += 1,
            Err(_) => line.failed += 1,
        }
        if let Some(outcome) = &record.outcome {
            if outcome.took > self.slowest.0 {
                self.slowest = (outcome.took, format!("{} at {}", record.attempt, record.hit));
            }
        }
        if verbose || (record.result.is_err() && self.failures() <= IN_FULL) {
            let args = record.attempt.scenario.args.join(" ");
            println!("\n-- v {args}: {mode} {}", record.hit);
            match &record.result {
                Ok(verdict) => println!("{verdict:?}"),
                Err(failure) => println!("FAILED: {failure}"),
            }
            if let Some(outcome) = &record.outcome {
                print!("{outcome}");
            }
            if record.result.is_err() {
                println!("again: scripts/torture {}", record.attempt);
            }
        }
    }

    /// Takes in a round of a race, or a trial, of `tries` processes.
    pub(crate) fn round(&mut self, kind: &str, name: &str, result: &Result<(), Failure>) {
        let line = self.line(kind, name);
        line.points += 1;
        line.tried += 1;
        if let Err(failure) = result {
            line.failed += 1;
            println!("\n-- {kind}: {name}\nFAILED: {failure}");
            println!("again: scripts/torture --only {name:?}");
        }
    }

    /// Takes in what kept a command from being tried at all.
    pub(crate) fn broken(&mut self, what: &str, failure: &Failure) {
        self.line(what, "survey").failed += 1;
        println!("\n-- {what}\nFAILED: {failure}");
    }

    /// Prints the table and the closing line; whether nothing failed.
    pub(crate) fn close(&self, took: Duration) -> bool {
        let mut lines: Vec<_> = self.lines.iter().collect();
        lines.sort_by_key(|(_, line)| line.place);
        let width = lines.iter().map(|((_, mode), _)| mode.len()).max().unwrap_or(0).max(11);
        println!(
            "\n{:14} {:width$} {:>6} {:>6} {:>9} {:>7} {:>6}",
            "command", "mode", "points", "tried", "tolerated", "skipped", "failed"
        );
        let mut sum = Line::default();
        for ((command, mode), line) in lines {
            let skipped = line.points.saturating_sub(line.tried);
            println!(
                "{command:14} {mode:width$} {:>6} {:>6} {:>9} {skipped:>7} {:>6}",
                line.points, line.tried, line.tolerated, line.failed
            );
            sum.points += line.points;
            sum.tried += line.tried;
            sum.tolerated += line.tolerated;
            sum.beyond += line.beyond;
            sum.failed += line.failed;
        }
        println!(
            "{:14} {:width$} {:>6} {:>6} {:>9} {:>7} {:>6}",
            "in all",
            "",
            sum.points,
            sum.tried,
            sum.tolerated,
            sum.points.saturating_sub(sum.tried),
            sum.failed
        );
        println!();
        for (what, modes) in SUMS {
            let of = self.lines.iter().filter(|((command, mode), _)| {
                modes.contains(&mode.as_str()) || modes.contains(&command.as_str())
            });
            let (tried, failed) = of.fold((0, 0), |(tried, failed), (_, line)| {
                (tried + line.tried, failed + line.failed)
            });
            println!("{what:16} {tried:>6} tried {failed:>6} failed");
        }
        let (slowest, where_from) = &self.slowest;
        if !where_from.is_empty() {
            println!("slowest: {} ms, {where_from}", slowest.as_millis());
        }
        if sum.beyond > 0 {
            println!("{} of them ended before they came to their call", sum.beyond);
        }
        println!("seed {}, {} s", self.seed, took.as_secs());
        println!("{} passed, {} failed", sum.tried.saturating_sub(sum.failed), sum.failed);
        sum.failed == 0
    }
}
