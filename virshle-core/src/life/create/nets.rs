//! The network interfaces of a machine that is being created.

use std::path::Path;

use virshle_net::MacAddr;
use virshle_template::{NetTemplate, VmTemplate};

use crate::life::create::define::Creation;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::model::definition::{InterfaceAddress, NetDefinition, NetKind};
use crate::model::identity::Identity;
use crate::model::port_name::{port_name, unmistakable_name};

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
