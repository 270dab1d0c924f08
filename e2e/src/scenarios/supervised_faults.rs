//! What can go wrong between a machine that starts and systemd, and limits of one that runs.

use super::{expect_state, in_scope, install_units, make_lan, no_orphans, remove_all};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"none\"\nvcpu = 1\nvram = \"192MiB\"\n\
         kernel = \"/opt/e2e/halt.elf\"\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    install_units(host)?;
    make_lan(host)?;
    host.v("vm create -t none --name buzz")?;
    limits_at_once(host)?;
    scope_is_left_over(host)?;
    only_the_bus(host)?;
    silent_bus(stage, host)?;
    ends_before_its_scope(host)?;
    no_orphans(host)?;
    remove_all(host)
}

/// Limits of a machine that runs are those of its scope at once.
fn limits_at_once(host: &Host) -> Result<(), Failure> {
    host.v("vm start buzz")?;
    let told =
        host.sh("v vm set buzz cpu_weight=300 cpu_limit=50% pids=80 memory_overhead=1G", COMMAND)?;
    ensure!(told.code == 0 && !told.stderr.contains("next start"), "v vm set: {told:?}");
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
    host.v("vm set buzz cpu_limit=")?;
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

/// Where systemd's own socket is gone, the bus is another way to it.
fn only_the_bus(host: &Host) -> Result<(), Failure> {
    host.ok("systemctl start dbus && busctl --no-pager list >/dev/null", COMMAND)?;
    host.ok("mv /run/systemd/private /run/systemd/private.away", COMMAND)?;
    host.v("vm start buzz")?;
    let pid = host.machine("buzz")?.pid.unwrap_or_default();
    in_scope(host, pid, "virshle-buzz.scope")?;
    host.ok("mv /run/systemd/private.away /run/systemd/private", COMMAND)?;
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
    ensure!(started.code != 0, "its process was killed at once: {started:?}");
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
