//! The program itself: how fast it starts, how large it is, how much memory it takes.

use crate::floor;
use crate::options::Options;
use crate::parts::node;
use crate::program::peak_memory;
use crate::report::{Budget, Report};
use crate::sample::side_by_side;
use virshle_testkit::{Failure, While};

/// MiB. Five until the cage, the guard, passt, systemd and the host keys came: docs/performance.md.
const MOST_BINARY: f64 = 7.0;
const MOST_MEMORY: f64 = 6.0;

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    let node = node(options)?;
    let home = &node.home;
    let samples = side_by_side(
        options.rounds(60),
        &mut [Box::new(|_| home.time(&["--version"])), Box::new(|_| floor::process())],
    )?;
    report.line("v --version; true", &samples[0], &samples[1], Budget::Times(1.4));
    let size = options.v.metadata().doing(|| "the size of v".to_owned())?.len();
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    report.amount("the binary", size as f64 / f64::from(1 << 20), MOST_BINARY, "MiB");
    home.create("bare", 1000)?;
    for args in [&["vm", "ls"][..], &["vm", "ls", "-v"], &["vm", "ls", "--json"]] {
        let peak = peak_memory(&home.command(args))?;
        let what = format!("peak memory, v {}, 1000 machines", args.join(" "));
        report.amount(&what, peak, MOST_MEMORY, "MiB");
    }
    Ok(())
}
