//! The scenarios, each in a file of its name.

mod cloud_init;
mod ends;
mod firmware;
mod first_machine;
mod guest_ends_itself;
mod hangs;
mod healing;
mod host_goes_down;
mod lingering;
mod linux_bridge;
mod managed_network;
mod many_end;
mod neighbours;
mod power_button;
mod power_cut;
mod run_an_image;
mod supervised;
mod supervised_faults;
mod throughput;
mod user_network;
mod v_goes;
mod vhost_user;
mod vsock;

use std::time::Duration;

use serde::Deserialize;

use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Scenario, Stage, TINY};

/// All of them, the longest first, so that two at a time end together.
pub(crate) const ALL: &[Scenario] = &[
    scenario("power_cut", 240, power_cut::run),
    scenario("cloud_init", 400, cloud_init::run),
    scenario("first_machine", 90, first_machine::run),
    scenario("vhost_user", 150, vhost_user::run),
    scenario("vsock", 60, vsock::run),
    scenario("neighbours", 240, neighbours::run),
    scenario("power_button", 150, power_button::run),
    scenario("guest_ends_itself", 180, guest_ends_itself::run),
    scenario("v_goes", 180, v_goes::run),
    scenario("user_network", 240, user_network::run),
    scenario("run_an_image", 300, run_an_image::run),
    scenario("supervised", 300, supervised::run),
    scenario("supervised_faults", 150, supervised_faults::run),
    scenario("host_goes_down", 400, host_goes_down::run),
    scenario("ends", 300, ends::run),
];

/// Those that are only played when they are named: they take long, or show figures.
pub(crate) const BY_NAME: &[Scenario] = &[
    scenario("throughput", 1200, throughput::run),
    scenario("firmware", 600, firmware::run),
    scenario("linux_bridge", 700, linux_bridge::run),
    scenario("healing", 400, healing::run),
    scenario("managed_network", 400, managed_network::run),
    scenario("hangs", 200, hangs::run),
    scenario("many_end", 300, many_end::run),
    scenario("lingering", 200, lingering::run),
];

const fn scenario(
    name: &'static str,
    seconds: u64,
    run: fn(&Stage<'_>) -> Result<(), Failure>,
) -> Scenario {
    Scenario { name, takes: Duration::from_secs(seconds), run }
}

/// How long a small guest may take to come up. Alone on an idle machine: 12 s.
const UP: Duration = Duration::from_secs(300);

/// Waits until a small guest has its address, and names it.
fn wait_for_address(host: &Host, machine: &Machine) -> Result<String, Failure> {
    host.wait_for_serial(machine, "^tiny: address", UP)?;
    host.address(machine)
}

/// A small guest that counts its boots, with an address on the host's bridge: the machine `buzz`.
fn start_buzz(host: &Host) -> Result<(Machine, String), Failure> {
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [[template.vm.disk]]\nname = \"os\"\npath = \"/var/lib/virshle/cache/boots.raw\"\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    make_lan(host)?;
    host.v("vm create -t xs --name buzz --start")?;
    let machine = host.machine("buzz")?;
    let address = wait_for_address(host, &machine)?;
    Ok((machine, address))
}

/// Waits until a small guest answers on vsock.
fn wait_until_ready(host: &Host, machine: &Machine) -> Result<(), Failure> {
    host.wait_for_serial(machine, "^tiny: READY", UP)
}

/// The bridge of the machines, made by `v node init`, with the host and a DHCP server on it.
fn make_lan(host: &Host) -> Result<(), Failure> {
    // On a busy machine the emulated switch may take longer for its first bridge than `v` waits.
    if host.sh("v node init", COMMAND)?.code != 0 {
        host.v("node init")?;
    }
    host.ok("e2e-lan br0", COMMAND).map(drop)
}

/// Open vSwitch with DPDK, as the package's documentation says; pmd-maxsleep leaves this host's only
/// processor to others.
fn install_dpdk(host: &Host) -> Result<(), Failure> {
    host.ok(
        "set -e
        sysctl -q vm.nr_hugepages=384
        test $(cat /proc/sys/vm/nr_hugepages) = 384
        update-alternatives --quiet --set ovs-vswitchd /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
        ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . other_config:dpdk-init=true \
            other_config:pmd-maxsleep=1000
        systemctl restart ovs-vswitchd
        test $(ovs-vsctl --timeout=30 get Open_vSwitch . dpdk_initialized) = true",
        COMMAND,
    )
    .map(drop)
}

/// Installs the units of the packages, and enables that of the host.
fn install_units(host: &Host) -> Result<(), Failure> {
    host.ok(
        "set -e
        cp /opt/e2e/systemd/*.service /etc/systemd/system/
        sed -i 's,/usr/bin/v,/usr/local/bin/v,' /etc/systemd/system/virshle*.service
        mkdir -p /etc/systemd/system/virshle.service.d
        printf '[Unit]\nAfter=e2e-payload.service\n' >/etc/systemd/system/virshle.service.d/e2e.conf
        systemctl daemon-reload
        systemctl --quiet enable virshle
        sync",
        COMMAND,
    )
    .map(drop)
}

/// Removes every machine and looks for whatever they might have left.
fn remove_all(host: &Host) -> Result<(), Failure> {
    host.v("vm rm --all --force")?;
    nothing_is_left(host)
}

/// No process, port, tap, directory or hugepage of a machine is there.
fn nothing_is_left(host: &Host) -> Result<(), Failure> {
    let left = host.ok(
        r"
        pgrep -a cloud-hyperviso
        find /var/lib/virshle/vm -mindepth 1
        ovs-vsctl --timeout=10 --bare --columns=name,external_ids list Port | grep virshle-uuid
        ovs-vsctl --timeout=10 --bare --columns=name,external_ids list Interface | grep virshle-uuid
        ip -o link show | grep -E 'vm[0-9]+-|tap[0-9]|macvtap'
        true",
        COMMAND,
    )?;
    ensure!(left.trim().is_empty(), "left behind by machines that were removed:\n{left}");
    Ok(())
}

/// `v node check` finds nothing that belongs to no machine.
fn no_orphans(host: &Host) -> Result<(), Failure> {
    // It ends with 5 when the host lacks anything at all, a firmware for instance.
    let outcome = host.sh("v node check --json", COMMAND)?;
    let check: Check = serde_json::from_str(&outcome.stdout)
        .map_err(|error| Failure::new(format!("v node check --json: {error}\n{outcome:?}")))?;
    ensure!(check.orphans.is_empty(), "orphans are left: {:?}", check.orphans);
    Ok(())
}

/// What `v node check --json` prints.
#[derive(Debug, Deserialize)]
struct Check {
    orphans: Vec<serde_json::Value>,
}

/// The port of a machine works: Open vSwitch has given it a number, without an error.
fn port_works(host: &Host, machine: &Machine) -> Result<u64, Failure> {
    let port = machine.port()?;
    let script = format!("ovs-vsctl --timeout=10 get Interface {port} ofport error");
    let answer = host.ok(&script, COMMAND)?;
    let mut lines = answer.lines();
    let number = lines.next().and_then(|line| line.parse::<u64>().ok());
    ensure!(lines.next() == Some("[]"), "port {port} has an error: {answer}");
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| Failure::new(format!("port {port} has no number in Open vSwitch: {answer}")))
}

/// A machine that is in this state, or else a failure.
fn expect_state(machine: &Machine, state: &str) -> Result<(), Failure> {
    ensure!(machine.state == state, "{} is {}, not {state}", machine.name, machine.state);
    Ok(())
}

/// The process is in the scope of that name.
fn in_scope(host: &Host, pid: u32, name: &str) -> Result<(), Failure> {
    let cgroup = host.ok(&format!("cat /proc/{pid}/cgroup"), COMMAND)?;
    ensure!(
        cgroup.contains("/machine.slice/") && cgroup.contains(name),
        "process {pid} is in {cgroup}, not in {name}"
    );
    Ok(())
}
