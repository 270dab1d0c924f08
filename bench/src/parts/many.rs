//! Many machines at once.

use std::time::{Duration, Instant};

use virshle_testkit::OpenVswitch;

use crate::home::Home;
use crate::options::Options;
use crate::parts::{VMM, needs, networked, node};
use crate::report::{Budget, Report};
use crate::sample::{Sample, side_by_side};
use virshle_testkit::Failure;

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "many", &VMM) {
        return Ok(());
    }
    let alone = node(options)?;
    on(&alone.home, "bare", "no network", &|| {}, options, report)?;
    drop(alone);
    let ovs = [(virshle_testkit::Part::Ovs, "Open vSwitch, root")];
    if needs(report, "many, one tap each", &ovs) {
        let networked = networked(options, false)?;
        let rest = || come_to_rest(&networked.ovs);
        on(&networked.home, "tap", "one tap each", &rest, options, report)?;
    }
    Ok(())
}

/// Waits until the switch answers at once, several times. It lets go of 100 ports for a second or two
/// after it has acknowledged that, and a start after that would wait for it.
fn come_to_rest(ovs: &OpenVswitch) {
    let mut quick = 0;
    for turn in 0..200 {
        let asked = Instant::now();
        ovs.vsctl(&["set", "Open_vSwitch", ".", &format!("external_ids:turn={turn}")]);
        quick = if asked.elapsed() < Duration::from_millis(30) { quick + 1 } else { 0 };
        if quick == 5 {
            return;
        }
    }
}

fn on(
    home: &Home,
    template: &str,
    kind: &str,
    rest: &dyn Fn(),
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
                rest();
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
