//! What dnsmasq knows of machines: a file with the addresses of each, and one with its names. It reads a
//! new one at once.
//!
//! A lease is bound to who got it. Another machine of the same name has the same address, and another MAC
//! address and identifier: so the file of a machine that is removed is kept in `gone`, and when its address
//! is given again, its lease is taken out first.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, fchown};
use uuid::Uuid;
use virshle_net::{Account, Dnsmasq, ManagedNetwork};

use crate::fs::file::{create_private, read_untrusted, remove_if_there};
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::network::addresses::{managed_nets, of_net};
use crate::network::settings::{failed, has_content, lock, writing};
use crate::network::{dnsmasq, settings};
use crate::store::layout::canonical;

/// The most of a file of a machine that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// The most of dnsmasq's leases that is read, in bytes: a hundred thousand of them.
const MAX_LEASES: u64 = 16 << 20;

/// Where the files of machines are kept that were removed.
pub(crate) fn gone_directory(network: &ManagedNetwork) -> PathBuf {
    network.directory.join("gone")
}

/// Makes sure that dnsmasq knows the machine. Nothing is written if it does.
pub(crate) fn register(vm: &Vm) -> Result<(), MachineError> {
    let Some(network) = settings::find(vm.node()) else { return Ok(()) };
    register_on(&network, vm)
}

pub(crate) fn register_on(network: &ManagedNetwork, vm: &Vm) -> Result<(), MachineError> {
    let (hosts, names) = texts(network, vm);
    if hosts.is_empty() || !network.hosts_directory().is_dir() {
        return Ok(());
    }
    release_stale(network, vm)?;
    let name = vm.uuid().to_string();
    for (directory, text) in
        [(network.names_directory(), names), (network.hosts_directory(), hosts)]
    {
        let path = directory.join(&name);
        if !has_content(&path, &text) {
            write_file(network, &path, &text)?;
        }
    }
    Ok(())
}

/// Makes sure that dnsmasq knows every machine, and none that isn't there.
pub(crate) fn register_all(node: &Node) -> Result<(), MachineError> {
    let Some(network) = settings::find(node) else { return Ok(()) };
    let uuids = node.store().uuids()?;
    for vm in uuids.iter().filter_map(|uuid| node.vm(*uuid).ok()) {
        register_on(&network, &vm)?;
    }
    for stale in registered(&network).into_iter().filter(|uuid| !uuids.contains(uuid)) {
        forget_by_uuid(&network, stale)?;
    }
    Ok(())
}

/// Whether dnsmasq knows the machine as it is.
pub(crate) fn is_registered(network: &ManagedNetwork, vm: &Vm) -> bool {
    let (hosts, names) = texts(network, vm);
    let name = vm.uuid().to_string();
    hosts.is_empty()
        || has_content(&network.hosts_directory().join(&name), &hosts)
            && has_content(&network.names_directory().join(&name), &names)
}

/// Lets dnsmasq forget a machine that is about to be removed. What can't be done is logged: a check finds
/// the file of a machine that isn't there.
pub(crate) fn forget(vm: &Vm) {
    let Some(network) = settings::find(vm.node()) else { return };
    if let Err(error) = forget_by_uuid(&network, vm.uuid()) {
        tracing::warn!(vm = %vm.name(), %error, "dnsmasq still knows it");
    }
}

pub(crate) fn forget_by_uuid(network: &ManagedNetwork, uuid: Uuid) -> Result<(), MachineError> {
    let name = uuid.to_string();
    let path = network.names_directory().join(&name);
    remove_if_there(&path).map_err(writing(&path))?;
    let (hosts, gone) =
        (network.hosts_directory().join(&name), gone_directory(network).join(&name));
    match fs::rename(&hosts, &gone) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(writing(&hosts)(source)),
    }
    match Dnsmasq::find(network) {
        Some(dnsmasq) => dnsmasq.reread().map_err(failed("notify dnsmasq of a removed machine")),
        None => Ok(()),
    }
}

/// The machines that dnsmasq knows: their uuids.
pub(crate) fn registered(network: &ManagedNetwork) -> Vec<Uuid> {
    let of = |directory: PathBuf| {
        let names = fs::read_dir(directory).into_iter().flatten().flatten();
        names.filter_map(|entry| canonical(entry.file_name().to_str()?)).collect::<Vec<_>>()
    };
    let mut uuids = of(network.hosts_directory());
    uuids.extend(of(network.names_directory()));
    uuids.sort();
    uuids.dedup();
    uuids
}

/// Takes out the leases of machines that were removed, if this one has an address of one of them.
fn release_stale(network: &ManagedNetwork, vm: &Vm) -> Result<(), MachineError> {
    let own: HashSet<IpAddr> =
        vm.definition().nets.iter().flat_map(|net| of_net(network, net)).collect();
    if !gone_addresses(network).iter().any(|(_, addresses)| !own.is_disjoint(addresses)) {
        return Ok(());
    }
    let _lock = lock(vm.node())?;
    release(vm.node(), network, &own)
}

/// Takes out the leases of machines that were removed. dnsmasq keeps its leases in mind: it is ended
/// meanwhile, if there are any. The caller holds the network's lock.
fn release(
    node: &Node,
    network: &ManagedNetwork,
    wanted: &HashSet<IpAddr>,
) -> Result<(), MachineError> {
    let gone = gone_addresses(network);
    // Another process may have done it.
    if !gone.iter().any(|(_, addresses)| !wanted.is_disjoint(addresses)) {
        return Ok(());
    }
    let stale: HashSet<IpAddr> = gone.iter().flat_map(|(_, all)| all.iter().copied()).collect();
    let is_stale = |line: &str| {
        let ip = line.split_ascii_whitespace().nth(2).and_then(|ip| ip.parse::<IpAddr>().ok());
        ip.is_some_and(|ip| stale.contains(&ip))
    };
    let path = network.lease_file();
    let has_stale = || {
        // dnsmasq's user writes it, and hears guests: it is no more trusted than they are.
        let bytes = read_untrusted(&path, MAX_LEASES).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().any(is_stale).then_some(text)
    };
    if has_stale().is_some() {
        let runs = dnsmasq::end(network)?;
        // What it has written at last.
        if let Some(text) = has_stale() {
            let kept: String = text
                .lines()
                .filter(|line| !is_stale(line))
                .map(|line| format!("{line}\n"))
                .collect();
            write_file(network, &path, &kept)?;
        }
        if runs {
            dnsmasq::start(node, network)?;
        }
    }
    for (path, _) in gone {
        remove_if_there(&path).map_err(writing(&path))?;
    }
    Ok(())
}

/// The files of machines that were removed, and the addresses that they had.
fn gone_addresses(network: &ManagedNetwork) -> Vec<(PathBuf, HashSet<IpAddr>)> {
    let entries = fs::read_dir(gone_directory(network)).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            let bytes = read_untrusted(&path, MAX_BYTES).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let words = text.split([',', '\n']);
            let ips = words.filter_map(|word| word.trim_matches(['[', ']']).parse().ok()).collect();
            (path, ips)
        })
        .collect()
}

/// The machine's lines for DHCP, and its names.
fn texts(network: &ManagedNetwork, vm: &Vm) -> (String, String) {
    let (mut hosts, mut names) = (String::new(), String::new());
    let name = vm.name().host_name().to_ascii_lowercase();
    for (place, (net, _)) in managed_nets(network, vm).enumerate() {
        let addresses = of_net(network, net);
        hosts.push_str(&net.mac.to_string());
        for ip in &addresses {
            match ip {
                IpAddr::V4(ip) => hosts.push_str(&format!(",{ip}")),
                IpAddr::V6(ip) => hosts.push_str(&format!(",[{ip}]")),
            }
        }
        // One of the machine's interfaces has its name. As a lease's it must be a single label.
        if place == 0 && !name.contains('.') && !name.is_empty() {
            hosts.push_str(&format!(",{name}"));
        }
        hosts.push('\n');
        if place == 0 && !name.is_empty() {
            for ip in &addresses {
                names.push_str(&format!("{ip} {name}.{}\n", network.domain));
            }
        }
    }
    (hosts, names)
}

/// Writes a file that dnsmasq reads: whole, beside its directory and then renamed, for it would read a
/// temporary one, too.
pub(crate) fn write_file(
    network: &ManagedNetwork,
    path: &Path,
    text: &str,
) -> Result<(), MachineError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = network.directory.join(format!(".{name}.{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        remove_if_there(&temporary)?;
        let mut file = create_private(&temporary)?;
        file.write_all(text.as_bytes())?;
        if let Some(account) =
            Account::for_dnsmasq().filter(|_| rustix::process::geteuid().is_root())
        {
            fchown(&file, None, Some(Gid::from_raw(account.gid)))?;
            file.set_permissions(Permissions::from_mode(0o640))?;
        }
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The first failure is the one to report.
        drop(remove_if_there(&temporary));
        writing(path)(source)
    })
}
