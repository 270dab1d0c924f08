//! The table: what was measured, beside what.

use std::cell::RefCell;

use crate::sample::Sample;

/// What something may take, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// So many times its floor.
    Times(f64),
    /// So many milliseconds more than its floor.
    Plus(f64),
    /// Nothing was promised.
    None,
}

/// Prints lines as they are known.
#[derive(Debug, Default)]
pub(crate) struct Report {
    missed: RefCell<Vec<String>>,
    skipped: RefCell<Vec<String>>,
}

impl Report {
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    pub(crate) fn print(&self, line: &str) {
        println!("{line}");
    }

    pub(crate) fn part(&self, name: &str) {
        self.print(&format!("\n== {name}"));
        self.print(&format!(
            "{:<44} {:>9} {:>15}   {:>9}  {:>7}  budget",
            "what", "median", "half between", "floor", "ratio"
        ));
    }

    /// A part, or a line of one, that can't be measured here.
    pub(crate) fn skip(&self, what: &str, why: &str) {
        self.print(&format!("SKIPPED {what}: {why}"));
        self.skipped.borrow_mut().push(format!("{what}: {why}"));
    }

    /// What `v` takes, beside the floor.
    pub(crate) fn line(&self, what: &str, took: &Sample, floor: &Sample, budget: Budget) {
        let ratio = took.ratio(floor);
        let (limit, is_met) = match budget {
            Budget::Times(limit) => (format!("{limit:.2} x"), ratio <= limit),
            Budget::Plus(more) => {
                (format!("floor + {more} ms"), took.minus(floor).median() <= more)
            }
            Budget::None => ("-".to_owned(), true),
        };
        let verdict = match budget {
            Budget::None => String::new(),
            _ if is_met => format!("{limit}: met"),
            _ => {
                self.missed.borrow_mut().push(what.to_owned());
                format!("{limit}: MISSED")
            }
        };
        let (low, high) = took.quartiles();
        self.print(&format!(
            "{what:<44} {:>6.2} ms {:>6.2} to {:>5.2}   {:>6.2} ms  {ratio:>5.2} x  {verdict}",
            took.median(),
            low,
            high,
            floor.median()
        ));
    }

    /// What a part of the line above takes by itself.
    pub(crate) fn alone(&self, what: &str, took: &Sample) {
        let (low, high) = took.quartiles();
        let what = format!("  {what}");
        self.print(&format!("{what:<44} {:>6.2} ms {low:>6.2} to {high:>5.2}", took.median()));
    }

    /// What another takes for the same, beside `v`.
    pub(crate) fn other(&self, what: &str, took: &Sample, v: &Sample) {
        let (low, high) = took.quartiles();
        let what = format!("  {what}");
        self.print(&format!(
            "{what:<44} {:>6.2} ms {:>6.2} to {:>5.2}   {:>9}  {:>5.1} x v",
            took.median(),
            low,
            high,
            "",
            took.ratio(v)
        ));
    }

    /// Something that is no time.
    pub(crate) fn amount(&self, what: &str, amount: f64, most: f64, unit: &str) {
        let verdict = if amount <= most { "met" } else { "MISSED" };
        if amount > most {
            self.missed.borrow_mut().push(what.to_owned());
        }
        self.print(&format!("{what:<44} {amount:>6.2} {unit:<41}  {most} {unit}: {verdict}"));
    }

    /// The end; tells whether every budget was met.
    pub(crate) fn close(&self, seconds: u64) -> bool {
        let missed = self.missed.borrow();
        self.print(&format!(
            "\n{} budgets missed, {} skipped, {seconds} s",
            missed.len(),
            self.skipped.borrow().len()
        ));
        missed.iter().for_each(|what| self.print(&format!("  missed   {what}")));
        self.skipped.borrow().iter().for_each(|what| self.print(&format!("  skipped  {what}")));
        missed.is_empty()
    }
}
