//! The network interfaces of a machine that is being created.

use std::net::IpAddr;
use std::time::Duration;

use virshle_net::{InterfaceName, MacAddr};
use virshle_template::NetTemplate;

use crate::life::create::define::Creation;
use crate::life::error::CreateError;
use crate::model::definition::{InterfaceAddress, NetDefinition, NetKind, UserNet};

impl Creation<'_> {
    /// Defines the interfaces of the template.
    pub(super) fn nets(&self) -> Result<Vec<NetDefinition>, CreateError> {
        let mut numbers = free_networks();
        let nets = self.template.nets.iter().enumerate();
        let mut nets: Vec<NetDefinition> = nets
            .map(|(index, net)| self.net(net, index, &mut numbers))
            .collect::<Result<_, _>>()?;
        if nets.is_empty() && !self.template.has_nets && self.has_user_nets() {
            nets.push(NetDefinition {
                name: "main".into(),
                kind: NetKind::User,
                mac: self.mac(None)?,
                bridge: String::new(),
                port: String::new(),
                vlan: None,
                mtu_bytes: None,
                addresses: Vec::new(),
                user: numbers.next().map(UserNet::numbered),
            });
        }
        Ok(nets)
    }

    /// Whether a template that says nothing of networks gets the one that works for a user who is not
    /// root, who may have no other.
    fn has_user_nets(&self) -> bool {
        let program = &self.node.config().network.passt;
        !rustix::process::geteuid().is_root()
            && virshle_net::check_passt(program, PASST_TIMEOUT).is_ok()
    }

    fn net(
        &self,
        net: &NetTemplate,
        index: usize,
        numbers: &mut impl Iterator<Item = u16>,
    ) -> Result<NetDefinition, CreateError> {
        let kind = NetKind::from(net.kind);
        Ok(NetDefinition {
            name: net.name.clone(),
            kind,
            mac: self.mac(Some(net))?,
            bridge: match (kind, &net.link) {
                (NetKind::User, _) => String::new(),
                (NetKind::Macvtap, Some(link)) => link.clone(),
                _ => self.node.config().network.bridge.clone(),
            },
            port: match kind {
                NetKind::User => String::new(),
                _ => port_name(self.staged.id, &net.name, index, kind),
            },
            vlan: net.vlan,
            mtu_bytes: net.mtu,
            addresses: net.addresses.iter().map(InterfaceAddress::from).collect(),
            user: match kind {
                NetKind::User => user_net(net, numbers),
                NetKind::Vhost | NetKind::Tap | NetKind::Macvtap => None,
            },
        })
    }

    /// The template's address, or a random one that no machine of this node has.
    fn mac(&self, net: Option<&NetTemplate>) -> Result<MacAddr, CreateError> {
        if let Some(net) = net
            && let Some(mac) = &net.mac
        {
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

/// How long passt may take to say what it can do.
const PASST_TIMEOUT: Duration = Duration::from_secs(5);

/// What passt gives to the guest of `net`: the addresses that the template names, or those of the
/// next free network.
fn user_net(net: &NetTemplate, numbers: &mut impl Iterator<Item = u16>) -> Option<UserNet> {
    let ipv4 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    let own = net.addresses.iter().find_map(|own| Some((ipv4(own.ip)?, own.prefix_len)));
    let mut user = match own {
        Some((ip, prefix_len)) => {
            UserNet::at(ip, prefix_len, net.gateways.iter().copied().find_map(ipv4))
        }
        None => UserNet::numbered(numbers.next()?),
    };
    user.dns = net.dns.clone();
    user.publish = net.publish.clone();
    user.host_loopback = net.host_loopback;
    Some(user)
}

/// The numbers of networks, as 2 is that of `10.0.2.0/24`, to which this host has no route of its
/// own: what is in them would be out of the guest's reach.
fn free_networks() -> impl Iterator<Item = u16> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let routes: Vec<(u32, u32)> = table.lines().skip(1).filter_map(route).collect();
    (2..=u16::MAX).filter(move |number| {
        let network = 10 << 24 | u32::from(*number) << 8;
        let meets = |(to, mask): &(u32, u32)| {
            let common = mask & 0xffff_ff00;
            *mask != 0 && (to ^ network) & common == 0
        };
        !routes.iter().any(meets)
    })
}

/// The destination and the mask of a line of `/proc/net/route`, whose numbers are as they lie in the
/// memory of the host.
fn route(line: &str) -> Option<(u32, u32)> {
    let mut words = line.split_ascii_whitespace();
    let number = |word: &str| Some(u32::from_be(u32::from_str_radix(word, 16).ok()?));
    let to = number(words.nth(1)?)?;
    Some((to, number(words.nth(5)?)?))
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

    #[test]
    fn a_route_is_read_as_the_kernel_writes_it() {
        let line = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(route(line), Some((0x0a00_0200, 0xffff_ff00)));
        assert_eq!(route("eth0\t0002000A\t0"), None);
        assert_eq!(route(""), None);
    }
}
