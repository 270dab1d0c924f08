//! The parts of the managed network on this host: which are there, and which are missing.

use virshle_net::{
    Account, Device, Dnsmasq, Forwarding, HostAddress, ManagedError, ManagedNetwork, Ruleset,
    RulesetState,
};

use crate::machine::error::MachineError;
use crate::network::applied::addresses;
use crate::network::resolved;
use crate::network::settings::{device_failed, failed, has_content, refused};

/// A part, as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The part, for people.
    pub(crate) what: String,
    /// What it consists of: commands, lines of a file.
    pub(crate) detail: Vec<String>,
    pub(crate) is_missing: bool,
}

/// The account that dnsmasq runs as.
pub(crate) fn account() -> Result<Account, MachineError> {
    Account::for_dnsmasq().ok_or_else(|| {
        let source = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "/etc/passwd has neither the user dnsmasq nor nobody",
        );
        let action = "choose a user for dnsmasq".to_owned();
        MachineError::Managed {
            doing: "set up the managed network".into(),
            source: ManagedError::Kernel { action, source },
        }
    })
}

/// Looks at each part, in the order in which they are made. Changes nothing.
pub(crate) fn look(network: &ManagedNetwork) -> Result<Vec<Part>, MachineError> {
    let doing = "look at the managed network";
    let bridge = &network.bridge;
    let mut parts = Vec::new();
    let config = network.dnsmasq_config(&account()?);
    parts.push(Part {
        what: format!("file {}", network.config_file().display()),
        is_missing: !has_content(&network.config_file(), &config),
        detail: config.lines().map(ToOwned::to_owned).collect(),
    });
    let device = Device::find(bridge).map_err(device_failed(doing))?;
    let is_up = device.as_ref().is_some_and(|device| device.is_up);
    let there = HostAddress::list().map_err(refused(doing, "list the host's addresses".into()))?;
    for (ip, prefix_len) in addresses(network) {
        let is_there = there.iter().any(|address| {
            address.device == bridge.as_str()
                && (address.ip, address.prefix_len) == (ip, prefix_len)
        });
        parts.push(Part {
            what: format!("address {ip}/{prefix_len} of {bridge}"),
            is_missing: !is_there || !is_up,
            detail: vec![
                format!("ip address add {ip}/{prefix_len} dev {bridge}"),
                format!("ip link set {bridge} up"),
            ],
        });
    }
    let rules = Ruleset::read(network).map_err(failed(doing))?;
    parts.push(Part {
        what: format!("table inet {} of nftables (NAT, published ports)", network.table),
        is_missing: rules.state != RulesetState::Whole,
        detail: Ruleset::script(network, &[]).lines().map(ToOwned::to_owned).collect(),
    });
    for forwarding in forwardings(network) {
        parts.push(Part {
            what: format!("forwarding by this host ({})", forwarding.setting()),
            is_missing: !forwarding.is_on().map_err(failed(doing))?,
            detail: vec![format!("sysctl {}=1", forwarding.setting())],
        });
    }
    let lapses = match device {
        Some(_) => Device::managed_lapses(bridge).map_err(failed(doing))?,
        None => vec!["there is no such device".to_owned()],
    };
    parts.push(Part {
        what: format!("settings of {bridge}"),
        is_missing: !lapses.is_empty(),
        detail: ["ipv4.forwarding=1", "ipv6.forwarding=1", "ipv4.route_localnet=1"]
            .iter()
            .filter_map(|setting| setting.split_once('.'))
            .map(|(family, setting)| format!("sysctl net.{family}.conf.{bridge}.{setting}"))
            .collect(),
    });
    parts.push(Part {
        what: "dnsmasq (DHCP, router advertisements, DNS)".into(),
        is_missing: Dnsmasq::find(network).is_none(),
        detail: vec![format!(
            "{} --conf-file={}",
            network.dnsmasq.display(),
            network.config_file().display()
        )],
    });
    if resolved::runs() {
        parts.push(Part {
            what: format!("names of {} for this host, by systemd-resolved", network.domain),
            is_missing: !resolved::is_asking(network),
            detail: resolved::commands(network),
        });
    }
    Ok(parts)
}

/// The families that are forwarded.
pub(crate) fn forwardings(network: &ManagedNetwork) -> Vec<Forwarding> {
    let v6 = network.subnet.prefix6().map(|_| Forwarding::V6);
    std::iter::once(Forwarding::V4).chain(v6).collect()
}
