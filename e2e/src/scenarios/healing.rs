//! The switch is restarted, and loses its database, under traffic; and a guest that forges all that it can
//! reaches nobody. systemd runs the host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{UP, install_units, make_lan, remove_all, wait_for_address};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

/// How long connections may be gone, in milliseconds.
const BACK_IN: u64 = 5_000;
/// The addresses that the machines have by their definitions; the guests set them by hand.
const FORGER: &str = "10.77.0.211";
const PEER: &str = "10.77.0.212";

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    let template = |name: &str, address: &str| {
        format!(
            "[[template.vm]]\nname = \"{name}\"\n{TINY}\n[[template.vm.net]]\nname = \"main\"\n\
             address = \"{address}/24\"\n[template.vm.net.type.tap]\n"
        )
    };
    let passt = std::env::var_os("E2E_PASST").map(PathBuf::from);
    let alone = format!(
        "[[template.vm]]\nname = \"alone\"\n{TINY}\n[[template.vm.net]]\nname = \"main\"\n"
    );
    let templates = [template("forger", FORGER), template("peer", PEER), alone].concat();
    host.configure(&format!("{SYSTEM_BRIDGE}\n{templates}"))?;
    install_units(host)?;
    host.ok("systemctl --quiet enable virshle-heal", COMMAND)?;
    make_lan(host)?;
    host.v("vm create -t forger --name forger --start")?;
    host.v("vm create -t peer --name peer --start")?;
    let [forger, peer] = ["forger", "peer"].map(|name| host.machine(name));
    let (forger, peer) = (forger?, peer?);
    for (machine, address) in [(&forger, FORGER), (&peer, PEER)] {
        wait_for_address(host, machine)?;
        let set = format!(
            "ip address flush dev eth0 scope global; killall udhcpc; ip address add {address}/24 dev eth0"
        );
        host.in_guest_ok(machine, &set)?;
    }
    ensure!(reaches(host, &forger, PEER)?, "the two don't reach each other to begin with");
    let table = host.v("net ls")?;
    let wide = table.lines().find(|line| line.chars().count() > 80);
    ensure!(wide.is_none() && table.contains("forger"), "v net ls:\n{table}");

    forges(stage, host, &forger, &peer)?;
    for (what, script) in [
        ("restarted", "systemctl restart ovs-vswitchd"),
        (
            "killed",
            "kill -9 $(cat /run/openvswitch/ovs-vswitchd.pid); sleep 1; systemctl restart ovs-vswitchd",
        ),
        (
            "without its database",
            "systemctl stop ovs-vswitchd ovsdb-server; rm -f /etc/openvswitch/conf.db; \
             systemctl start ovs-vswitchd",
        ),
    ] {
        let took = back_after(host, &forger, script)?;
        stage.note(format!("the switch {what}: the guests reach each other again after {took} ms"));
        ensure!(took <= BACK_IN, "with the switch {what}: {took} ms");
        // The guard is there again, too.
        let before = dropped(host, "forger")?;
        let heard = forge(host, &forger, &peer, "ether 52:54:00:00:00:bb", FORGE_MAC)?;
        ensure!(heard == 0, "with the switch {what} the guard lets {heard} forged frames pass");
        ensure!(dropped(host, "forger")? > before, "with the switch {what} the guard is gone");
        ensure!(reaches(host, &forger, PEER)?, "with the switch {what} they are apart again");
    }
    match passt {
        Some(passt) => passt_dies(stage, host, &passt)?,
        None => stage.note("without a passt that knows vhost-user, none has died"),
    }
    let pids = (host.machine("forger")?.pid, host.machine("peer")?.pid);
    ensure!(pids == (forger.pid, peer.pid), "a machine was restarted");
    remove_all(host)
}

/// Runs `script` while the first guest pings the other one; how long it had no answer, in milliseconds.
fn back_after(host: &Host, forger: &Machine, script: &str) -> Result<u64, Failure> {
    // Each answer is a line with its time; the ping goes on while the switch is away.
    let ping = format!(
        "(for i in $(seq 1200); do ping -c 1 -W 1 {PEER} >/dev/null 2>&1 && cut -d' ' -f1 /proc/uptime; \
         sleep 0.1; done) >/run/pings 2>/dev/null & echo $! >/run/pinger"
    );
    host.in_guest_ok(forger, &ping)?;
    host.ok(&format!("sleep 3; {script}"), COMMAND)?;
    let lines = || -> Result<Vec<f64>, Failure> {
        let text = host.in_guest_ok(forger, "cat /run/pings")?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    };
    let before = lines()?.len();
    host.ok("sleep 15", COMMAND)?;
    let times = lines()?;
    host.in_guest_ok(forger, "kill $(cat /run/pinger)")?;
    ensure!(times.len() > before.max(5), "the guests don't reach each other any more: {times:?}");
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]) * 1000.0);
    let longest = gaps.fold(0.0_f64, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds of a minute"
    )]
    Ok(longest as u64)
}

const FORGE_MAC: &str = "ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:bb; \
                         ip link set eth0 up; ping -c 3 -W 1 10.77.0.212; ip link set eth0 down; \
                         ip link set eth0 address $MAC; ip link set eth0 up; true";

/// What the guest forges, how it would be seen at another's port, and its commands; MAC is its own address.
/// None changes the guest for good.
const FORGERIES: [(&str, &str, &str); 5] = [
    ("mac", "ether 52:54:00:00:00:bb", FORGE_MAC),
    (
        "arp",
        "arp host 10.77.0.1 ether MAC",
        // It takes only an address of its own as the sender's.
        "ip address add 10.77.0.1/32 dev lo; arping -U -c 3 -I eth0 -s 10.77.0.1 10.77.0.1; \
         arping -A -c 3 -I eth0 -s 10.77.0.1 10.77.0.1; ip address del 10.77.0.1/32 dev lo",
    ),
    // An advertisement for fe80::99, to all nodes, which leads to another MAC address.
    (
        "nd",
        "icmp ip6 host ff02::1 ether MAC",
        "sleep 3; for i in 1 2 3; do printf '\\210\\0\\0\\0\\040\\0\\0\\0\\376\\200\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\231\\002\\001\\122\\124\\0\\0\\0\\273' | \
         socat -u - 'IP6-SENDTO:[ff02::1]:58,so-bindtodevice=eth0'; done",
    ),
    (
        "dhcp",
        "udp port 67 ether MAC",
        "for i in 1 2 3; do echo offer | socat -u - UDP4-DATAGRAM:10.77.0.212:68,bind=:67; done",
    ),
    // A router that is there for half an hour.
    (
        "ra",
        "icmp ip6 host ff02::1 ether MAC",
        "for i in 1 2 3; do printf '\\206\\0\\0\\0\\100\\0\\007\\010\\0\\0\\0\\0\\0\\0\\0\\0' | \
         socat -u - 'IP6-SENDTO:[ff02::1]:58,so-bindtodevice=eth0'; done",
    ),
];

/// Nothing that the first guest forges reaches the other one, and the guard counts it.
fn forges(stage: &Stage<'_>, host: &Host, forger: &Machine, peer: &Machine) -> Result<(), Failure> {
    // What is genuine is seen where what is forged is not.
    let pinged = forge(host, forger, peer, "icmp ip ether MAC", "ping -c 3 10.77.0.212")?;
    ensure!(pinged >= 3, "of three pings {pinged} are seen at the other's port");
    let mut counted = Vec::new();
    for (what, filter, script) in FORGERIES {
        let before = dropped(host, "forger")?;
        let heard = forge(host, forger, peer, filter, script)?;
        ensure!(heard == 0, "{heard} forged packets ({what}) have left by the other's port");
        let mut more = 0;
        // The switch gathers its figures about once a second.
        for _ in 0..10 {
            more = dropped(host, "forger")?.saturating_sub(before);
            if more >= 3 {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        if more < 3 {
            let guest = host.in_guest_ok(forger, "ip address; ip route; ip neigh")?;
            let message = format!("of three forged packets ({what}) the guard has counted {more}");
            return Err(Failure::new(format!("{message}; its guest:\n{guest}")));
        }
        counted.push(format!("{what} {more}"));
    }
    stage.note(format!("dropped by the guard: {}", counted.join(", ")));
    let neighbours = host.in_guest_ok(peer, "ip neigh; ip -6 route")?;
    ensure!(!neighbours.contains("52:54:00:00:00:bb"), "the peer believes it:\n{neighbours}");
    ensure!(!neighbours.contains("default"), "the peer has a router:\n{neighbours}");
    let again = reaches(host, forger, PEER)?;
    ensure!(again, "the forger reaches nobody any more, not even as itself");
    Ok(())
}

/// Lets the guest do something, and how many of its frames that fit have gone out by the other's port.
fn forge(
    host: &Host,
    forger: &Machine,
    peer: &Machine,
    filter: &str,
    script: &str,
) -> Result<u64, Failure> {
    let filter = filter.replace("MAC", forger.mac()?);
    let watch = format!(
        "rm -f /run/forged; v net capture {} --pcap /run/forged.pcap {filter} >/run/forged 2>&1 & \
         echo $! >/run/watcher; e2e-await /run/forged capturing 60",
        peer.name
    );
    host.ok(&watch, COMMAND)?;
    let own = forger.mac()?;
    let outcome = host.in_guest(forger, &format!("MAC={own}; {script}"))?;
    ensure!(outcome.code == 0, "{script} ended with {}: {}", outcome.code, outcome.stderr);
    let count = host.ok(
        "sleep 1; kill $(cat /run/watcher); e2e-await /run/forged '^[0-9]* frames' 60; \
         sed -n 's/^\\([0-9]*\\) frames$/\\1/p' /run/forged",
        COMMAND,
    )?;
    count.trim().parse().map_err(|error| Failure::new(format!("{count:?}: {error}")))
}

/// What the guard of a machine has dropped, as `v net ls` shows it.
fn dropped(host: &Host, machine: &str) -> Result<u64, Failure> {
    // Counters of the kernel's flows are collected once a second.
    let script = format!(
        "sleep 2; ovs-appctl --timeout=10 revalidator/wait; v net ls --json | jq '[.[].ports[] | select(.machine == \"{machine}\").guard.dropped] | add'"
    );
    let text = host.ok(&script, COMMAND)?;
    text.trim().parse().map_err(|error| Failure::new(format!("v net ls --json: {text:?}: {error}")))
}

/// Whether the guest gets an answer from the address.
fn reaches(host: &Host, machine: &Machine, address: &str) -> Result<bool, Failure> {
    Ok(host.in_guest(machine, &format!("ping -c 2 -W 2 -A {address}"))?.code == 0)
}

/// A passt that dies is replaced by itself, and its guest reaches out again; when the guest powers itself off
/// its passt ends with it.
fn passt_dies(stage: &Stage<'_>, host: &Host, passt: &Path) -> Result<(), Failure> {
    host.copy(passt, "/opt/passt")?;
    host.ok(
        "chmod 755 /opt/passt; ln -sf /opt/passt/passt /usr/local/bin/passt
        setsid socat TCP-LISTEN:7001,bind=10.0.2.15,fork,reuseaddr 'SYSTEM:echo outside' >/dev/null 2>&1 &",
        COMMAND,
    )?;
    host.v("vm create -t alone --name alone --start")?;
    let alone = host.machine("alone")?;
    host.wait_for_serial(&alone, "^tiny: address", UP)?;
    let out = "nc -w 5 10.0.2.15 7001 </dev/null";
    let said = host.in_guest(&alone, out)?.stdout;
    ensure!(said.trim() == "outside", "it does not reach out to begin with: {said:?}");
    // What sets up NICs that appear is its distribution's; this one has nothing for that.
    let watch = "(while sleep 1; do ip link show eth0 2>/dev/null | grep -q ,UP || { ip link set eth0 up && \
                 udhcpc -b -S -t 20 -T 1 -A 2 -i eth0 -s /etc/udhcpc.script; }; done) >/dev/null 2>&1 &";
    host.in_guest_ok(&alone, watch)?;
    let pid = "v vm info alone --json | jq '.nets[0].user.passt_pid'";
    let script = format!(
        "old=$({pid}); systemctl is-active --quiet virshle-alone:main:$old.scope || exit 3
        begin=$(date +%s%3N); kill -9 $old
        until new=$({pid}); [ \"$new\" != null ] && [ \"$new\" != $old ] && \
            systemctl is-active --quiet virshle-alone:main:$new.scope; do
            [ $(($(date +%s%3N) - begin)) -lt 30000 ] || exit 1
            sleep 0.1
        done
        echo $(($(date +%s%3N) - begin))"
    );
    let took = host.ok(&script, COMMAND)?;
    let mut said = String::new();
    for _ in 0..20 {
        said = host.in_guest(&alone, out)?.stdout;
        if said.trim() == "outside" {
            break;
        }
        host.ok("sleep 1", COMMAND)?;
    }
    ensure!(said.trim() == "outside", "it does not reach out after its passt's death: {said:?}");
    stage.note(format!("a passt that was killed was there again after {} ms", took.trim()));
    ensure!(host.machine("alone")?.pid == alone.pid, "it has another VMM");
    host.in_guest(&alone, "poweroff")?;
    let gone = format!(
        "timeout 60 tail --pid={} -f /dev/null; for i in $(seq 100); do pgrep -f '[v]host-user --socket' \
         >/dev/null || exit 0; sleep 0.1; done; systemctl list-units 'virshle-*'; exit 1",
        alone.pid.unwrap_or_default()
    );
    host.ok(&gone, COMMAND).map(drop)
}
