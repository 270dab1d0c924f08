//! Starting machines: without a network, with a tap, with vhost-user.

use std::process::Command;
use std::time::Duration;

use virshle_core::net::ovsdb::{Row, Value};
use virshle_testkit::{FakeSystemd, OpenVswitch, Part, has};

use crate::floor::{self, BareVmm, Wait};
use crate::home::Home;
use crate::options::Options;
use crate::parts::{VMM, needs, networked, node};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::{side_by_side, timed};
use virshle_testkit::{Failure, While, ensure};

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "start", &VMM) {
        return Ok(());
    }
    let alone = node(options)?;
    one(&alone.home, "bare", "no network", Budget::Times(1.25), options, report)?;
    supervised(&alone.home, options, report)?;
    drop(alone);
    if needs(report, "v vm start, one tap", &[(Part::Ovs, "Open vSwitch, root")]) {
        let networked = networked(options, false)?;
        one(&networked.home, "tap", "one tap", Budget::Plus(8.0), options, report)?;
        no_helper(&networked.home, "tap", report)?;
    }
    if needs(report, "v vm start, one vhost-user", &[(Part::Dpdk, "Open vSwitch with DPDK")]) {
        let networked = networked(options, true)?;
        one(&networked.home, "vhost", "one vhost-user", Budget::Plus(15.0), options, report)?;
        slowest(&networked.home, options, report)?;
        bare_port(&networked.ovs, options, report)?;
        no_helper(&networked.home, "vhost", report)?;
    }
    Ok(())
}

fn one(
    home: &Home,
    template: &str,
    kind: &str,
    budget: Budget,
    options: &Options,
    report: &Report,
) -> Result<(), Failure> {
    create_one(home, template)?;
    let bare = BareVmm::new(home.directory(), &home.v(&["vm", "config", "--vmm", "one"])?)?;
    let samples = side_by_side(
        options.rounds(20),
        &mut [Box::new(|_| start(home)), Box::new(|_| bare.boot())],
    )?;
    let what = format!("v vm start, {kind}; cloud-hypervisor alone");
    report.line(&what, &samples[0], &samples[1], budget);
    Ok(())
}

/// The slowest of many: a first connection of the switch that is refused is tried again a second later,
/// and no median shows it.
fn slowest(home: &Home, options: &Options, report: &Report) -> Result<(), Failure> {
    let rounds = options.rounds(100);
    let samples = side_by_side(rounds, &mut [Box::new(|_| start(home))])?;
    let what = format!("  the slowest of {rounds}, beyond the median");
    report.amount(&what, samples[0].excess(), 500.0, "ms");
    Ok(())
}

/// The same machine with a scope and without one: it is asked for while the guest boots.
fn supervised(home: &Home, options: &Options, report: &Report) -> Result<(), Failure> {
    let systemd = FakeSystemd::willing().doing(|| "a bus".to_owned())?;
    let with_scope = || {
        let mut command = home.command(&["vm", "start", "one"]);
        let took = program::time(command.env("VIRSHLE_SYSTEMD", systemd.socket()))?;
        home.v(&["vm", "stop", "--force", "one"])?;
        Ok(took)
    };
    let samples = side_by_side(
        options.rounds(20),
        &mut [Box::new(|_| with_scope()), Box::new(|_| start(home))],
    )?;
    let what = "v vm start, with a scope of systemd's; without";
    report.line(what, &samples[0], &samples[1], Budget::Plus(1.0));
    ensure!(!systemd.calls().is_empty(), "no scope was asked for");
    Ok(())
}

/// A vhost-user port alone, without a peer: what the switch, whose polling threads have to be notified,
/// takes of each start above.
fn bare_port(ovs: &OpenVswitch, options: &Options, report: &Report) -> Result<(), Failure> {
    let failed = || "a vhost-user port".to_owned();
    let address = ovs.address().parse().doing(failed)?;
    let interface = Row::from([
        ("name".into(), Value::from("bare")),
        ("type".into(), Value::from("dpdkvhostuserclient")),
        ("options".into(), Value::map([("vhost-server-path", "/nonexistent/bare.sock")])),
    ]);
    let samples = side_by_side(
        options.rounds(20),
        &mut [Box::new(|_| {
            let took = timed(|| floor::port(&address, &interface, Wait::Yes).doing(failed));
            ovs.vsctl(&["del-port", "br0", "bare"]);
            took
        })],
    )?;
    report.alone("a vhost-user port, raw, acknowledged", &samples[0]);
    Ok(())
}

/// Creates the machine `one`.
pub(super) fn create_one(home: &Home, template: &str) -> Result<(), Failure> {
    home.v(&["vm", "create", "-t", template, "--name", "one"])?;
    Ok(())
}

/// Times the start of the machine `one`, and cuts its power.
pub(super) fn start(home: &Home) -> Result<Duration, Failure> {
    let took = home.time(&["vm", "start", "one"])?;
    home.v(&["vm", "stop", "--force", "one"])?;
    Ok(took)
}

/// Makes sure that no program is run but the VMM.
fn no_helper(home: &Home, kind: &str, report: &Report) -> Result<(), Failure> {
    let what = format!("v vm start, {kind}: what it runs");
    if !has(Part::Root) || !program::exists("strace") {
        report.skip(&what, "needs strace");
        return Ok(());
    }
    let trace = home.directory().join("trace");
    let v = home.command(&["vm", "start", "one"]);
    let mut strace = Command::new("strace");
    // It lets go of what runs another program: else it would wait for the VMM's end.
    strace.args(["-f", "-b", "execve", "-e", "trace=execve", "-o"]).arg(&trace);
    strace.arg(v.get_program()).args(v.get_args()).env_clear();
    strace.envs(v.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program::time(&mut strace)?;
    let lines = std::fs::read_to_string(&trace).doing(|| "what strace wrote".to_owned())?;
    home.v(&["vm", "stop", "--force", "one"])?;
    let run: Vec<&str> = lines
        .lines()
        .filter(|line| line.ends_with("= 0") || line.ends_with("<detached ...>"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    let others = run
        .iter()
        .filter(|program| !program.ends_with("/v") && !program.contains("cloud-hypervisor"));
    ensure!(others.count() == 0, "a start with {kind} runs {run:?}");
    report.print("  and no program is run but the VMM");
    Ok(())
}
