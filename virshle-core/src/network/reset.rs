//! Takes the managed network away. What machines have of it in their definitions stays.

use std::fs;
use std::io::ErrorKind;

use virshle_net::{Device, HostAddress, ManagedNetwork, Ruleset, RulesetState};

use crate::fs::file::remove_if_there;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::network::applied::Applied;
use crate::network::hosts::gone_directory;
use crate::network::settings::{self, failed, lock, refused, writing};
use crate::network::{dnsmasq, resolved};

const DOING: &str = "take the managed network away";

/// What was taken away, or would be.
pub(crate) fn look(node: &Node) -> Result<Vec<String>, MachineError> {
    let Some((network, applied)) = applied(node) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    if !virshle_net::Dnsmasq::all(&network).map_err(failed(DOING))?.is_empty() {
        found.push("dnsmasq (DHCP, router advertisements, DNS)".to_owned());
    }
    let rules = Ruleset::read(&network).map_err(failed(DOING))?;
    if is_ours(&rules.state) {
        found.push(format!("table inet {} of nftables", network.table));
    }
    let there = HostAddress::list().map_err(refused(DOING, "list the host's addresses".into()))?;
    for (ip, prefix_len) in &applied.addresses {
        let is_it = |address: &HostAddress| {
            address.device == applied.bridge
                && (address.ip, address.prefix_len) == (*ip, *prefix_len)
        };
        if there.iter().any(is_it) {
            found.push(format!("address {ip}/{prefix_len} of {}", applied.bridge));
        }
    }
    for family in &applied.turned_on {
        found.push(format!("forwarding by this host ({})", family.forwarding().setting()));
    }
    found.push(format!("what is in {}", network.directory.display()));
    Ok(found)
}

fn is_ours(state: &RulesetState) -> bool {
    matches!(state, RulesetState::Whole | RulesetState::Other)
}

/// The network that was applied, with what that was: the configuration may be another one by now.
fn applied(node: &Node) -> Option<(ManagedNetwork, Applied)> {
    let directory = settings::directory(node);
    let applied = Applied::read(&directory)?;
    let mut network = settings::find(node).or_else(|| {
        let subnet = virshle_net::ServedSubnet::new(std::net::Ipv4Addr::UNSPECIFIED, 24, None);
        let bridge = applied.bridge.parse().ok()?;
        let mut network = ManagedNetwork::new(bridge, subnet, &directory);
        network.nft.clone_from(&node.config().network.nft);
        Some(network)
    })?;
    network.bridge = applied.bridge.parse().ok()?;
    network.table.clone_from(&applied.table);
    Some((network, applied))
}

/// The machines that run on the managed network.
pub(crate) fn users(node: &Node) -> Result<Vec<VmName>, MachineError> {
    let uses = |vm: &Vm| vm.definition().nets.iter().any(|net| net.managed.is_some());
    let mut names = Vec::new();
    for uuid in node.store().uuids()? {
        let Ok(vm) = node.vm(uuid) else { continue };
        if uses(&vm) && vm.state() != VmState::Stopped {
            names.push(vm.name().clone());
        }
    }
    Ok(names)
}

/// Takes it away, in the opposite order in which it was set up; what is gone already is passed over.
pub(crate) fn reset(node: &Node) -> Result<(), MachineError> {
    if applied(node).is_none() {
        return Ok(());
    }
    let _lock = lock(node)?;
    let Some((network, applied)) = applied(node) else { return Ok(()) };
    resolved::revert(&applied.bridge);
    dnsmasq::end(&network)?;
    if Device::find(&network.bridge).is_ok_and(|device| device.is_some()) {
        // Before the rules go, which keep guests from the host's loopback.
        Device::unmanage(&network.bridge).map_err(failed(DOING))?;
        for (ip, prefix_len) in &applied.addresses {
            let action = format!("take {ip}/{prefix_len} from {}", network.bridge);
            HostAddress::remove(&network.bridge, *ip, *prefix_len)
                .map_err(refused(DOING, action))?;
        }
    }
    let rules = Ruleset::read(&network).map_err(failed(DOING))?;
    if is_ours(&rules.state) {
        Ruleset::remove(&network).map_err(failed(DOING))?;
    }
    for family in &applied.turned_on {
        family.forwarding().set(false).map_err(failed(DOING))?;
    }
    for directory in
        [network.hosts_directory(), network.names_directory(), gone_directory(&network)]
    {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(writing(&directory)(error));
            }
            _ => {}
        }
    }
    for file in [network.config_file(), network.pid_file(), network.lease_file()] {
        remove_if_there(&file).map_err(writing(&file))?;
    }
    // The last: until here it can be run again.
    Applied::forget(&network.directory)
}
