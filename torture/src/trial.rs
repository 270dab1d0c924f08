//! Parts that die, fall silent, or come back: what `v` does about it, and by when.
//!
//! Longer than other files: a trial is a function, and they share their steps.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::audit;
use crate::home::{BRIDGE, Home, KEEPER, RUNNER, SUBJECT};
use crate::impostor::{self, Impostor};
use crate::lane::Lane;
use crate::machine::{Machine, named};
use crate::program::{Outcome, tool};
use virshle_testkit::{Failure, While, ensure};

/// A trial.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    dpdk: bool,
    /// It takes a minute or more: deadlines have to pass.
    slow: bool,
    run: fn(&mut Lane) -> Result<(), Failure>,
}

const fn trial(name: &'static str, run: fn(&mut Lane) -> Result<(), Failure>) -> Trial {
    Trial { name, dpdk: false, slow: false, run }
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
    trial("cloud-hypervisor talks rubbish at its start", rubbish_at_the_start),
    trial("cloud-hypervisor talks rubbish as it runs", rubbish_while_it_runs),
    Trial {
        slow: true,
        ..trial("cloud-hypervisor says nothing at its start", silence_at_the_start)
    },
    Trial {
        slow: true,
        ..trial("cloud-hypervisor says nothing as it runs", silence_while_it_runs)
    },
    trial("guest ignores its button", guest_is_deaf),
    trial("filesystem is full", filesystem_is_full),
    trial("host went down", host_went_down),
    trial("host and switch went down", host_and_switch_went_down),
    Trial {
        dpdk: true,
        ..trial("ovs-vswitchd restarted under vhost", vswitchd_restarted_under_vhost)
    },
];

/// A listing waits for no lock longer than a second.
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

    pub(crate) fn is_slow(&self) -> bool {
        self.slow
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
fn ends(home: &Home, args: &[&str], code: i32, limit: Duration) -> Result<Outcome, Failure> {
    let outcome = home.v(args)?;
    let args = args.join(" ");
    ensure!(outcome.exit == Some(code), "v {args} was to end with {code}: {outcome}");
    ensure!(outcome.took < limit, "v {args} took too long: {outcome}");
    Ok(outcome)
}

/// Fails within `limit`, says what is `missing`, and leaves nothing behind.
fn fails(home: &Home, args: &[&str], missing: &str, limit: Duration) -> Result<(), Failure> {
    let outcome = home.v(args)?;
    let args = args.join(" ");
    ensure!(matches!(outcome.exit, Some(1 | 5)), "v {args} was to fail: {outcome}");
    ensure!(outcome.took < limit, "v {args} took too long: {outcome}");
    ensure!(outcome.stderr.contains(missing), "v {args} did not name {missing}: {outcome}");
    Ok(())
}

fn listing(home: &Home, name: &str) -> Result<Machine, Failure> {
    let outcome = ends(home, &["vm", "ls", "--json"], 0, LISTING)?;
    let machines = crate::home::machines(&outcome)?;
    named(&machines, name).cloned().ok_or_else(|| Failure::new(format!("{name} is not shown")))
}

fn make(home: &Home, template: &str, args: &[&str]) -> Result<(), Failure> {
    let create = ["vm", "create", "-t", template, "--name", SUBJECT];
    home.must(&[&create[..], args].concat()).map(drop)
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
    ensure!(outcome.stderr.contains("left behind"), "ports were left unreported: {outcome}");
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

/// The home's configuration with an impostor in cloud-hypervisor's place.
fn with_impostor(home: &Home) -> Result<(Impostor, String), Failure> {
    let failed = || "cannot write a configuration".to_owned();
    let directory = home.config().with_file_name("impostor");
    let impostor = Impostor::make(&directory)?;
    let text = std::fs::read_to_string(home.config()).doing(failed)?;
    let program = format!("program = \"{}\"", impostor.program().display());
    let lines: Vec<&str> = text
        .lines()
        .map(|line| if line.starts_with("program = ") { &program } else { line })
        .collect();
    let config = directory.join("config.toml");
    std::fs::write(&config, lines.join("\n")).doing(failed)?;
    Ok((impostor, config.display().to_string()))
}

/// A start fails that meets `act` at `request`, and nothing is left of it.
fn start_meets(home: &Home, request: &str, act: &str, limit: Duration) -> Result<(), Failure> {
    let (impostor, config) = with_impostor(home)?;
    impostor.acts(&format!("{request} {act}"))?;
    let outcome = home.v(&["--config", &config, "vm", "start", SUBJECT])?;
    let what = format!("{request} was answered with {act}");
    ensure!(matches!(outcome.exit, Some(1 | 5)), "{what}: it was to fail: {outcome}");
    ensure!(outcome.took < limit, "{what}: it took too long: {outcome}");
    ensure!(outcome.stderr.starts_with("error: "), "{what}: without an error message: {outcome}");
    let left = audit::problems(home, &home.machines()?)?;
    ensure!(left.is_empty(), "{what}: left behind:\n  {}", left.join("\n  "));
    state_is(home, SUBJECT, "stopped")
}

fn rubbish_at_the_start(lane: &mut Lane) -> Result<(), Failure> {
    let home = &lane.xfs;
    make(home, "bare", &[])?;
    for request in ["vmm.ping", "vm.create", "vm.boot"] {
        for act in impostor::QUICK {
            start_meets(home, request, act, START)?;
        }
    }
    home.must(&["vm", "rm", SUBJECT])?;
    make(home, "tap", &[])?;
    for act in impostor::QUICK {
        start_meets(home, "vm.add-net", act, START)?;
    }
    works(home)
}

fn rubbish_while_it_runs(lane: &mut Lane) -> Result<(), Failure> {
    runs_and_meets(&lane.xfs, &impostor::QUICK)
}

fn silence_while_it_runs(lane: &mut Lane) -> Result<(), Failure> {
    runs_and_meets(&lane.xfs, &impostor::SLOW)
}

/// A machine whose VMM comes to answer with `acts` is unresponsive, and can be cut off.
fn runs_and_meets(home: &Home, acts: &[&str]) -> Result<(), Failure> {
    let (impostor, config) = with_impostor(home)?;
    make(home, "bare", &[])?;
    home.must(&["--config", &config, "vm", "start", SUBJECT])?;
    state_is(home, SUBJECT, "running")?;
    for act in acts {
        let fails_with = |args: &[&str], code| {
            let outcome = ends(home, args, code, STOP)?;
            ensure!(
                outcome.stderr.starts_with("error: "),
                "{act}: without an error message: {outcome}"
            );
            Ok(())
        };
        impostor.acts(&format!("vm.info {act}"))?;
        state_is(home, SUBJECT, "unresponsive")?;
        for verb in ["stop", "pause", "resume", "start", "rm"] {
            fails_with(&["vm", verb, SUBJECT], 6)?;
        }
        impostor.acts(&format!("vm.power-button {act}\nvm.pause {act}"))?;
        fails_with(&["vm", "stop", "--timeout", "1s", SUBJECT], 1)?;
        fails_with(&["vm", "pause", SUBJECT], 1)?;
        state_is(home, SUBJECT, "running")?;
    }
    impostor.acts("vm.info garbage")?;
    ends(home, &["vm", "stop", "--force", SUBJECT], 0, STOP)?;
    state_is(home, SUBJECT, "stopped")
}

fn silence_at_the_start(lane: &mut Lane) -> Result<(), Failure> {
    let home = &lane.xfs;
    make(home, "bare", &[])?;
    for act in impostor::SLOW {
        start_meets(home, "vmm.ping", act, START)?;
        start_meets(home, "vm.create", act, START)?;
    }
    // A boot may take a minute.
    start_meets(home, "vm.boot", "silence", Duration::from_secs(90))
}

/// On a filesystem without room nothing new comes to be, and all else can be done, first of all
/// what makes room.
fn filesystem_is_full(lane: &mut Lane) -> Result<(), Failure> {
    let home = &lane.xfs;
    make(home, "tap", &["--start"])?;
    let filler = home.config().with_file_name("filler");
    let result = fill(&filler).and_then(|()| {
        let outcome = home.v(&["vm", "create", "-t", "bare"])?;
        ensure!(outcome.exit == Some(1), "there was to be no room: {outcome}");
        ensure!(outcome.stderr.contains("No space left"), "it did not say so: {outcome}");
        ends(home, &["vm", "ls"], 0, LISTING)?;
        ends(home, &["vm", "pause", SUBJECT], 0, LISTING)?;
        ends(home, &["vm", "stop", "--force", SUBJECT], 0, STOP)?;
        let machines = home.machines()?;
        let left = audit::problems(home, &machines)?;
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        ends(home, &["vm", "rm", SUBJECT], 0, STOP)
    });
    drop(std::fs::remove_file(&filler));
    result?;
    make(home, "tap", &[])?;
    works(home)
}

/// Writes until there is no room.
fn fill(path: &std::path::Path) -> Result<(), Failure> {
    use std::io::Write;
    let mut file = std::fs::File::create(path).doing(|| "cannot begin to fill".into())?;
    for length in [1 << 20, 4096, 1] {
        let block = vec![7; length];
        while file.write_all(&block).and_then(|()| file.sync_data()).is_ok() {}
    }
    Ok(())
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

/// What starts with the host starts, and then everything that is stopped. The subject starts with
/// the host.
fn comes_back(home: &Home) -> Result<(), Failure> {
    let directories = home.root().join("vm");
    let entries = std::fs::read_dir(&directories).doing(|| "cannot list the machines".into())?;
    // The host has another boot.
    for path in entries.flatten().map(|entry| entry.path().join("run.json")) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let mut run: Value = serde_json::from_str(&text).doing(|| "a record of a run".into())?;
        run["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        std::fs::write(&path, run.to_string()).doing(|| "cannot write a record".into())?;
    }
    let outcome = ends(home, &["vm", "info", SUBJECT, "--json"], 0, LISTING)?;
    let info: Value = serde_json::from_str(&outcome.stdout).doing(|| "v vm info --json".into())?;
    ensure!(info["last_exit"] == "host", "it ended otherwise: {outcome}");
    home.must(&["vm", "start", "--autostart"])?;
    state_is(home, SUBJECT, "running")?;
    has_its_ports(home, SUBJECT)?;
    state_is(home, RUNNER, "stopped")?;
    home.must(&["vm", "start", "--state", "stopped"])?;
    for name in [RUNNER, KEEPER, SUBJECT] {
        state_is(home, name, "running")?;
        has_its_ports(home, name)?;
    }
    home.must(&["vm", "stop", "--force", KEEPER]).map(drop)
}

fn host_went_down(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "auto", &["--start"])?;
    lane.switch.kill_vswitchd();
    lane.switch.kill_ovsdb();
    let cut = cut_power(&lane.xfs);
    lane.switch.start_ovsdb();
    lane.switch.start_vswitchd();
    cut?;
    comes_back(&lane.xfs)
}

fn host_and_switch_went_down(lane: &mut Lane) -> Result<(), Failure> {
    make(&lane.xfs, "auto", &["--start"])?;
    lane.switch.kill_vswitchd();
    lane.switch.kill_ovsdb();
    let cut = cut_power(&lane.xfs);
    lane.switch.lose_database();
    cut?;
    // A start creates the bridge that went with the database.
    comes_back(&lane.xfs)?;
    // The bridge's own device is in the namespace again.
    tool(Command::new("ip").args(["-j", "link", "show", BRIDGE]))?;
    // The other home lost its ports.
    lane.memory.rebuild()
}
