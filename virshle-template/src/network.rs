//! `[network]`: the switch of the machines.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::device;
use crate::section::Section;
use crate::subnet::{self, Subnet, Subnet6};
use crate::suggestion::quoted;

/// `[network]`: the switch of the machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkSettings {
    /// The address of Open vSwitch's database: `unix:PATH`, which is absolute, or
    /// `tcp:HOST[:PORT]`.
    pub ovsdb: String,
    /// The bridge that machines are plugged into.
    pub bridge: String,
    /// Where that bridge forwards frames.
    pub datapath: Datapath,
    /// The host's switch, which the bridge is linked to.
    pub uplink: Option<String>,
    /// Where this host's DHCP servers keep their leases, files and directories of them: each
    /// absolute. Empty: the usual places.
    pub leases: Vec<PathBuf>,
    /// The program of user networks: a path, or a name that is looked up in `PATH`.
    pub passt: PathBuf,
    /// The network that this host serves to the machines on the bridge: addresses, names, and the way
    /// out. None if unset.
    pub subnet: Option<Subnet>,
    /// Its IPv6 side.
    pub subnet6: Subnet6,
    /// What the machines are named in: `web.vm`.
    pub domain: String,
    /// The program that serves it: a path, or a name that is looked up in `PATH`.
    pub dnsmasq: PathBuf,
    /// The program that sets up the way out, and published ports.
    pub nft: PathBuf,
}

/// Where a bridge forwards frames.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new datapath, so adding one
/// is a breaking change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// In user space.
    #[default]
    Netdev,
    /// In the kernel.
    System,
}

impl fmt::Display for Datapath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Netdev => "netdev",
            Self::System => "system",
        })
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            ovsdb: "unix:/run/openvswitch/db.sock".into(),
            bridge: "br0".into(),
            datapath: Datapath::Netdev,
            uplink: None,
            leases: Vec::new(),
            passt: "passt".into(),
            subnet: None,
            subnet6: Subnet6::default(),
            domain: subnet::DOMAIN.into(),
            dnsmasq: "dnsmasq".into(),
            nft: "nft".into(),
        }
    }
}

impl NetworkSettings {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let default = Self::default();
        let Some(section) = section else { return default };
        let datapaths = [("netdev", Datapath::Netdev), ("system", Datapath::System)];
        let settings = Self {
            ovsdb: database(&section).unwrap_or(default.ovsdb),
            bridge: device::read(&section, "bridge").unwrap_or(default.bridge),
            datapath: section.word("datapath", &datapaths).unwrap_or_default(),
            uplink: device::read(&section, "uplink"),
            leases: section
                .strings("leases")
                .into_iter()
                .filter_map(|text| section.path_in(text.value, text.span))
                .collect(),
            passt: section.program("passt").unwrap_or(default.passt),
            subnet: Subnet::read(&section),
            subnet6: Subnet6::read(&section).unwrap_or_default(),
            domain: subnet::domain(&section).unwrap_or(default.domain),
            dnsmasq: section.program("dnsmasq").unwrap_or(default.dnsmasq),
            nft: section.program("nft").unwrap_or(default.nft),
        };
        if settings.subnet.is_some() && settings.uplink.is_some() {
            // Router advertisements would reach the hosts behind it.
            let message = "a managed network with an uplink";
            let help = "this host would serve the network behind the uplink as well: leave subnet \
                        away, or uplink";
            section.wrong(section.span_of("subnet"), message, help);
        }
        for key in ["subnet6", "domain"] {
            if section.has(key) && !section.has("subnet") {
                let message = format!("{key} without a subnet");
                section.wrong(section.span_of(key), message, "add subnet = \"192.168.177.1/24\"");
            }
        }
        if settings.uplink.as_ref() == Some(&settings.bridge) {
            let message = format!("{:?} cannot be linked to itself", settings.bridge);
            let help = "uplink is the host's switch, bridge another one for the machines";
            section.wrong(section.span_of("uplink"), message, help);
        }
        section.finish();
        settings
    }
}

/// The address of Open vSwitch's database (`ovsdb(7)`, "Connection Methods").
fn database(section: &Section<'_>) -> Option<String> {
    let text = section.string("ovsdb")?;
    if let Some(path) = text.value.strip_prefix("unix:") {
        let path = section.path_in(path, text.span)?;
        return Some(format!("unix:{}", path.display()));
    }
    if text.value.strip_prefix("tcp:").is_some_and(is_host_and_port) {
        return Some(text.value.to_owned());
    }
    let message = format!("{} is not the address of a database", quoted(text.value));
    section.wrong(text.span, message, "expected unix:PATH or tcp:HOST:PORT");
    None
}

/// `HOST`, `HOST:PORT`, or an IPv6 address in brackets in the host's place.
fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = |digits: &str| {
        digits.bytes().all(|digit| digit.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn network(text: &str) -> NetworkSettings {
        let read = |section: &Section<'_>| {
            Some(NetworkSettings::read(section.section("network", "network")))
        };
        testing::read(&format!("[network]\n{text}"), read).unwrap()
    }

    fn mistakes(text: &str) -> Vec<String> {
        testing::mistakes(&format!("[network]\n{text}"), |section| {
            Some(NetworkSettings::read(section.section("network", "network")))
        })
    }

    #[test]
    fn what_is_left_away_has_its_default() {
        assert_eq!(network(""), NetworkSettings::default());
        let settings = network("datapath = 'system'\nuplink = 'vs0'");
        assert_eq!(settings.datapath, Datapath::System);
        assert_eq!((settings.bridge.as_str(), settings.uplink.as_deref()), ("br0", Some("vs0")));
        assert!(settings.leases.is_empty());
    }

    #[test]
    fn leases_are_one_place_or_several() {
        assert_eq!(network("leases = '/a'").leases, [PathBuf::from("/a")]);
        let several = network("leases = ['/a', 'b']").leases;
        assert_eq!(several[0], PathBuf::from("/a"));
        assert!(several[1].is_absolute() && several[1].ends_with("b"));
        assert_eq!(mistakes("leases = [7, '']").len(), 2);
    }

    #[test]
    fn addresses_of_databases_are_understood() {
        for (text, address) in [
            ("unix:/run/db.sock", "unix:/run/db.sock"),
            ("unix:~/db.sock", "unix:/home/a/db.sock"),
            ("unix:db.sock", "unix:/etc/virshle/db.sock"),
            ("tcp:127.0.0.1:6640", "tcp:127.0.0.1:6640"),
            ("tcp:[::1]:6640", "tcp:[::1]:6640"),
            ("tcp:switch.example", "tcp:switch.example"),
        ] {
            assert_eq!(network(&format!("ovsdb = '{text}'")).ovsdb, address);
        }
        for text in
            ["", "unix:", "/run/db.sock", "tcp:", "tcp::1", "tcp:a:0", "tcp:a:65536", "ssl:a:1"]
                .into_iter()
                .chain(["tcp:a:+1", "tcp:::1", "tcp:[::1", "tcp:[x]:1", "tcp:a b:1", "tcp:a:"])
        {
            assert_eq!(mistakes(&format!("ovsdb = '{text}'")).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_managed_network_has_no_uplink() {
        let settings = network("subnet = '10.9.8.1/24'\ndomain = 'test'\nsubnet6 = 'off'");
        assert_eq!(settings.subnet.unwrap().prefix_len, 24);
        assert_eq!((settings.subnet6, settings.domain.as_str()), (Subnet6::Off, "test"));
        assert_eq!(
            mistakes("subnet = '10.9.8.1/24'\nuplink = 'vs0'"),
            ["a managed network with an uplink"]
        );
        assert_eq!(mistakes("domain = 'test'"), ["domain without a subnet"]);
        assert_eq!(mistakes("subnet6 = 'off'"), ["subnet6 without a subnet"]);
    }

    #[test]
    fn what_cannot_be_a_switch_is_refused() {
        assert_eq!(
            mistakes("bridge = 'a-bridge-with-a-long-name'"),
            ["\"a-bridge-with-a-long-name\" cannot be a network device: \
              it has 25 bytes, and 15 is the most"]
        );
        assert_eq!(mistakes("uplink = 'br0'"), ["\"br0\" cannot be linked to itself"]);
        assert_eq!(
            mistakes("datapath = 'sistem'"),
            ["unknown datapath \"sistem\", did you mean \"system\"?"]
        );
    }
}
