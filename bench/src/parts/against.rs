//! Another build of `v` beside this one: what a change costs, in one run.

use std::path::Path;
use std::time::Duration;

use crate::home::Home;
use crate::options::Options;
use crate::parts::start::{create_one, start};
use crate::parts::{Ground, VMM, needs, v};
use crate::report::{Budget, Report};
use crate::sample::side_by_side;
use virshle_testkit::{Failure, While};

/// The most that the new build may take, beside the old one.
const BUDGET: Budget = Budget::Times(1.03);
const LISTED: [usize; 3] = [1, 100, 1000];

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    let Some(other) = &options.against else {
        report.skip("against", "no --against FILE");
        return Ok(());
    };
    let other = other.canonicalize().doing(|| format!("cannot find {}", other.display()))?;
    let ground = Ground::new()?;
    // A node each, on one filesystem: neither waits for the other's locks.
    let at = |name: &str, v: &Path| {
        let directory = ground.path().join(name);
        std::fs::create_dir_all(&directory).doing(|| format!("cannot create {name}"))?;
        Home::make(&directory, v, None)
    };
    let (new, old) = (at("new", &v(options)?)?, at("old", &other)?);
    let compare = |what: &str, rounds, time: &dyn Fn(&Home) -> Result<Duration, Failure>| {
        let samples =
            side_by_side(rounds, &mut [Box::new(|_| time(&new)), Box::new(|_| time(&old))])?;
        report.line(&format!("{what}; the other build"), &samples[0], &samples[1], BUDGET);
        Ok::<_, Failure>(())
    };
    let mut there = 0;
    for size in LISTED {
        new.create("bare", size - there)?;
        old.create("bare", size - there)?;
        there = size;
        let what = format!("v vm ls, {size} stopped");
        compare(&what, options.rounds(60), &|home| home.time(&["vm", "ls"]))?;
    }
    for home in [&new, &old] {
        home.v(&["vm", "rm", "--all"])?;
    }
    compare("v vm create, no disk", options.rounds(90), &|home| {
        let took = home.time(&["vm", "create", "-t", "bare", "--name", "made"])?;
        home.v(&["vm", "rm", "made"])?;
        Ok(took)
    })?;
    if needs(report, "start, beside the other build", &VMM) {
        create_one(&new, "bare")?;
        create_one(&old, "bare")?;
        compare("v vm start, no network", options.rounds(60), &start)?;
    }
    Ok(())
}
