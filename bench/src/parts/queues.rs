//! A port of a bridge of the kernel beside one of Open vSwitch, and a queue for each of two vCPUs beside one
//! for both: what they take of a start, and of memory.

use std::process::Command;
use std::time::Duration;

use virshle_testkit::{Failure, Part, While};

use crate::home::{Home, KERNEL_BRIDGE};
use crate::options::Options;
use crate::parts::{VMM, needs, networked};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::side_by_side;

/// What the VMM of a machine with two queues, on a disk and on a NIC, may take more than with one each:
/// two more threads, and what they use.
const MORE_KIB: f64 = 1024.0;

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    let what = "v vm start, a bridge of the kernel";
    if !needs(report, what, &VMM) || !needs(report, what, &[(Part::Ovs, "Open vSwitch, root")]) {
        return Ok(());
    }
    let networked = networked(options, false)?;
    for words in [&["add", KERNEL_BRIDGE, "type", "bridge"][..], &["set", KERNEL_BRIDGE, "up"]] {
        program::output(Command::new("ip").arg("link").args(words))?;
    }
    let home = &networked.home;
    let names = ["bridge", "tap", "bare", "queues", "queue"];
    for name in names {
        home.v(&["vm", "create", "-t", name, "--name", name])?;
    }
    let samples = side_by_side(
        options.rounds(20),
        &mut names.map(|name| -> Box<dyn FnMut(usize) -> Result<Duration, Failure>> {
            Box::new(move |_| start(home, name))
        }),
    )?;
    let [bridge, tap, bare, queues, queue] = &samples[..] else { return Ok(()) };
    report.line(what, bridge, bare, Budget::Plus(8.0));
    report.line("v vm start, a bridge of the kernel; a tap", bridge, tap, Budget::Times(1.1));
    report.line("v vm start, 2 queues; 1 queue", queues, queue, Budget::Times(1.1));
    let [two, one] = ["queues", "queue"].map(|name| memory(home, name));
    report.amount("memory of the VMM, 2 queues; 1 queue", two? - one?, MORE_KIB, "KiB more");
    Ok(())
}

/// Times the start of the machine `name`, and cuts its power.
fn start(home: &Home, name: &str) -> Result<Duration, Failure> {
    let took = home.time(&["vm", "start", name])?;
    home.v(&["vm", "stop", "--force", name])?;
    Ok(took)
}

/// What the VMM of the machine takes, in KiB, each page by its share.
fn memory(home: &Home, name: &str) -> Result<f64, Failure> {
    home.v(&["vm", "start", name])?;
    let info = home.v(&["vm", "info", name, "--json"])?;
    let info: serde_json::Value = serde_json::from_str(&info).doing(|| "v vm info".to_owned())?;
    let path = format!("/proc/{}/smaps_rollup", info["pid"]);
    let text = std::fs::read_to_string(&path).doing(|| format!("cannot read {path}"))?;
    home.v(&["vm", "stop", "--force", name])?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    number.ok_or_else(|| Failure::new(format!("no Pss in {path}")))
}
