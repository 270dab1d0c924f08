//! A port of Open vSwitch, without waiting for the switch and acknowledged by it.

use std::process::Command;

use virshle_core::net::ovsdb::{Address, Row, Value};
use virshle_core::net::{InterfaceName, NetError, Owner, PortRequest, Switch, Tap};
use virshle_testkit::{OpenVswitch, Part};

use crate::floor::{self, PATIENCE, Wait};
use crate::options::Options;
use crate::parts::{needs, networked};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::{side_by_side, timed};
use virshle_testkit::{Failure, While};

const OWNER: &str = "5f4b2c7e-0000-4000-8000-000000000000";

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "ports", &[(Part::Ovs, "Open vSwitch, root")]) {
        return Ok(());
    }
    let networked = networked(options, false)?;
    let failed = || "cannot make a tap".to_owned();
    let name: InterfaceName = "bench0".parse().doing(failed)?;
    let tap = Tap::create(&name).doing(failed)?;
    tap.set_up().doing(failed)?;
    let mut there = 0;
    for count in [10, 500] {
        fill(&networked.ovs, there, count);
        there = count;
        measure(&networked.ovs, &name, count, options, report)?;
    }
    Ok(())
}

/// Adds internal ports, up to `count`.
fn fill(ovs: &OpenVswitch, there: usize, count: usize) {
    let mut args: Vec<String> = Vec::new();
    for number in there..count {
        let port = format!("i{number}");
        args.extend(["--", "add-port", "br0"].map(ToOwned::to_owned));
        args.extend([port.clone(), "--".into(), "set".into(), "interface".into(), port]);
        args.push("type=internal".into());
    }
    ovs.vsctl(&args.iter().map(String::as_str).collect::<Vec<_>>());
}

fn measure(
    ovs: &OpenVswitch,
    name: &InterfaceName,
    count: usize,
    options: &Options,
    report: &Report,
) -> Result<(), Failure> {
    let failed = || "a port".to_owned();
    let address: Address = ovs.address().parse().doing(failed)?;
    let vsctl = |args: &[&str]| {
        let mut command = Command::new("ovs-vsctl");
        command.arg(format!("--db={}", ovs.address())).args(args).args(["add-port", "br0"]);
        command.arg(name.as_str());
        command
    };
    let row = Row::from([("name".into(), Value::from(name.as_str()))]);
    // Each takes the switch as the others do: without the port, and its database's server done with
    // what it freed after the last client. `ovs-vsctl` reads the whole database, and the one that comes
    // next waits while the server's allocator puts the pieces together: 3 to 9 ms with 500 ports.
    let rest = || {
        ovs.vsctl(&["--if-exists", "del-port", "br0", name.as_str()]);
        let mut switch = Switch::connect(&address, PATIENCE).doing(failed)?;
        switch.ping_vswitchd(PATIENCE).and_then(|()| switch.capabilities()).doing(failed)
    };
    let ours = |wait| {
        rest()?;
        timed(|| ours(&address, name, wait).doing(failed))
    };
    let floor = |wait| {
        rest()?;
        timed(|| floor::port(&address, &row, wait).doing(failed))
    };
    let theirs = |args: &[&str]| {
        rest()?;
        program::time(&mut vsctl(args))
    };
    let samples = side_by_side(
        options.rounds(if count > 100 { 9 } else { 15 }),
        &mut [
            Box::new(|_| ours(Wait::No)),
            Box::new(|_| floor(Wait::No)),
            Box::new(|_| theirs(&["--no-wait"])),
            Box::new(|_| ours(Wait::Yes)),
            Box::new(|_| floor(Wait::Yes)),
            Box::new(|_| theirs(&[])),
        ],
    )?;
    rest()?;
    let what = format!("a port, not waiting, {count} there; raw");
    // 2.2 ms where the raw transaction took 0.5 to 0.8.
    report.line(&what, &samples[0], &samples[1], Budget::Plus(1.7));
    report.other("ovs-vsctl --no-wait add-port", &samples[2], &samples[0]);
    let what = format!("a port, acknowledged, {count} there; raw");
    report.line(&what, &samples[3], &samples[4], Budget::Plus(3.0));
    report.other("ovs-vsctl add-port", &samples[5], &samples[3]);
    Ok(())
}

/// As `v` does it, the connection included.
fn ours(address: &Address, name: &InterfaceName, wait: Wait) -> Result<(), NetError> {
    let mut switch = Switch::connect(address, PATIENCE)?;
    let request = PortRequest::tap(name.clone()).owner(Owner::new(OWNER, "bench"));
    let pending = switch.submit_ports("br0", &[request], PATIENCE)?;
    match wait {
        Wait::Yes => switch.confirm_ports(pending, PATIENCE).map(drop),
        // The answer to what comes after it says that the database has it.
        Wait::No => switch.capabilities().map(drop),
    }
}
