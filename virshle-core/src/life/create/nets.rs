//! The network interfaces of a machine that is being created.

use virshle_net::{InterfaceName, MacAddr};
use virshle_template::NetTemplate;

use crate::life::create::define::Creation;
use crate::life::error::CreateError;
use crate::model::definition::{InterfaceAddress, NetDefinition, NetKind};

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
            bridge: match (kind, &net.link) {
                (NetKind::Macvtap, Some(link)) => link.clone(),
                _ => self.node.config().network.bridge.clone(),
            },
            port: port_name(self.staged.id, &net.name, index, kind),
            vlan: net.vlan,
            trunk: net.trunk.clone(),
            mtu_bytes: net.mtu,
            addresses: net.addresses.iter().map(InterfaceAddress::from).collect(),
        })
    }

    /// The template's address, or a random one that no machine of this node has.
    fn mac(&self, net: &NetTemplate) -> Result<MacAddr, CreateError> {
        if let Some(mac) = &net.mac {
            return mac.parse().map_err(|source| CreateError::Mac {
                template: self.template.name.clone(),
                net: net.name.clone(),
                source,
            });
        }
        loop {
            let mac = MacAddr::random().map_err(|source| CreateError::Random { source })?;
            if !self.staged.taken_macs.contains(&mac) {
                return Ok(mac);
            }
        }
    }
}

/// The name of a port: it shows the machine.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_fit_the_kernel_and_are_never_cut() {
        assert_eq!(port_name(1, "main", 0, NetKind::Vhost), "vm1-main");
        assert_eq!(port_name(1, "main", 0, NetKind::Tap), "vm1-main");
        assert_eq!(port_name(12, "management", 0, NetKind::Tap), "vm12-management");
        assert_eq!(port_name(123, "management", 1, NetKind::Tap), "vm123n1");
        assert_eq!(port_name(123, "management", 1, NetKind::Vhost), "vm123-management");
    }
}
