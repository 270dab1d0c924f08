//! Many machines at once.

use crate::failure::Failure;
use crate::home::Home;
use crate::options::Options;
use crate::parts::{VMM, needs, networked, node};
use crate::report::{Budget, Report};
use crate::sample::{Sample, side_by_side};

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "many", &VMM) {
        return Ok(());
    }
    let alone = node(options)?;
    on(&alone.home, "bare", "no network", options, report)?;
    drop(alone);
    let ovs = [(virshle_testkit::Part::Ovs, "Open vSwitch, root")];
    if needs(report, "many, one tap each", &ovs) {
        let networked = networked(options, false)?;
        on(&networked.home, "tap", "one tap each", options, report)?;
    }
    Ok(())
}

fn on(
    home: &Home,
    template: &str,
    kind: &str,
    options: &Options,
    report: &Report,
) -> Result<(), Failure> {
    let mut floor: Option<(Sample, Sample)> = None;
    for count in [1, 10, 100] {
        let number = count.to_string();
        let rounds = if count == 1 { options.rounds(9) } else { 3 };
        let mut created = Sample::default();
        let samples = side_by_side(
            rounds,
            &mut [Box::new(|round| {
                let made = home.time(&["vm", "create", "-t", template, "-n", &number])?;
                if round > 0 {
                    created.push(made);
                }
                let took = home.time(&["vm", "start", "--all"])?;
                home.v(&["vm", "rm", "--force", "--all"])?;
                Ok(took)
            })],
        )?;
        let (create, start) = floor.get_or_insert_with(|| (created.clone(), samples[0].clone()));
        for (verb, took, one) in [("create", &created, create), ("start", &samples[0], start)] {
            let one = one.times(count);
            let what = format!("v vm {verb}, {count} x, {kind}; {count} x one");
            let budget = if count == 100 { Budget::Times(1.0) } else { Budget::None };
            report.line(&what, took, &one, budget);
        }
    }
    Ok(())
}
