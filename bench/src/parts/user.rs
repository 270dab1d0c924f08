//! Starting a machine with a user network, beside one that has none.

use std::time::Duration;

use virshle_testkit::{Failure, Part};

use crate::home::Home;
use crate::options::Options;
use crate::parts::{VMM, needs, node};
use crate::report::{Budget, Report};
use crate::sample::side_by_side;

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    let what = "v vm start, a user network; no network";
    if !needs(report, what, &VMM) || !needs(report, what, &[(Part::Passt, "passt")]) {
        return Ok(());
    }
    let node = node(options)?;
    for template in ["user", "bare"] {
        node.home.v(&["vm", "create", "-t", template, "--name", template])?;
    }
    let samples = side_by_side(
        options.rounds(20),
        &mut [Box::new(|_| start(&node.home, "user")), Box::new(|_| start(&node.home, "bare"))],
    )?;
    report.line(what, &samples[0], &samples[1], Budget::Plus(8.0));
    Ok(())
}

/// Times the start of the machine `name`, and cuts its power.
fn start(home: &Home, name: &str) -> Result<Duration, Failure> {
    let took = home.time(&["vm", "start", name])?;
    home.v(&["vm", "stop", "--force", name])?;
    Ok(took)
}
