//! Listings, and how they grow.

use crate::floor;
use crate::home::Home;
use crate::options::Options;
use crate::parts::{VMM, needs, node};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::{Sample, side_by_side};
use virshle_testkit::{Failure, ensure};

/// How many machines, and how many times the floor (a process, and reading as many small files)
/// `v vm ls` may take: 2, 3 and 12 ms where the floors were 0.8, 1.5 and 7.8 ms.
const SIZES: [(usize, Budget); 5] = [
    (1, Budget::Times(2.5)),
    (10, Budget::None),
    (100, Budget::Times(2.0)),
    (1000, Budget::Times(1.54)),
    (10_000, Budget::None),
];

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    let node = node(options)?;
    let home = &node.home;
    let mut there = 0;
    for (size, budget) in SIZES {
        if options.quick && size > 1000 {
            report.skip("v vm ls, 10000 machines", "--quick");
            continue;
        }
        home.create("bare", size - there)?;
        there = size;
        let [plain, json, floor] = listing(home, options.rounds(if size > 1000 { 9 } else { 30 }))?;
        report.line(&format!("v vm ls, {size} stopped; reading the files"), &plain, &floor, budget);
        report.line(&format!("v vm ls --json, {size} stopped"), &json, &floor, Budget::None);
        if size == 1000 {
            completed(home, options, report)?;
        }
    }
    drop(node);
    running(options, report)
}

/// What a shell waits for at a tab: every name of a thousand. A person takes 100 ms for at once, and the
/// shell has to draw them yet.
fn completed(home: &Home, options: &Options, report: &Report) -> Result<(), Failure> {
    let tab = |words: &[&str]| {
        let mut command = home.command(&[&["--", "v"], words].concat());
        command.env("VIRSHLE_COMPLETE", "bash").env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        command
    };
    let offered = program::output(&mut tab(&["vm", "start", ""]))?;
    ensure!(offered.lines().count() >= 1000, "of 1000 names few are offered: {offered}");
    let samples = side_by_side(
        options.rounds(30),
        &mut [Box::new(|_| program::time(&mut tab(&["vm", "start", ""])))],
    )?;
    report.amount("a completion, of 1000 machines", samples[0].median(), 20.0, "ms");
    Ok(())
}

fn listing(home: &Home, rounds: usize) -> Result<[Sample; 3], Failure> {
    let files: Vec<_> =
        home.machines()?.iter().map(|directory| directory.join("vm.toml")).collect();
    let samples = side_by_side(
        rounds,
        &mut [
            Box::new(|_| home.time(&["vm", "ls"])),
            Box::new(|_| home.time(&["vm", "ls", "--json"])),
            Box::new(|_| floor::process()),
            Box::new(|_| floor::read_files(&files)),
        ],
    )?;
    let floor = samples[2].plus(&samples[3]);
    Ok([samples[0].clone(), samples[1].clone(), floor])
}

/// What 20 running machines add: 4 ms where 20 answers took 2.6.
fn running(options: &Options, report: &Report) -> Result<(), Failure> {
    const COUNT: usize = 20;
    let what = "v vm ls, what 20 running machines add";
    if !needs(report, what, &VMM) {
        return Ok(());
    }
    // Two nodes of as many machines: one of them runs.
    let (stopped, started) = (node(options)?, node(options)?);
    stopped.home.create("bare", COUNT)?;
    started.home.create("bare", COUNT)?;
    started.home.v(&["vm", "start", "--all"])?;
    let directories = started.home.machines()?;
    let sockets: Vec<_> = directories.iter().map(|directory| directory.join("ch.sock")).collect();
    let samples = side_by_side(
        options.rounds(30),
        &mut [
            Box::new(|_| started.home.time(&["vm", "ls"])),
            Box::new(|_| stopped.home.time(&["vm", "ls"])),
            Box::new(|_| floor::ask_all(&sockets)),
        ],
    )?;
    let added = samples[0].minus(&samples[1]);
    report.line(&format!("{what}; 20 answers"), &added, &samples[2], Budget::Times(1.54));
    started.home.v(&["vm", "stop", "--force", "--all"])?;
    Ok(())
}
