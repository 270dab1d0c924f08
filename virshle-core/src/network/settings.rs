//! The managed network that the configuration asks for.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;
use virshle_net::{Forwarding, ManagedError, ManagedNetwork, NetError, ServedSubnet};
use virshle_template::{NodeSettings, Subnet6};

use crate::fs::error::FileError;
use crate::fs::file::{Sync, ensure_directory, read_untrusted, replace};
use crate::fs::lock::Lock;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::store::layout::{LOCK, NETWORK};

/// The file with the random prefix of the IPv6 side.
const PREFIX: &str = "prefix6";
/// The most of that file that is read.
const MAX_PREFIX: u64 = 64;
/// How long another process may have the network: as long as dnsmasq and nft take.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the node keeps what belongs to its managed network.
pub(crate) fn directory(node: &Node) -> PathBuf {
    node.root().join(NETWORK)
}

/// The managed network, if the configuration asks for one. Its random prefix is not known before
/// [`prepare`] has chosen it: until then it has no IPv6 side.
pub(crate) fn find(node: &Node) -> Option<ManagedNetwork> {
    let settings = &node.config().network;
    let subnet = settings.subnet?;
    let prefix6 = match settings.subnet6 {
        Subnet6::Prefix(prefix) => Some(prefix),
        Subnet6::Auto => read_prefix(&directory(node)),
        _ => None,
    };
    let prefix6 = prefix6.filter(|_| Forwarding::has_ipv6());
    let served = ServedSubnet::new(subnet.gateway, subnet.prefix_len, prefix6);
    // The template has checked it.
    let bridge = settings.bridge.parse().ok()?;
    let mut network = ManagedNetwork::new(bridge, served, &directory(node));
    network.domain.clone_from(&settings.domain);
    network.dnsmasq.clone_from(&settings.dnsmasq);
    network.nft.clone_from(&settings.nft);
    network.table = table(node.root());
    Some(network)
}

/// The same, with the IPv6 side that it will have: a random prefix is chosen if none is known, and not yet
/// kept.
pub(crate) fn plan(node: &Node) -> Option<ManagedNetwork> {
    let mut network = find(node)?;
    let auto = node.config().network.subnet6 == Subnet6::Auto && Forwarding::has_ipv6();
    if auto && network.subnet.prefix6().is_none() {
        let subnet = network.subnet;
        network.subnet =
            ServedSubnet::new(subnet.gateway(), subnet.prefix_len(), Some(random_prefix()));
    }
    Some(network)
}

/// Keeps the random prefix of `network`, if it has one. The caller holds the network's lock. Another process
/// may have been quicker: then its prefix is the network's.
pub(crate) fn keep_prefix(node: &Node, network: &mut ManagedNetwork) -> Result<(), MachineError> {
    if node.config().network.subnet6 != Subnet6::Auto {
        return Ok(());
    }
    let subnet = network.subnet;
    let Some(prefix) = subnet.prefix6() else { return Ok(()) };
    let directory = directory(node);
    match read_prefix(&directory) {
        Some(kept) => {
            network.subnet = ServedSubnet::new(subnet.gateway(), subnet.prefix_len(), Some(kept));
            Ok(())
        }
        None => Ok(replace(&directory.join(PREFIX), format!("{prefix}\n").as_bytes(), Sync::Yes)?),
    }
}

/// Chooses the random prefix, if the network is to have one and has none.
pub(crate) fn choose_prefix(node: &Node) -> Result<(), MachineError> {
    let Some(mut network) = plan(node) else { return Ok(()) };
    if find(node).as_ref() != Some(&network) {
        let _lock = lock(node)?;
        keep_prefix(node, &mut network)?;
    }
    Ok(())
}

/// Takes the lock of the managed network, for which there is a directory then.
pub(crate) fn lock(node: &Node) -> Result<Lock, MachineError> {
    node.store().ensure()?;
    let directory = directory(node);
    ensure_directory(&directory, 0o750)?;
    Ok(Lock::acquire(&directory.join(LOCK), LOCK_TIMEOUT)?)
}

/// A random unique local prefix: 40 random bits (RFC 4193, 3.2.1), and the subnet 0.
fn random_prefix() -> Ipv6Addr {
    let random = Uuid::new_v4();
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..6].copy_from_slice(&random.as_bytes()[..5]);
    bytes.into()
}

fn read_prefix(directory: &Path) -> Option<Ipv6Addr> {
    let text = read_untrusted(&directory.join(PREFIX), MAX_PREFIX).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// The name of the node's table: the nodes of a host have one each.
fn table(root: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    if root == NodeSettings::default_root() {
        return "virshle".into();
    }
    let name = root.as_os_str().as_bytes();
    let hash = name
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("virshle_{hash:08x}")
}

/// Adds what was being done to a failure of the managed network.
pub(crate) fn failed(doing: impl Into<String>) -> impl FnOnce(ManagedError) -> MachineError {
    let doing = doing.into();
    move |source| MachineError::Managed { doing, source }
}

/// The same, for a failure of the kernel.
pub(crate) fn refused(
    doing: impl Into<String>,
    action: String,
) -> impl FnOnce(std::io::Error) -> MachineError {
    let doing = doing.into();
    move |source| MachineError::Managed { doing, source: ManagedError::Kernel { action, source } }
}

/// The same, for a failure of a device.
pub(crate) fn device_failed(doing: impl Into<String>) -> impl FnOnce(NetError) -> MachineError {
    let doing = doing.into();
    move |source| MachineError::Managed { doing, source: source.into() }
}

/// Whether a file has that content.
pub(crate) fn has_content(path: &Path, content: &str) -> bool {
    let most = u64::try_from(content.len()).unwrap_or(u64::MAX).saturating_add(1);
    read_untrusted(path, most).is_ok_and(|found| found == content.as_bytes())
}

/// Makes `FileError` of a failure to change `path`.
pub(crate) fn writing(path: &Path) -> impl Fn(std::io::Error) -> MachineError + '_ {
    |source| FileError::Write { path: path.to_owned(), source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_host_have_tables_of_their_own() {
        assert_eq!(table(Path::new("/srv/one")).len(), "virshle_00000000".len());
        assert_ne!(table(Path::new("/srv/one")), table(Path::new("/srv/two")));
    }

    #[test]
    fn a_random_prefix_is_a_unique_local_one() {
        let (one, other) = (random_prefix(), random_prefix());
        assert!(one.is_unique_local() && one.segments()[3..] == [0; 5], "{one}");
        assert_ne!(one, other);
    }
}
