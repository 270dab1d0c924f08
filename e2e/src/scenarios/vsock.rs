//! Into a machine that has no network at all, by vsock.

use super::{expect_state, remove_all, wait_until_ready};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    // Nothing but the program: a machine without a network needs no Open vSwitch either.
    host.ok("systemctl stop ovs-vswitchd ovsdb-server", COMMAND)?;
    host.configure(&format!("[[template.vm]]\nname = \"alone\"\n{TINY}\n"))?;
    host.v("vm create -t alone --name hermit --start")?;
    let machine = host.machine("hermit")?;
    expect_state(&machine, "running")?;
    ensure!(machine.nets.is_empty(), "the machine has a network: {:?}", machine.nets);
    wait_until_ready(host, &machine)?;
    let interfaces = host.in_guest_ok(&machine, "ls /sys/class/net")?;
    ensure!(interfaces.trim() == "lo", "the guest's interfaces: {interfaces:?}");
    host.v("vm wait hermit --for ssh --timeout 60s")?;
    let by_v = host.v("vm ssh hermit -- ls /sys/class/net")?;
    ensure!(by_v.trim() == "lo", "v vm ssh gives {by_v:?}");
    host.v("vm stop hermit")?;
    host.ok("systemctl start ovsdb-server ovs-vswitchd", COMMAND)?;
    remove_all(host)
}
