//! Sets the managed network up, as far as it isn't there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{Gid, Mode, OFlags};
use virshle_net::{
    AccessRights, Account, Asking, Device, FileAccess, HostAddress, ManagedNetwork, Ruleset,
    RulesetState, check_dnsmasq, check_nft, conflicts, obstacles,
};

use crate::fs::file::ensure_directory;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::network::applied::{Applied, Family, addresses};
use crate::network::hosts::{self, gone_directory, write_file};
use crate::network::parts::{account, forwardings, look};
use crate::network::ports::of_running;
use crate::network::settings::{
    self, device_failed, failed, has_content, keep_prefix, lock, refused, writing,
};
use crate::network::{dnsmasq, resolved};

const DOING: &str = "set up the managed network";

/// Makes sure that the managed network can be set up here. Nothing is changed.
pub(crate) fn check(network: &ManagedNetwork) -> Result<(), MachineError> {
    if !rustix::process::geteuid().is_root() {
        return Err(MachineError::NotRoot);
    }
    check_nft(&network.nft).map_err(failed(DOING))?;
    check_dnsmasq(&network.dnsmasq).map_err(failed(DOING))?;
    let found = conflicts(network, &former(network)).map_err(failed(DOING))?;
    if found.is_empty() { Ok(()) } else { Err(MachineError::Conflicts { conflicts: found }) }
}

/// The host's addresses in the network as it was set up last.
pub(crate) fn former(network: &ManagedNetwork) -> Vec<(std::net::IpAddr, u8)> {
    Applied::read(&network.directory).map(|applied| applied.addresses).unwrap_or_default()
}

/// Sets up what is missing, and returns what that was. The bridge is there.
pub(crate) fn apply(node: &Node) -> Result<Vec<String>, MachineError> {
    apply_if(node, |_| true)
}

/// The same for a network that was set up before, and was not taken away since.
pub(crate) fn apply_again(node: &Node) -> Result<Vec<String>, MachineError> {
    apply_if(node, |network| Applied::read(&network.directory).is_some())
}

/// The same if `wanted` says so while the network is locked.
fn apply_if(
    node: &Node,
    wanted: impl Fn(&ManagedNetwork) -> bool,
) -> Result<Vec<String>, MachineError> {
    let Some(mut network) = settings::plan(node) else { return Ok(Vec::new()) };
    check(&network)?;
    let _lock = lock(node)?;
    if !wanted(&network) {
        return Ok(Vec::new());
    }
    keep_prefix(node, &mut network)?;
    let missing: Vec<String> =
        look(&network)?.into_iter().filter(|part| part.is_missing).map(|part| part.what).collect();
    if !missing.is_empty() {
        set_up(node, &network)?;
        for obstacle in obstacles(&network).map_err(failed(DOING))? {
            tracing::warn!("{obstacle}: {}", obstacle.hint());
        }
    }
    Ok(missing)
}

/// Sets all of it up. The caller holds the network's lock.
fn set_up(node: &Node, network: &ManagedNetwork) -> Result<(), MachineError> {
    let account = account()?;
    record(network)?;
    ensure_directories(node, network, &account)?;
    let config = network.dnsmasq_config(&account);
    let mut restart = !has_content(&network.config_file(), &config);
    if restart {
        write_file(network, &network.config_file(), &config)?;
    }
    restart |= give_addresses(network)?;
    let rules = Ruleset::read(network).map_err(failed(DOING))?;
    if rules.state != RulesetState::Whole {
        Ruleset::make(network, &of_running(node, network)?).map_err(failed(DOING))?;
    }
    for forwarding in forwardings(network) {
        if !forwarding.is_on().map_err(failed(DOING))? {
            forwarding.set(true).map_err(failed(DOING))?;
        }
    }
    // Behind the rules, which keep guests from the host's loopback.
    Device::manage(&network.bridge).map_err(failed(DOING))?;
    if restart {
        // It has its sockets at a device that may be another one by now.
        dnsmasq::end(network)?;
    }
    if virshle_net::Dnsmasq::find(network).is_none() {
        // One that has lost the file with its process id has the ports.
        dnsmasq::end(network)?;
        dnsmasq::start(node, network)?;
    }
    if resolved::runs() && !resolved::is_asking(network) {
        resolved::ask(network);
    }
    Ok(())
}

/// Records what is about to be applied, beside what was before: what of that isn't wanted any more is taken
/// away.
fn record(network: &ManagedNetwork) -> Result<(), MachineError> {
    let before = Applied::read(&network.directory).unwrap_or_default();
    let mut now = Applied::of(network);
    now.turned_on.clone_from(&before.turned_on);
    let families = [Family::Ipv4, Family::Ipv6];
    for (family, forwarding) in families.into_iter().zip(forwardings(network)) {
        let is_on = forwarding.is_on().map_err(failed(DOING))?;
        if !is_on && !now.turned_on.contains(&family) {
            now.turned_on.push(family);
        }
    }
    if before == now {
        return Ok(());
    }
    if let Ok(bridge) = before.bridge.parse() {
        let is_other = before.bridge != now.bridge;
        for (ip, prefix_len) in &before.addresses {
            if is_other || !now.addresses.contains(&(*ip, *prefix_len)) {
                let action = format!("take {ip}/{prefix_len} from {bridge}");
                HostAddress::remove(&bridge, *ip, *prefix_len).map_err(refused(DOING, action))?;
            }
        }
        if is_other {
            Device::unmanage(&bridge).map_err(failed(DOING))?;
        }
    }
    now.write(&network.directory)
}

/// Makes the directories that dnsmasq reads, and lets it reach them.
fn ensure_directories(
    node: &Node,
    network: &ManagedNetwork,
    account: &Account,
) -> Result<(), MachineError> {
    let group = Some(Gid::from_raw(account.gid));
    let of_dnsmasq =
        [network.directory.clone(), network.hosts_directory(), network.names_directory()];
    for directory in &of_dnsmasq {
        ensure_directory(directory, 0o750)?;
        rustix::fs::chown(directory, None, group)
            .map_err(|errno| writing(directory)(errno.into()))?;
        fs::set_permissions(directory, Permissions::from_mode(0o750))
            .map_err(writing(directory))?;
    }
    ensure_directory(&gone_directory(network), 0o750)?;
    // On the way there is what is nobody else's: it may pass, and see nothing.
    for directory in node.root().ancestors() {
        let grant = || -> std::io::Result<()> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let place = rustix::fs::open(directory, flags, Mode::empty())?;
            let mut access = FileAccess::of(&place)?;
            let asking = Asking { uid: account.uid, gids: &[account.gid] };
            if access.allows(&asking, AccessRights::SEARCH) {
                return Ok(());
            }
            access.grant_user(account.uid, AccessRights::SEARCH)
        };
        grant().map_err(writing(directory))?;
    }
    Ok(())
}

/// Gives the bridge's interface its addresses, and sets it up. True if it had not all of them.
fn give_addresses(network: &ManagedNetwork) -> Result<bool, MachineError> {
    let bridge = &network.bridge;
    let mut made = false;
    let device = Device::find(bridge).map_err(device_failed(DOING))?;
    if device.is_none_or(|device| !device.is_up) {
        Device::set_up(bridge).map_err(device_failed(DOING))?;
    }
    for (ip, prefix_len) in addresses(network) {
        let action = format!("give {bridge} the address {ip}/{prefix_len}");
        let change = HostAddress::add(bridge, ip, prefix_len).map_err(refused(DOING, action))?;
        made |= change == virshle_net::Change::Made;
    }
    Ok(made)
}

/// Makes sure that the managed network serves a machine that is about to start: what a restart of the switch
/// or of the host has taken is set up again. Looks at what is quick to see.
pub(crate) fn ensure(node: &Node) -> Result<(), MachineError> {
    let Some(network) = settings::find(node) else { return Ok(()) };
    let there = HostAddress::list().map_err(refused(DOING, "list the host's addresses".into()))?;
    let has_address = addresses(&network).iter().all(|(ip, prefix_len)| {
        there.iter().any(|address| {
            address.device == network.bridge.as_str()
                && (address.ip, address.prefix_len) == (*ip, *prefix_len)
        })
    });
    if has_address && virshle_net::Dnsmasq::find(&network).is_some() {
        return Ok(());
    }
    let missing = apply(node)?;
    if !missing.is_empty() {
        tracing::warn!(missing = missing.join("; "), "the managed network was set up");
    }
    hosts::register_all(node)
}
