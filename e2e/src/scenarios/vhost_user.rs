//! A machine on the userspace datapath, by vhost-user through Open vSwitch with DPDK: packets flow
//! both ways.

use super::{install_dpdk, make_lan, port_works, remove_all, wait_for_address};
use crate::failure::{Failure, While};
use crate::host::{COMMAND, Host};
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    install_dpdk(host)?;
    host.configure(&format!(
        "[network]\ndatapath = \"netdev\"\n[[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.vhost]\n"
    ))?;
    make_lan(host)?;
    host.v("vm create -t xs")?;
    host.v("vm start --id 1")?;
    let machine = host.machine("1")?;
    port_works(host, &machine)?;
    let address = wait_for_address(host, &machine)?;
    host.ok(&format!("ping -c 3 -W 10 {address}"), COMMAND)?;

    // 1 MiB in, 1 MiB out, whole.
    host.ok(
        &format!(
            "set -e
            head -c 1048576 /dev/urandom >/tmp/out
            ssh root@{address} 'cat >/tmp/in' </tmp/out
            ssh root@{address} cat /tmp/in >/tmp/back
            cmp /tmp/out /tmp/back"
        ),
        COMMAND,
    )?;
    // Open vSwitch counts for itself every few seconds.
    host.ok(
        &format!(
            "ovs-vsctl --timeout=60 wait-until Interface {} \
             'statistics:rx_bytes>1048576' 'statistics:tx_bytes>1048576'",
            machine.port()?
        ),
        COMMAND,
    )
    .doing(|| "after 1 MiB each way the port doesn't count that much".to_owned())?;
    host.v("vm stop --id 1")?;
    remove_all(host)
}
