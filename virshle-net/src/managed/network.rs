//! What a managed network consists of.

use std::path::{Path, PathBuf};

use crate::InterfaceName;
use crate::managed::account::Account;
use crate::managed::subnet::ServedSubnet;

/// A managed network: its bridge, its addresses, and where what serves it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagedNetwork {
    /// The bridge, whose own interface is the host's.
    pub bridge: InterfaceName,
    /// Its addresses.
    pub subnet: ServedSubnet,
    /// What its machines are named in.
    pub domain: String,
    /// The directory with dnsmasq's configuration, its leases, and what it knows of machines.
    pub directory: PathBuf,
    /// The table of nftables, of the family `inet`.
    pub table: String,
    /// The program dnsmasq.
    pub dnsmasq: PathBuf,
    /// The program nft.
    pub nft: PathBuf,
}

impl ManagedNetwork {
    /// The network of `bridge` whose files are in `directory`, with the programs that are in `PATH`.
    pub fn new(bridge: InterfaceName, subnet: ServedSubnet, directory: &Path) -> Self {
        Self {
            bridge,
            subnet,
            domain: "vm".into(),
            directory: directory.to_owned(),
            table: "virshle".into(),
            dnsmasq: "dnsmasq".into(),
            nft: "nft".into(),
        }
    }

    /// dnsmasq's configuration.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("dnsmasq.conf")
    }

    /// The process id of dnsmasq.
    pub fn pid_file(&self) -> PathBuf {
        self.directory.join("dnsmasq.pid")
    }

    /// The leases that dnsmasq has given.
    pub fn lease_file(&self) -> PathBuf {
        self.directory.join("leases")
    }

    /// Which machine gets which address: a file for each, which dnsmasq reads when it appears.
    pub fn hosts_directory(&self) -> PathBuf {
        self.directory.join("dhcp")
    }

    /// Which address has which name: a file for each machine.
    pub fn names_directory(&self) -> PathBuf {
        self.directory.join("names")
    }

    /// The text of dnsmasq's configuration, as it is to run as `account`.
    ///
    /// Only machines that are known get an address, by DHCP and by DHCPv6: nobody else on the bridge is
    /// served, and no guest makes up an IPv6 address of its own.
    ///
    /// # References
    ///
    /// dnsmasq(8).
    pub fn dnsmasq_config(&self, account: &Account) -> String {
        let Self { bridge, subnet, domain, .. } = self;
        let mut lines = vec![
            "# Written by v node init; what is changed here is lost.".to_owned(),
            format!("interface={bridge}"),
            "except-interface=lo".into(),
            // The host's other addresses are other servers' to listen at.
            "bind-dynamic".into(),
            format!("user={}", account.user),
            format!("group={}", account.group),
            format!("pid-file={}", self.pid_file().display()),
            format!("dhcp-leasefile={}", self.lease_file().display()),
            format!("dhcp-hostsdir={}", self.hosts_directory().display()),
            format!("hostsdir={}", self.names_directory().display()),
            "no-hosts".into(),
            format!("domain={domain}"),
            format!("local=/{domain}/"),
            "domain-needed".into(),
            "bogus-priv".into(),
            "dhcp-authoritative".into(),
            "dhcp-rapid-commit".into(),
            format!("dhcp-range={},static,{},1h", subnet.network(), subnet.netmask()),
            format!("dhcp-option=option:domain-search,{domain}"),
        ];
        if let Some(prefix) = subnet.prefix6() {
            lines.push("enable-ra".into());
            lines.push(format!("dhcp-range={prefix},static,64,1h"));
            lines.push(format!("dhcp-option=option6:domain-search,{domain}"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_what_is_served_and_where() {
        let gateway = "192.168.177.1".parse().unwrap();
        let prefix6 = "fd12:3456:789a:1::".parse().ok();
        let mut network = ManagedNetwork::new(
            "br0".parse().unwrap(),
            ServedSubnet::new(gateway, 24, prefix6),
            Path::new("/var/lib/virshle/network"),
        );
        let account =
            Account { user: "dnsmasq".into(), uid: 999, group: "nogroup".into(), gid: 65534 };
        let text = network.dnsmasq_config(&account);
        for line in [
            "interface=br0",
            "dhcp-hostsdir=/var/lib/virshle/network/dhcp",
            "dhcp-range=192.168.177.0,static,255.255.255.0,1h",
            "dhcp-range=fd12:3456:789a:1::,static,64,1h",
            "enable-ra",
            "local=/vm/",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        network.subnet = ServedSubnet::new(gateway, 24, None);
        let text = network.dnsmasq_config(&account);
        assert!(!text.contains("enable-ra") && !text.contains("option6"), "{text}");
    }
}
