//! Machines run on when `v` is killed, replaced by another, or when the user who ran it logs out.

use super::{expect_state, make_lan, no_orphans, port_works, remove_all, wait_for_address};
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
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    make_lan(host)?;
    // Its own session, as a login has it, and every process of that killed when it has started.
    host.v("vm create -t xs -n 2")?;
    host.ok(
        "setsid sh -c 'echo $$ >/run/session; v vm start --id 1; kill -9 0' || true
        ! pgrep --session $(cat /run/session)",
        COMMAND,
    )?;
    let first = host.machine("1")?;
    let address = wait_for_address(host, &first)?;
    let port = port_works(host, &first)?;
    let uptime = seconds_up(host, &address)?;
    let same = |when: &str| -> Result<(), Failure> {
        let now = host.machine("1")?;
        expect_state(&now, "running")?;
        ensure!(now.pid == first.pid, "{when}: pid {:?} became {:?}", first.pid, now.pid);
        ensure!(port_works(host, &now)? == port, "{when}: another port");
        let up = seconds_up(host, &address)?;
        ensure!(up >= uptime, "{when}: the guest was up for {uptime} s and is for {up} s");
        Ok(())
    };
    same("its session was killed")?;

    // Killed at work: a listing, a log that is followed, a start of another machine at growing
    // delays, a stop that waits for the guest.
    host.ok(
        "for i in $(seq 10); do timeout -s KILL 0.0$i v vm ls >/dev/null; done; true",
        COMMAND,
    )?;
    host.ok("timeout -s KILL 1 v vm logs -f 1 >/dev/null; true", COMMAND)?;
    for delay in ["0.05", "0.2", "0.5", "1", "2"] {
        host.ok(&format!("timeout -s KILL {delay} v vm start --id 2; true"), COMMAND)?;
        // Killed or not, the same command again succeeds, or reports that it runs.
        let outcome = host.sh("v vm start --id 2", COMMAND)?;
        let started = matches!(outcome.code, 0 | 6);
        ensure!(started, "after a start killed at {delay} s: {}", outcome.stderr);
        expect_state(&host.machine("2")?, "running")?;
        // One for each machine, and none too many.
        let vmms = host.ok("pgrep -c cloud-hyperviso", COMMAND)?;
        ensure!(vmms.trim() == "2", "after a start killed at {delay} s: {vmms} processes");
        host.v("vm stop --force --id 2")?;
    }
    same("v was killed at work")?;

    // Upgraded: another file by the same name, the old one gone.
    host.ok(
        "set -e
        rm /usr/local/bin/v
        cp /opt/e2e/bin/v /usr/local/bin/v.new
        mv /usr/local/bin/v.new /usr/local/bin/v",
        COMMAND,
    )?;
    same("v was replaced")?;
    // And nothing that a machine needs is in it: no `v` at all for a while.
    host.ok("mv /usr/local/bin/v /usr/local/bin/v.away", COMMAND)?;
    seconds_up(host, &address)?;
    host.ok("mv /usr/local/bin/v.away /usr/local/bin/v", COMMAND)?;

    // Killed while it waits for a guest that ignores it: the machine is still in hand.
    host.in_guest_at(&address, "killall acpid")?;
    host.ok("timeout -s KILL 3 v vm stop --id 1; true", COMMAND)?;
    same("a stop was killed")?;

    no_orphans(host)?;
    unit_goes(stage, host)?;
    remove_all(host)
}

/// A machine started by a systemd unit, which has ended since: it runs on if the unit leaves it alone,
/// as packaging/systemd does.
fn unit_goes(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    let start = |property: &str| -> Result<Machine, Failure> {
        host.ok(
            &format!("systemd-run --quiet --collect -p Type=oneshot {property} v vm start --id 2"),
            COMMAND,
        )?;
        host.machine("2")
    };
    expect_state(&start("-p KillMode=process -p SendSIGKILL=no")?, "running")?;
    host.v("vm stop --force --id 2")?;
    if start("")?.state != "running" {
        // As when a VMM is killed: what it had is found, and swept.
        host.sh("v node check --repair", COMMAND)?;
        no_orphans(host)?;
        stage.note(
            "a systemd unit with its default KillMode takes the machines it started along when it \
             ends: packaging/systemd says KillMode=process",
        );
    }
    Ok(())
}

/// How long the guest has been up.
fn seconds_up(host: &Host, address: &str) -> Result<u64, Failure> {
    let text = host.in_guest_at(address, "cut -d. -f1 /proc/uptime")?;
    text.trim().parse().map_err(|_| Failure::new(format!("uptime in the guest: {text:?}")))
}
