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
    no_bus(host)?;
    no_orphans(host)?;
    remove_all(host)
}

/// A guest that powers itself off: its port and sockets are gone within a second.
fn guest_powers_off(stage: &Stage<'_>, host: &Host, machine: &Machine) -> Result<(), Failure> {
    port_works(host, machine)?;
    // What systemd takes for a unit of nothing, on this emulated host.
    let unit = "begin=$(date +%s%3N); systemd-run --quiet --wait --collect true; echo $(($(date +%s%3N) - begin))";
    let bare = milliseconds(&host.ok(unit, COMMAND)?)?;
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
    let took = milliseconds(&host.ok(&script, COMMAND)?)?;
    stage.note(format!(
        "port and sockets were gone {took} ms after the process; a unit that runs true takes {bare} ms"
    ));
    ensure!(
        took <= bare + 1000,
        "a second is over: {took} ms, and {bare} ms for a unit of nothing"
    );
    let ended = host.machine("buzz")?;
    let last = ended.last_exit.as_deref();
    ensure!(last == Some("guest"), "last_exit is {last:?} after poweroff in the guest");
    let why = host.v("vm why buzz --json")?;
    ensure!(why.contains("\"exit\": \"guest\"") && why.contains("\"by\": \"guest\""), "{why}");
    Ok(())
}

fn milliseconds(text: &str) -> Result<u64, Failure> {
    text.trim().parse().map_err(|error| Failure::new(format!("{text:?}: {error}")))
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

/// Where systemd listens.
const SOCKETS: &str = "/run/systemd/private /run/dbus/system_bus_socket";

/// Without systemd's answer a machine starts as well, and the next `v` puts it into its scope.
fn no_bus(host: &Host) -> Result<(), Failure> {
    host.ok(&format!("for i in {SOCKETS}; do [ ! -e $i ] || mv $i $i.away; done"), COMMAND)?;
    let started = host.sh("v vm start buzz", COMMAND)?;
    host.ok(&format!("for i in {SOCKETS}; do [ ! -e $i.away ] || mv $i.away $i; done"), COMMAND)?;
    ensure!(started.code == 0, "without systemd's socket: {started:?}");
    ensure!(started.stderr.contains("not supervise"), "not a word: {}", started.stderr);
    let pid = host.machine("buzz")?.pid.unwrap_or_default();
    let check = host.sh("v node check", COMMAND)?.stdout;
    ensure!(check.contains("outside of a scope"), "v node check: {check}");
    host.v("vm start buzz")?;
    in_scope(host, pid, "virshle-buzz.scope")?;
    host.v("vm stop --force buzz").map(drop)
}
