//! What on a host is in the way of a managed network.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use rustix::net::sockopt::{set_ip_freebind, set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::host_address::{HostAddress, Route, overlap};
use crate::managed::dnsmasq::Dnsmasq;
use crate::managed::error::ManagedError;
use crate::managed::network::ManagedNetwork;
use crate::managed::rules::{Ruleset, RulesetState};
use crate::managed::sysctl::{Forwarding, losing_routes};
use crate::passt::Holder;
use crate::{Forward, ForwardProtocol};

const DNS: u16 = 53;
const DHCP: u16 = 67;
const DHCPV6: u16 = 547;

/// Something of the host's own that is in the way of a managed network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// The host has an address or a route in that network.
    Overlap {
        /// The managed network.
        network: String,
        /// What it overlaps: `address 192.168.177.9/24 of eth0`.
        with: String,
    },
    /// Another process listens at a port that dnsmasq needs.
    Port {
        /// The port: `TCP port 192.168.177.1:53`.
        port: String,
        /// The process, if it can be seen.
        holder: String,
    },
    /// nftables have another table of that name.
    Table {
        /// Its name.
        table: String,
        /// Its comment, if it has one.
        comment: Option<String>,
    },
    /// The host would lose a route when it forwards.
    Route {
        /// The device that it leads to.
        device: String,
    },
}

impl Conflict {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Overlap { network, .. } if network.contains("::") => {
                "choose another network: [network] subnet6 = \"auto\"".into()
            }
            Self::Overlap { .. } => {
                "choose another network: [network] subnet = \"10.177.0.1/24\"".into()
            }
            Self::Port { .. } => {
                "let it listen at its own addresses alone (dnsmasq: bind-interfaces, except-interface; \
                 unbound, named: their listen-on)"
                    .into()
            }
            Self::Table { table, .. } => {
                format!("if it is not needed: nft delete table inet {table}; or choose another root")
            }
            Self::Route { device } => {
                format!("sysctl net.ipv6.conf.{device}.accept_ra=2; or [network] subnet6 = \"off\"")
            }
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { network, with } => {
                write!(formatter, "the managed network {network} overlaps the {with}")
            }
            Self::Port { port, holder } => write!(formatter, "{port} is taken by {holder}"),
            Self::Table { table, comment: Some(comment) } => {
                write!(formatter, "nftables have another table inet {table} ({comment})")
            }
            Self::Table { table, comment: None } => {
                write!(formatter, "nftables have another table inet {table}")
            }
            Self::Route { device } => write!(
                formatter,
                "to forward IPv6 would cost this host its route by {device}, which a router advertises"
            ),
        }
    }
}

/// What on this host is in the way of `network`. Nothing is changed. The addresses `former` are its own,
/// from before it was configured otherwise.
///
/// # Errors
///
/// If the kernel or nft can't be asked.
pub fn conflicts(
    network: &ManagedNetwork,
    former: &[(IpAddr, u8)],
) -> Result<Vec<Conflict>, ManagedError> {
    let mut found = overlaps(network, former)?;
    if Dnsmasq::find(network).is_none() {
        found.extend(taken_ports(network)?);
    }
    let rules = Ruleset::read(network)?;
    if let RulesetState::Foreign { comment } = rules.state {
        found.push(Conflict::Table { table: network.table.clone(), comment });
    }
    if network.subnet.prefix6().is_some() && !Forwarding::V6.is_on()? {
        let asking =
            |source| ManagedError::Kernel { action: "list the host's routes".into(), source };
        let devices = losing_routes().map_err(asking)?;
        found.extend(devices.into_iter().map(|device| Conflict::Route { device }));
    }
    Ok(found)
}

fn overlaps(
    network: &ManagedNetwork,
    former: &[(IpAddr, u8)],
) -> Result<Vec<Conflict>, ManagedError> {
    let asking = |what: &'static str| {
        move |source| ManagedError::Kernel { action: format!("list the host's {what}"), source }
    };
    let (addresses, routes) = (
        HostAddress::list().map_err(asking("addresses"))?,
        Route::list().map_err(asking("routes"))?,
    );
    let subnet = &network.subnet;
    let v4 = (IpAddr::V4(subnet.network()), subnet.prefix_len());
    let mut own = vec![(v4, IpAddr::V4(subnet.gateway()))];
    if let (Some(prefix), Some(gateway)) = (subnet.prefix6(), subnet.gateway6()) {
        own.push(((prefix.into(), 64), gateway.into()));
    }
    let mut found = Vec::new();
    for ((ip, prefix_len), gateway) in own {
        let meets = |other: (IpAddr, u8)| overlap((ip, prefix_len), other);
        let of_ours = |device: &str| device == network.bridge.as_str();
        let mut with: Vec<(String, String)> = Vec::new();
        for address in &addresses {
            let found = (address.ip, address.prefix_len);
            let is_own = of_ours(&address.device) && found == (gateway, prefix_len)
                || former.contains(&found);
            if meets((address.ip, address.prefix_len)) && !is_own {
                let HostAddress { device, ip, prefix_len } = address;
                with.push((device.clone(), format!("address {ip}/{prefix_len} of {device}")));
            }
        }
        for route in &routes {
            let is_former = |known: &(IpAddr, u8)| {
                known.1 == route.prefix_len && overlap(*known, (route.to, route.prefix_len))
            };
            let told = with.iter().any(|(device, _)| *device == route.device)
                || former.iter().any(is_former);
            if route.prefix_len > 0
                && meets((route.to, route.prefix_len))
                && !of_ours(&route.device)
                && !told
            {
                let Route { to, prefix_len, device, .. } = route;
                with.push((device.clone(), format!("route to {to}/{prefix_len} by {device}")));
            }
        }
        let network = format!("{ip}/{prefix_len}");
        found.extend(
            with.into_iter().map(|(_, with)| Conflict::Overlap { network: network.clone(), with }),
        );
    }
    Ok(found)
}

/// The ports that dnsmasq needs and can't have.
fn taken_ports(network: &ManagedNetwork) -> Result<Vec<Conflict>, ManagedError> {
    let gateway = IpAddr::V4(network.subnet.gateway());
    let any = |ip: &str| ip.parse::<IpAddr>().unwrap_or(gateway);
    let mut wanted = vec![
        (ForwardProtocol::Udp, gateway, DNS),
        (ForwardProtocol::Tcp, gateway, DNS),
        (ForwardProtocol::Udp, any("0.0.0.0"), DHCP),
    ];
    if let Some(gateway6) = network.subnet.gateway6() {
        let gateway6 = IpAddr::V6(gateway6);
        wanted.extend([
            (ForwardProtocol::Udp, gateway6, DNS),
            (ForwardProtocol::Tcp, gateway6, DNS),
            (ForwardProtocol::Udp, any("::"), DHCPV6),
        ]);
    }
    let mut found: Vec<Conflict> = Vec::new();
    for (protocol, ip, port) in wanted {
        let forward = Forward::new(protocol, port, port).at(ip);
        match try_bind(protocol, SocketAddr::new(ip, port)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let holder = Holder::of(&forward)
                    .map_or("a process that can't be seen".into(), |holder| holder.to_string());
                found.push(Conflict::Port { port: forward.to_string(), holder });
            }
            Err(source) => {
                let action = format!("look whether {forward} is free");
                return Err(ManagedError::Kernel { action, source });
            }
        }
    }
    Ok(found)
}

/// Binds as dnsmasq does: beside others that serve other networks, at addresses that may not be there yet.
fn try_bind(protocol: ForwardProtocol, address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        ForwardProtocol::Tcp => SocketType::STREAM,
        ForwardProtocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    set_ip_freebind(&socket, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    if protocol == ForwardProtocol::Tcp || address.port() != DNS {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if protocol == ForwardProtocol::Tcp {
        // Beside one that listens it could be bound, and no more.
        listen(&socket, 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_with_whom_and_what_next() {
        let port = Conflict::Port { port: "UDP port 53".into(), holder: "named (pid 7)".into() };
        assert_eq!(port.to_string(), "UDP port 53 is taken by named (pid 7)");
        let overlap = Conflict::Overlap {
            network: "192.168.177.0/24".into(),
            with: "route to 192.168.0.0/16 by tun0".into(),
        };
        assert!(overlap.to_string().ends_with("overlaps the route to 192.168.0.0/16 by tun0"));
        assert!(overlap.hint().contains("subnet ="));
    }
}
