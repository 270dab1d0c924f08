//! The network interfaces of a machine that is being created.

use virshle_net::MacAddr;
use virshle_template::NetTemplate;

use crate::life::create::define::Creation;
use crate::life::error::CreateError;
use crate::model::definition::{InterfaceAddress, NetDefinition, NetKind};
use crate::model::port_name::port_name;

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
