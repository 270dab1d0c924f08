//! Checks the managed network: its programs, its parts, what is in its way, and what dnsmasq knows.

use virshle_net::{ManagedNetwork, Ruleset, check_dnsmasq, check_nft, conflicts, obstacles};

use crate::failure::Remedy;
use crate::host::check::finding::{Finding, Level, text};
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::state::VmState;
use crate::network::addresses::lacks_address;
use crate::network::apply::former;
use crate::network::hosts::{is_registered, registered};
use crate::network::parts::look;
use crate::network::ports::{holder, ports};
use crate::network::settings;

const SUBJECT: &str = "managed network";

/// The managed network, if there is to be one.
pub(super) fn check_managed(node: &Node) -> Vec<Finding> {
    let Some(network) = settings::plan(node) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut program = |subject: &str, checked: Result<String, virshle_net::ManagedError>| {
        findings.push(match checked {
            Ok(version) => Finding::good(subject, version),
            Err(error) => Finding::leaf(Level::Missing, subject, &error, error.hint()),
        });
    };
    program("nft", check_nft(&network.nft));
    program("dnsmasq", check_dnsmasq(&network.dnsmasq));
    if findings.iter().any(|finding| finding.level != Level::Good) {
        return findings;
    }
    if !rustix::process::geteuid().is_root() {
        findings.push(Finding::failure(Level::Warning, SUBJECT, &MachineError::NotRoot));
        return findings;
    }
    findings.extend(check_parts(node, &network));
    findings
}

fn check_parts(node: &Node, network: &ManagedNetwork) -> Vec<Finding> {
    let mut findings = Vec::new();
    match conflicts(network, &former(network)) {
        Ok(found) => findings.extend(found.into_iter().map(|conflict| {
            Finding::bad(Level::Missing, SUBJECT, conflict.to_string(), text(conflict.hint()))
        })),
        Err(error) => findings.push(Finding::leaf(Level::Missing, SUBJECT, &error, error.hint())),
    }
    match look(network) {
        Ok(parts) => {
            let missing: Vec<String> =
                parts.into_iter().filter(|part| part.is_missing).map(|part| part.what).collect();
            if !missing.is_empty() {
                let message = format!("missing: {}", missing.join("; "));
                findings.push(Finding::bad(Level::Missing, SUBJECT, message, Remedy::InitNode));
            }
        }
        Err(error) => findings.push(Finding::failure(Level::Missing, SUBJECT, &error)),
    }
    match obstacles(network) {
        Ok(found) => findings.extend(found.into_iter().map(|obstacle| {
            Finding::bad(Level::Warning, "firewall", obstacle.to_string(), text(obstacle.hint()))
        })),
        Err(error) => {
            findings.push(Finding::leaf(Level::Warning, "firewall", &error, error.hint()));
        }
    }
    findings.extend(check_machines(node, network));
    if findings.is_empty() {
        let subnet = &network.subnet;
        let v6 = subnet.prefix6().map(|prefix| format!(" and {prefix}/64")).unwrap_or_default();
        let message = format!("{subnet}{v6} on {}", network.bridge);
        findings.push(Finding::good(SUBJECT, message));
    }
    findings
}

/// What dnsmasq and the rules have of machines.
fn check_machines(node: &Node, network: &ManagedNetwork) -> Vec<Finding> {
    let Ok(uuids) = node.store().uuids() else { return Vec::new() };
    let vms: Vec<Vm> = uuids.iter().filter_map(|uuid| node.vm(*uuid).ok()).collect();
    let lacks = |vm: &&Vm| {
        vm.definition().nets.iter().any(|net| lacks_address(network, net))
            || !is_registered(network, vm)
    };
    let mut wrong: Vec<String> = vms
        .iter()
        .filter(lacks)
        .map(|vm| format!("machine {} is not known to dnsmasq", vm.name()))
        .collect();
    let stale = registered(network).into_iter().filter(|uuid| !uuids.contains(uuid));
    wrong.extend(stale.map(|uuid| format!("dnsmasq knows a machine {uuid}, which is not there")));
    if let Ok(rules) = Ruleset::read(network) {
        for vm in vms.iter().filter(|vm| vm.state() == VmState::Running) {
            let lost = ports(network, vm).into_iter().any(|port| !rules.ports.contains(&port));
            if lost {
                wrong.push(format!("machine {} runs, and its ports are not published", vm.name()));
            }
        }
        for port in &rules.ports {
            let vm = holder(node, network, port);
            if vm.is_none_or(|vm| vm.state() == VmState::Stopped) {
                let (host, guest) = (port.host_port, port.guest);
                wrong.push(format!("port {host} leads to {guest}, where no machine runs"));
            }
        }
    }
    let finding = |message| Finding::bad(Level::Warning, SUBJECT, message, Remedy::RepairNode);
    wrong.into_iter().map(finding).collect()
}
