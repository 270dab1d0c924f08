//! Three machines of one template see each other and the host, and none of another VLAN.

use super::{make_lan, remove_all, wait_for_address, wait_until_ready};
use crate::failure::{Failure, ensure};
use crate::host::Host;
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    let net = "[[template.vm.net]]\nname = \"main\"";
    let tap = "[template.vm.net.type.tap]";
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"here\"\n{TINY}\n{net}\n{tap}\n\
         [[template.vm]]\nname = \"elsewhere\"\n{TINY}\n{net}\nvlan = 20\n{tap}\n"
    ))?;
    make_lan(host)?;
    host.v("vm create -t here -n 3")?;
    host.v("vm create -t elsewhere -n 2")?;
    host.v("vm start --all")?;
    let machines = host.machines()?;
    let [a, b, c, x, y] = &machines[..] else {
        return Err(Failure::new(format!("five machines were made, {} are", machines.len())));
    };
    let mut addresses = Vec::new();
    for machine in [a, b, c] {
        addresses.push(wait_for_address(host, machine)?);
    }
    // No DHCP server is in that VLAN: its machines get addresses by hand.
    for (machine, address) in [(x, "10.77.0.201"), (y, "10.77.0.202")] {
        wait_until_ready(host, machine)?;
        host.in_guest_ok(machine, &format!("ip address add {address}/24 dev eth0"))?;
    }

    for (machine, own) in [a, b, c].into_iter().zip(&addresses) {
        for address in addresses.iter().chain([&"10.77.0.1".to_owned()]).filter(|a| *a != own) {
            ensure!(reaches(host, machine, address)?, "{} can't reach {address}", machine.name);
        }
        for address in ["10.77.0.201", "10.77.0.202"] {
            ensure!(!reaches(host, machine, address)?, "{} reaches VLAN 20", machine.name);
        }
    }
    ensure!(reaches(host, x, "10.77.0.202")?, "VLAN 20 is no network of its own");
    for address in addresses.iter().map(String::as_str).chain(["10.77.0.1"]) {
        ensure!(!reaches(host, x, address)?, "{address} answers to a machine of VLAN 20");
    }
    // Not by IPv6 either, which needs no address by hand: only the other one of VLAN 20 answers.
    let answers = host.in_guest_ok(x, "ping -c 3 -W 2 -I eth0 ff02::1 || true")?;
    for machine in [a, b, c] {
        let suffix = link_local_suffix(machine)?;
        ensure!(!answers.contains(&suffix), "{} answers to VLAN 20:\n{answers}", machine.name);
    }
    remove_all(host)
}

/// Whether the guest gets an answer from the address.
fn reaches(host: &Host, machine: &Machine, address: &str) -> Result<bool, Failure> {
    // An answer ends it at once; two seconds of silence are long on a bridge in memory.
    let outcome = host.in_guest(machine, &format!("ping -c 2 -W 2 -A {address}"))?;
    ensure!(outcome.code == 0 || outcome.code == 1, "ping ended with {}", outcome.code);
    Ok(outcome.code == 0)
}

/// The end of the IPv6 link-local address that follows from the MAC address.
fn link_local_suffix(machine: &Machine) -> Result<String, Failure> {
    let mac = machine.mac()?;
    let parts: Vec<_> = mac.split(':').collect();
    let [_, _, _, d, e, f] = parts[..] else {
        return Err(Failure::new(format!("no MAC address: {mac}")));
    };
    Ok(format!("{}:{e}{f}", d.trim_start_matches('0')))
}
