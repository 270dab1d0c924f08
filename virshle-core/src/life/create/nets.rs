//! The network interfaces of a machine that is being created.

use std::path::Path;

use uuid::Uuid;
use virshle_net::{InterfaceName, MacAddr};
use virshle_template::{NetTemplate, VmTemplate};

use crate::life::create::define::Creation;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::model::definition::{InterfaceAddress, NetDefinition, NetKind};
use crate::model::identity::Identity;

/// What the template gives its machine that only one can have.
pub(super) fn fixed_identities(
    node: &Node,
    template: &VmTemplate,
) -> Result<Vec<Identity>, CreateError> {
    let mut identities = Vec::new();
    for net in &template.nets {
        identities.extend(fixed_mac(template, net)?.map(Identity::mac));
        let bridge = bridge_of(node, net);
        let addresses = net.addresses.iter();
        identities.extend(addresses.map(|address| Identity::address(bridge, net.vlan, address.ip)));
    }
    Ok(identities)
}

/// The bridge that an interface is connected to; for a macvtap the interface below it.
fn bridge_of<'a>(node: &'a Node, net: &'a NetTemplate) -> &'a str {
    match (NetKind::from(net.kind), &net.link) {
        (NetKind::Macvtap, Some(link)) => link,
        _ => &node.config().network.bridge,
    }
}

fn fixed_mac(template: &VmTemplate, net: &NetTemplate) -> Result<Option<MacAddr>, CreateError> {
    net.mac.as_ref().map(|mac| mac.parse()).transpose().map_err(|source| CreateError::Mac {
        template: template.name.clone(),
        net: net.name.clone(),
        source,
    })
}

impl Creation<'_> {
    /// Defines the interfaces of the template.
    pub(super) fn nets(&self) -> Result<Vec<NetDefinition>, CreateError> {
        let nets = self.template.nets.iter().enumerate();
        nets.map(|(index, net)| self.net(net, index)).collect()
    }

    fn net(&self, net: &NetTemplate, index: usize) -> Result<NetDefinition, CreateError> {
        let kind = NetKind::from(net.kind);
        Ok(NetDefinition {
            name: net.name.clone(),
            kind,
            mac: self.mac(net)?,
            bridge: bridge_of(self.node, net).to_owned(),
            port: self.port_name(&net.name, index, kind),
            vlan: net.vlan,
            trunk: net.trunk.clone(),
            trust: net.trust,
            mtu_bytes: net.mtu,
            addresses: net.addresses.iter().map(InterfaceAddress::from).collect(),
        })
    }

    /// The name of a port: it shows the machine.
    ///
    /// The nodes of a host have one switch between them, and each counts its machines from 1: only the
    /// node of the system itself names its ports by id and net.
    fn port_name(&self, net: &str, index: usize, kind: NetKind) -> String {
        match self.node.root() == Path::new(SYSTEM) {
            true => port_name(self.staged.id, net, index, kind),
            false => unmistakable_name(self.staged.id, self.staged.uuid, index),
        }
    }

    /// The template's address, or a random one that no machine of this node has.
    fn mac(&self, net: &NetTemplate) -> Result<MacAddr, CreateError> {
        if let Some(mac) = fixed_mac(self.template, net)? {
            return Ok(mac);
        }
        loop {
            let mac = MacAddr::random().map_err(|source| CreateError::Random { source })?;
            if !self.staged.taken_macs.contains(&mac) {
                return Ok(mac);
            }
        }
    }
}

/// The node of the system itself: [`virshle_template::NodeSettings::default_root`] of root.
const SYSTEM: &str = "/var/lib/virshle";

/// The name of a port on the system's own node.
///
/// A device in the host's kernel has at most 15 bytes. A name that would not fit is numbered
/// instead, as a cut one could be another's too.
fn port_name(id: u64, net: &str, index: usize, kind: NetKind) -> String {
    let name = format!("vm{id}-{net}");
    if kind == NetKind::Vhost || name.len() <= InterfaceName::MAX_LEN {
        name
    } else {
        // No interface of a template is called like this: it has no hyphen after the id.
        format!("vm{id}n{index}")
    }
}

/// The name of a port on another node: some of the machine's uuid is in it, so that no other node's
/// machine has it, whatever ids it gives.
fn unmistakable_name(id: u64, uuid: Uuid, index: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (beginning, end) = (format!("vm{id}-"), index.to_string());
    // Random bits: those of the version are further up. One machine in 34 million has the same of
    // the same id.
    let mut bits = uuid.as_u128();
    let room = InterfaceName::MAX_LEN.saturating_sub(beginning.len() + end.len());
    let mut tag = String::new();
    for _ in 0..room.clamp(1, 5) {
        tag.push(char::from(LETTERS[usize::try_from(bits & 31).unwrap_or_default()]));
        bits >>= 5;
    }
    format!("{beginning}{tag}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_two_nodes_have_two_names() {
        let [one, two] = [1, 2].map(|uuid| unmistakable_name(3, Uuid::from_u128(uuid), 0));
        assert_ne!(one, two);
        for (id, index) in [(1, 0), (99_999, 99), (9_999_999, 12)] {
            let name = unmistakable_name(id, Uuid::from_u128(u128::MAX), index);
            assert!(InterfaceName::new(&name).is_ok(), "{name}");
            assert!(name.starts_with(&format!("vm{id}-")), "{name}");
        }
        assert_ne!(unmistakable_name(3, Uuid::nil(), 0), unmistakable_name(3, Uuid::nil(), 1));
    }

    #[test]
    fn port_names_fit_the_kernel_and_are_never_cut() {
        assert_eq!(port_name(1, "main", 0, NetKind::Vhost), "vm1-main");
        assert_eq!(port_name(1, "main", 0, NetKind::Tap), "vm1-main");
        assert_eq!(port_name(12, "management", 0, NetKind::Tap), "vm12-management");
        assert_eq!(port_name(123, "management", 1, NetKind::Tap), "vm123n1");
        assert_eq!(port_name(123, "management", 1, NetKind::Vhost), "vm123-management");
    }
}
