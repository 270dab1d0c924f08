//! Machines on a host that systemd runs: each in a scope of its own, whose end is an event.

use super::{
    expect_state, in_scope, install_units, make_lan, no_orphans, port_works, remove_all,
    wait_for_address,
};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [template.vm.limits]\ncpu_weight = 200\npids = 64\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    install_units(host)?;
    make_lan(host)?;
    host.v("vm create -t xs --name buzz")?;
    // As a job that systemd runs and then cleans up after.
    host.ok("systemd-run --quiet --collect -p Type=oneshot v vm start buzz", COMMAND)?;
    let machine = host.machine("buzz")?;
    expect_state(&machine, "running")?;
    wait_for_address(host, &machine)?;
    let pid = machine.pid.ok_or_else(|| Failure::new("a running machine without a pid"))?;
    in_scope(host, pid, "virshle-buzz.scope")?;
    let limits = host.ok(
        "cd /sys/fs/cgroup/machine.slice/virshle-buzz.scope && cat cpu.weight pids.max memory.max",
        COMMAND,
    )?;
    let mut limits = limits.lines();
    ensure!(limits.next() == Some("200"), "cpu.weight is not what was asked for");
    ensure!(limits.next() == Some("64"), "pids.max is not what was asked for");
    let most: u64 = limits.next().and_then(|line| line.parse().ok()).unwrap_or_default();
    ensure!(most > 192 << 20, "memory.max is {most}");

    // What ends sessions and services is none of the machine's.
    host.ok("systemctl restart ssh && systemctl daemon-reexec && sleep 1", COMMAND)?;
    in_scope(host, pid, "virshle-buzz.scope")?;
    expect_state(&host.machine("buzz")?, "running")?;

    guest_powers_off(stage, host, &machine)?;
    each_policy(host)?;
    limits_at_once(host)?;
    scope_is_left_over(host)?;
    no_bus(host)?;
    silent_bus(stage, host)?;
    ends_before_its_scope(host)?;
    no_orphans(host)?;
    remove_all(host)
}

/// A guest that powers itself off: its port and sockets are gone within a second.
fn guest_powers_off(stage: &Stage<'_>, host: &Host, machine: &Machine) -> Result<(), Failure> {
    port_works(host, machine)?;
    host.in_guest(machine, "poweroff")?;
    let port = machine.port()?;
    // What is looked at costs no process: the host has one processor. The sockets go last.
    let script = format!(
        "timeout 60 tail --pid={} -f /dev/null; begin=$(date +%s%3N)
        exec 9<> <(:)
        for i in $(seq 3000); do
            [ -e {}/ch.sock ] || break
            read -t 0.02 -u 9
        done
        echo $(($(date +%s%3N) - begin))
        ! ovs-vsctl --timeout=10 port-to-br {port} 2>/dev/null",
        machine.pid.unwrap_or_default(),
        machine.dir
    );
    let took = host.ok(&script, COMMAND)?;
    stage.note(format!("port and sockets were gone {} ms after the process", took.trim()));
    let ended = host.machine("buzz")?;
    let last = ended.last_exit.as_deref();
    ensure!(last == Some("guest"), "last_exit is {last:?} after poweroff in the guest");
    let why = host.v("vm why buzz --json")?;
    ensure!(why.contains("\"exit\": \"guest\"") && why.contains("\"by\": \"guest\""), "{why}");
    Ok(())
}

/// `kill -9` of the VMM with each policy.
fn each_policy(host: &Host) -> Result<(), Failure> {
    for (policy, restarted) in [("no", false), ("on-failure", true), ("always", true)] {
        host.v(&format!("vm set buzz restart={policy}"))?;
        host.v("vm start buzz")?;
        let before = host.machine("buzz")?;
        let pid = before.pid.ok_or_else(|| Failure::new("a running machine without a pid"))?;
        host.ok(&format!("kill -9 {pid}"), COMMAND)?;
        if restarted {
            host.ok(
                &format!(
                    "for i in $(seq 600); do
                        now=$(v vm info buzz --json | jq -r 'select(.state == \"running\").pid')
                        [ -n \"$now\" ] && [ \"$now\" != {pid} ] && exit 0
                        sleep 0.2
                    done; exit 1"
                ),
                COMMAND,
            )?;
            let now = host.machine("buzz")?;
            in_scope(host, now.pid.unwrap_or_default(), "virshle-buzz")?;
            port_works(host, &now)?;
            // By hand it stays off.
            host.v("vm stop --force buzz")?;
        }
        host.ok("sleep 3; systemctl is-system-running --wait >/dev/null; true", COMMAND)?;
        let now = host.machine("buzz")?;
        expect_state(&now, "stopped")?;
        let expected = if restarted { "forced" } else { "crashed" };
        let last = now.last_exit.as_deref();
        ensure!(last == Some(expected), "restart={policy}: last_exit is {last:?}");
    }
    host.v("vm set buzz restart=no").map(drop)
}

/// Limits of a machine that runs are those of its scope at once.
fn limits_at_once(host: &Host) -> Result<(), Failure> {
    host.v("vm start buzz")?;
    let told =
        host.sh("v vm set buzz cpu_weight=300 cpu_limit=50% pids=80 memory_overhead=1G", COMMAND)?;
    ensure!(told.code == 0 && told.stderr.is_empty(), "v vm set: {told:?}");
    let read = || {
        host.ok(
            "cd /sys/fs/cgroup/machine.slice/virshle-buzz.scope && \
             cat cpu.weight cpu.max pids.max memory.max | tr '\\n' ' '",
            COMMAND,
        )
    };
    let most = (192 << 20) + (1 << 30);
    let now = read()?;
    ensure!(now.trim() == format!("300 50000 100000 80 {most}"), "the limits are {now}");
    // What it takes already is not taken away.
    let told = host.sh("v vm set buzz memory_overhead=0 cpu_limit=", COMMAND)?;
    ensure!(told.stderr.is_empty() || told.stderr.contains("next start"), "v vm set: {told:?}");
    let now = read()?;
    ensure!(now.starts_with("300 max 100000 80 "), "the limits are {now}");
    host.v("vm set buzz memory_overhead= cpu_weight=200 pids=64")?;
    host.v("vm stop --force buzz").map(drop)
}

/// A scope of that name is there: the machine gets another one.
fn scope_is_left_over(host: &Host) -> Result<(), Failure> {
    host.ok(
        "systemd-run --quiet --scope --unit=virshle-buzz.scope --slice=machine.slice \
            sleep 600 >/dev/null 2>&1 &
        for i in $(seq 100); do
            systemctl is-active --quiet virshle-buzz.scope && exit 0
            sleep 0.1
        done; exit 1",
        COMMAND,
    )?;
    host.v("vm start buzz")?;
    let machine = host.machine("buzz")?;
    let spare =
        format!("virshle-buzz-{}.scope", machine.uuid.split('-').next().unwrap_or_default());
    in_scope(host, machine.pid.unwrap_or_default(), &spare)?;
    host.ok("systemctl stop virshle-buzz.scope", COMMAND)?;
    host.v("vm stop --force buzz").map(drop)
}

/// Where systemd listens.
const SOCKETS: &str = "/run/systemd/private /run/dbus/system_bus_socket";

/// Without systemd's answer a machine starts as well, and the next `v` puts it into its scope.
fn no_bus(host: &Host) -> Result<(), Failure> {
    // The other way to it is the bus.
    host.ok("mv /run/systemd/private /run/systemd/private.away", COMMAND)?;
    host.v("vm start buzz")?;
    let pid = host.machine("buzz")?.pid.unwrap_or_default();
    in_scope(host, pid, "virshle-buzz.scope")?;
    host.ok("mv /run/systemd/private.away /run/systemd/private", COMMAND)?;
    host.v("vm stop --force buzz")?;

    host.ok(&format!("for i in {SOCKETS}; do mv $i $i.away; done"), COMMAND)?;
    let started = host.sh("v vm start buzz", COMMAND)?;
    host.ok(&format!("for i in {SOCKETS}; do mv $i.away $i; done"), COMMAND)?;
    ensure!(started.code == 0, "without systemd's socket: {started:?}");
    ensure!(started.stderr.contains("not supervise"), "not a word: {}", started.stderr);
    let pid = host.machine("buzz")?.pid.unwrap_or_default();
    let check = host.sh("v node check", COMMAND)?.stdout;
    ensure!(check.contains("outside of a scope"), "v node check: {check}");
    host.v("vm start buzz")?;
    in_scope(host, pid, "virshle-buzz.scope")?;
    host.v("vm stop --force buzz").map(drop)
}

/// systemd accepts and says nothing: a start waits for its second and goes on. A `v` that is killed
/// meanwhile leaves a process, which the next one finds.
fn silent_bus(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.ok(
        "mv /run/systemd/private /run/systemd/private.away
        socat UNIX-LISTEN:/run/systemd/private,fork EXEC:'sleep 600' >/dev/null 2>&1 &
        for i in $(seq 100); do [ -e /run/systemd/private ] && exit 0; sleep 0.1; done; exit 1",
        COMMAND,
    )?;
    let script = "begin=$(date +%s%3N); v vm start buzz >&2; echo $(($(date +%s%3N) - begin))";
    let silent = host.sh(script, COMMAND)?;
    host.v("vm stop --force buzz")?;
    // It waits for systemd's answer when its process is there.
    let killed = host.sh(
        "v vm start buzz >/dev/null 2>&1 & v=$!
        for i in $(seq 1000); do pgrep cloud-hyperviso >/dev/null && break; sleep 0.02; done
        kill -9 $v; wait; pgrep cloud-hyperviso",
        COMMAND,
    )?;
    host.ok(
        "rm /run/systemd/private && mv /run/systemd/private.away /run/systemd/private",
        COMMAND,
    )?;
    ensure!(silent.code == 0, "with a silent systemd: {silent:?}");
    let words = "systemd did not answer";
    ensure!(silent.stderr.contains(words), "not a word: {}", silent.stderr);
    ensure!(!silent.stderr.contains("within 0 ms"), "it did not wait: {}", silent.stderr);
    ensure!(killed.code == 0, "v was killed before its process was there: {killed:?}");
    let left = killed.stdout.trim();
    host.v("vm start buzz")?;
    let machine = host.machine("buzz")?;
    expect_state(&machine, "running")?;
    in_scope(host, machine.pid.unwrap_or_default(), "virshle-buzz.scope")?;
    let processes = host.ok("pgrep cloud-hyperviso", COMMAND)?;
    ensure!(processes.lines().count() == 1, "{left} was left behind: {processes}");
    stage.note(format!("a start with a silent systemd took {} ms", silent.stdout.trim()));
    host.v("vm stop --force buzz").map(drop)
}

/// A process that ends before it is in its scope: the start fails, and nothing is left.
fn ends_before_its_scope(host: &Host) -> Result<(), Failure> {
    let started = host.sh(
        "until pkill -9 cloud-hyperviso; do :; done & v vm start buzz; code=$?; wait; exit $code",
        COMMAND,
    )?;
    let machine = host.machine("buzz")?;
    expect_state(&machine, "stopped")?;
    ensure!(started.code == 1, "its process was killed at once: {started:?}");
    let left = host.ok(
        &format!(
            "ovs-vsctl --timeout=10 --columns=name find Port name={}; ls {}/ch.sock 2>&1; true",
            machine.port()?,
            machine.dir
        ),
        COMMAND,
    )?;
    ensure!(!left.contains("name") && left.contains("No such file"), "left behind: {left}");
    Ok(())
}
