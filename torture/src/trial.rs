//! Parts that die, fall silent, or come back: what `v` does about it, and by when.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::audit;
use crate::failure::{Failure, While, ensure};
use crate::home::{BRIDGE, Home, KEEPER, RUNNER, SUBJECT};
use crate::lane::Lane;
use crate::machine::{Machine, named};
use crate::program::{Outcome, tool};

/// A trial.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    dpdk: bool,
    run: fn(&mut Lane) -> Result<(), Failure>,
}

const fn trial(name: &'static str, run: fn(&mut Lane) -> Result<(), Failure>) -> Trial {
    Trial { name, dpdk: false, run }
}

/// Every trial.
pub(crate) const ALL: &[Trial] = &[
    trial("ovs-vswitchd restarted", vswitchd_restarted),
    trial("ovs-vswitchd killed", vswitchd_killed),
    trial("ovs-vswitchd silent", vswitchd_silent),
    trial("ovsdb-server restarted", ovsdb_restarted),
    trial("ovsdb-server killed", ovsdb_killed),
    trial("ovsdb-server silent", ovsdb_silent),
    trial("cloud-hypervisor killed", hypervisor_killed),
    trial("cloud-hypervisor silent", hypervisor_silent),
    trial("guest ignores its button", guest_is_deaf),
    trial("host went down", host_went_down),
    trial("host and switch went down", host_and_switch_went_down),
    Trial { dpdk: true, ..trial("ovs-vswitchd restarted, vhost", vswitchd_restarted_under_vhost) },
];

/// A listing waits for nobody longer than a second.
const LISTING: Duration = Duration::from_secs(5);
/// A start gives the switch ten seconds to answer, and then takes itself back.
const START: Duration = Duration::from_secs(40);
/// Cutting the power waits two seconds for the process, ten for its end, five for the switch.
const STOP: Duration = Duration::from_secs(25);
/// How long the switch may take to come back to its ports.
const COMEBACK: Duration = Duration::from_secs(15);

impl Trial {
    pub(crate) fn needs_dpdk(&self) -> bool {
        self.dpdk
    }

    pub(crate) fn run(&self, lane: &mut Lane) -> Result<(), Failure> {
        lane.xfs.clear()?;
        (self.run)(lane)?;
        let home = &lane.xfs;
        home.must(&["node", "check", "--repair", "--json"])?;
        let left = audit::problems(home, &home.machines()?)?;
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        home.clear()
    }
}

/// Ends with `code`, within `limit`.
fn ends(home: &Home, words: &[&str], code: i32, limit: Duration) -> Result<Outcome, Failure> {
    let outcome = home.v(words)?;
    let words = words.join(" ");
    ensure!(outcome.exit == Some(code), "v {words} was to end with {code}: {outcome}");
    ensure!(outcome.took < limit, "v {words} took too long: {outcome}");
    Ok(outcome)
}

/// Fails within `limit`, says what is `missing`, and leaves nothing behind.
fn fails(home: &Home, words: &[&str], missing: &str, limit: Duration) -> Result<(), Failure> {
    let outcome = home.v(words)?;
    let words = words.join(" ");
    ensure!(matches!(outcome.exit, Some(1 | 5)), "v {words} was to fail: {outcome}");
    ensure!(outcome.took < limit, "v {words} took too long: {outcome}");
    ensure!(outcome.stderr.contains(missing), "v {words} did not name {missing}: {outcome}");
    Ok(())
}

fn listing(home: &Home, name: &str) -> Result<Machine, Failure> {
    let outcome = ends(home, &["vm", "ls", "--json"], 0, LISTING)?;
    let machines = crate::home::machines(&outcome)?;
    named(&machines, name).cloned().ok_or_else(|| Failure::new(format!("{name} is not shown")))
}

fn make(home: &Home, template: &str, words: &[&str]) -> Result<(), Failure> {
    let create = ["vm", "create", "-t", template, "--name", SUBJECT];
    home.must(&[&create[..], words].concat()).map(drop)
}

fn state_is(home: &Home, name: &str, state: &str) -> Result<(), Failure> {
    let machine = listing(home, name)?;
    ensure!(machine.state == state, "{name} was to be {state}: {machine:?}");
    Ok(())
}

/// Waits until the switch has each port of `name` again.
fn has_its_ports(home: &Home, name: &str) -> Result<(), Failure> {
    let machine = listing(home, name)?;
    let deadline = Instant::now() + COMEBACK;
    loop {
        let rows = audit::marked(home.database())?;
        let works = |port: &str| {
            rows.iter().any(|row| {
                row.uuid == machine.uuid
                    && row.port == port
                    && row.number.is_some_and(|number| number > 0)
            })
        };
        if machine.nets.iter().all(|net| works(&net.port)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{name} has not got its ports back: {rows:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A machine can be started and stopped, as ever.
fn works(home: &Home) -> Result<(), Failure> {
    home.must(&["vm", "start", SUBJECT])?;
    has_its_ports(home, SUBJECT)?;
    home.must(&["vm", "stop", "--force", SUBJECT]).map(drop)
}

fn vswitchd_restarted(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &[])?;
    let before = listing(&lane.xfs, RUNNER)?;
    lane.switch.restart_vswitchd();
    has_its_ports(&lane.xfs, RUNNER)?;
    ensure!(listing(&lane.xfs, RUNNER)? == before, "{RUNNER} was disturbed");
    works(&lane.xfs)
}

fn vswitchd_restarted_under_vhost(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "vhost", &["--start"])?;
    lane.switch.restart_vswitchd();
    has_its_ports(&lane.xfs, SUBJECT)?;
    state_is(&lane.xfs, SUBJECT, "running")?;
    lane.xfs.must(&["vm", "restart", "--force", SUBJECT])?;
    has_its_ports(&lane.xfs, SUBJECT)
}

/// What works without the switch's daemon, and what says that it is missing.
fn without_vswitchd(home: &Home) -> Result<(), Failure> {
    fails(home, &["vm", "start", SUBJECT], "ovs-vswitchd", START)?;
    let left = audit::problems(home, &home.machines()?)?;
    ensure!(left.is_empty(), "a failed start left behind:\n  {}", left.join("\n  "));
    state_is(home, RUNNER, "running")?;
    ends(home, &["vm", "create", "-t", "bare", "--start"], 0, START)?;
    fails(home, &["vm", "create", "-t", "tap", "--start"], "ovs-vswitchd", START)
}

fn vswitchd_killed(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &[])?;
    lane.switch.kill_vswitchd();
    let result = without_vswitchd(&lane.xfs);
    lane.switch.start_vswitchd();
    result?;
    has_its_ports(&lane.xfs, RUNNER)?;
    works(&lane.xfs)
}

fn vswitchd_silent(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &[])?;
    lane.switch.freeze_vswitchd();
    let result = without_vswitchd(&lane.xfs);
    lane.switch.thaw_vswitchd();
    result?;
    works(&lane.xfs)
}

fn ovsdb_restarted(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &[])?;
    lane.switch.restart_ovsdb();
    has_its_ports(&lane.xfs, RUNNER)?;
    works(&lane.xfs)
}

/// What works without the switch's database, and what says that it is missing. The subject runs.
fn without_ovsdb(home: &Home) -> Result<(), Failure> {
    state_is(home, RUNNER, "running")?;
    fails(home, &["vm", "start", KEEPER], "db.sock", START)?;
    state_is(home, KEEPER, "stopped")?;
    let outcome = ends(home, &["vm", "stop", "--force", SUBJECT], 0, STOP)?;
    ensure!(outcome.stderr.contains("left behind"), "ports were left without a word: {outcome}");
    state_is(home, SUBJECT, "stopped")
}

fn ovsdb_killed(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &["--start"])?;
    lane.switch.kill_ovsdb();
    let result = without_ovsdb(&lane.xfs);
    lane.switch.start_ovsdb();
    result?;
    has_its_ports(&lane.xfs, RUNNER)?;
    works(&lane.xfs)
}

fn ovsdb_silent(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &["--start"])?;
    lane.switch.freeze_ovsdb();
    let result = without_ovsdb(&lane.xfs);
    lane.switch.thaw_ovsdb();
    result?;
    works(&lane.xfs)
}

fn signal(machine: &Machine, signal: Signal) -> Result<(), Failure> {
    let pid = machine.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::new(format!("no process: {machine:?}")))?;
    kill_process(pid, signal).doing(|| "cannot signal a VMM".into())
}

fn hypervisor_killed(lane: &mut Lane) -> Result<(), Failure> {
    let home = &lane.xfs;
    make(home, "tap", &["--start"])?;
    signal(&listing(home, SUBJECT)?, Signal::KILL)?;
    wait_for_state(home, SUBJECT, "stopped")?;
    let outcome = ends(home, &["vm", "info", SUBJECT, "--json"], 0, LISTING)?;
    ensure!(outcome.stdout.contains("crashed"), "its last exit is something else: {outcome}");
    works(home)
}

fn wait_for_state(home: &Home, name: &str, state: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while listing(home, name)?.state != state {
        ensure!(Instant::now() < deadline, "{name} is not {state} after five seconds");
    }
    Ok(())
}

fn hypervisor_silent(lane: &mut Lane) -> Result<(), Failure> {
    let home = &lane.xfs;
    make(home, "tap", &["--start"])?;
    let machine = listing(home, SUBJECT)?;
    signal(&machine, Signal::STOP)?;
    state_is(home, SUBJECT, "unresponsive")?;
    ends(home, &["vm", "stop", "--timeout", "3s", SUBJECT], 6, STOP)?;
    ends(home, &["vm", "start", SUBJECT], 6, STOP)?;
    ends(home, &["vm", "rm", SUBJECT], 6, STOP)?;
    ends(home, &["vm", "stop", "--force", SUBJECT], 0, STOP)?;
    state_is(home, SUBJECT, "stopped")?;
    works(home)
}

fn guest_is_deaf(lane: &mut Lane) -> Result<(), Failure> {
    let home = &lane.xfs;
    let before = listing(home, RUNNER)?;
    let outcome = home.v(&["vm", "stop", "--timeout", "1s", RUNNER])?;
    ensure!(matches!(outcome.exit, Some(1 | 6)), "it was to fail: {outcome}");
    ensure!(outcome.took < Duration::from_secs(10), "it took too long: {outcome}");
    ensure!(listing(home, RUNNER)? == before, "{RUNNER} was disturbed");
    has_its_ports(home, RUNNER)
}

/// Ends every VMM as a power cut does: their sockets stay.
fn cut_power(home: &Home) -> Result<(), Failure> {
    for process in audit::hypervisors(&home.root())? {
        crate::sys::kill(process.pid);
    }
    wait_for_state(home, RUNNER, "stopped")
}

/// Everything that is stopped starts.
fn comes_back(home: &Home) -> Result<(), Failure> {
    home.must(&["vm", "start", "--state", "stopped"])?;
    for name in [RUNNER, KEEPER, SUBJECT] {
        state_is(home, name, "running")?;
        has_its_ports(home, name)?;
    }
    home.must(&["vm", "stop", "--force", KEEPER]).map(drop)
}

fn host_went_down(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &["--start"])?;
    lane.switch.kill_vswitchd();
    lane.switch.kill_ovsdb();
    let cut = cut_power(&lane.xfs);
    lane.switch.start_ovsdb();
    lane.switch.start_vswitchd();
    cut?;
    comes_back(&lane.xfs)
}

fn host_and_switch_went_down(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "tap", &["--start"])?;
    cut_power(&lane.xfs)?;
    let database = lane.xfs.database().to_owned();
    tool(audit::vsctl(&database).args(["--", "--if-exists", "del-br", BRIDGE]))?;
    fails(&lane.xfs, &["vm", "start", SUBJECT], BRIDGE, START)?;
    lane.xfs.must(&["node", "init"])?;
    comes_back(&lane.xfs)?;
    // The bridge's own device is in the namespace again.
    tool(Command::new("ip").args(["-j", "link", "show", BRIDGE])).map(drop)
}
