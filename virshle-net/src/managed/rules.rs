//! The rules of a managed network: a table of nftables, which is nobody else's.
//!
//! # References
//!
//! nft(8); `Documentation/networking/ip-sysctl.rst` of Linux, `route_localnet`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::managed::error::ManagedError;
use crate::managed::network::ManagedNetwork;
use crate::managed::nft;
use crate::managed::ports::PublishedPort;

/// The maps of published ports, with their types.
const MAPS: [(&str, &str); 4] = [
    ("4", "inet_service : ipv4_addr . inet_service"),
    ("4_at", "ipv4_addr . inet_service : ipv4_addr . inet_service"),
    ("6", "inet_service : ipv6_addr . inet_service"),
    ("6_at", "ipv6_addr . inet_service : ipv6_addr . inet_service"),
];
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];
/// What the name of the empty chain begins with that says whose a table is: nft (1.0) prints no comments of
/// tables as JSON.
const MARK: &str = "virshle_";
/// The longest comment of a table, in bytes; the kernel takes some more.
const MAX_COMMENT: usize = 120;

/// The rules that a host has of a managed network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ruleset {
    /// Whether they are the network's, and all of them.
    pub state: RulesetState,
    /// The ports that are published.
    pub ports: Vec<PublishedPort>,
}

/// What a table of that name is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulesetState {
    /// There is none.
    Absent,
    /// It is somebody else's: its comment, if it has one.
    Foreign {
        /// The comment.
        comment: Option<String>,
    },
    /// It is this network's, and not as it should be: of another version, or changed by hand.
    Other,
    /// It is as it should be.
    Whole,
}

/// A chain, and its rules.
type Chain = (&'static str, &'static str, Vec<String>);

impl Ruleset {
    /// What the host has.
    ///
    /// # Errors
    ///
    /// [`ManagedError::Run`], [`ManagedError::Failed`].
    pub fn read(network: &ManagedNetwork) -> Result<Self, ManagedError> {
        let listed = nft::list(&network.nft, &["list", "table", "inet", &network.table])?;
        Ok(listed.map_or(Self { state: RulesetState::Absent, ports: Vec::new() }, |objects| {
            Self::of(network, &objects)
        }))
    }

    fn of(network: &ManagedNetwork, objects: &[Value]) -> Self {
        let of_kind =
            |kind: &'static str| objects.iter().filter_map(move |object| object.get(kind));
        let comment = of_kind("table").find_map(|table| table.get("comment")?.as_str());
        let marks: Vec<&str> = of_kind("chain")
            .filter_map(|chain| chain.get("name")?.as_str())
            .filter(|name| name.starts_with(MARK))
            .collect();
        let ports = of_kind("map").flat_map(ports_of).collect();
        let rules: usize = chains(network).iter().map(|(_, _, rules)| rules.len()).sum();
        let state = if marks.contains(&mark(network).as_str()) {
            let whole = of_kind("rule").count() == rules && of_kind("map").count() == 8;
            if whole { RulesetState::Whole } else { RulesetState::Other }
        } else if marks.iter().any(|name| name.starts_with(&owner(network))) {
            RulesetState::Other
        } else {
            RulesetState::Foreign { comment: comment.map(ToOwned::to_owned) }
        };
        Self { state, ports }
    }

    /// The script that makes the table, in place of the one that may be there.
    pub fn script(network: &ManagedNetwork, ports: &[PublishedPort]) -> String {
        let table = &network.table;
        let mut script = format!(
            "table inet {table} {{ }}\ndelete table inet {table}\ntable inet {table} {{\n  \
             comment \"{}\"\n  chain {} {{ }}\n{}",
            comment(network),
            mark(network),
            body(network)
        );
        script.push_str("}\n");
        script.push_str(&elements(table, "add", ports));
        script
    }

    /// Makes the table, in place of the one that may be there: in one transaction.
    ///
    /// # Errors
    ///
    /// [`ManagedError::Run`], [`ManagedError::Failed`].
    pub fn make(network: &ManagedNetwork, ports: &[PublishedPort]) -> Result<(), ManagedError> {
        nft::apply(&network.nft, &Self::script(network, ports))
    }

    /// Removes the table.
    ///
    /// # Errors
    ///
    /// As [`make`](Self::make).
    pub fn remove(network: &ManagedNetwork) -> Result<(), ManagedError> {
        let table = &network.table;
        nft::apply(&network.nft, &format!("table inet {table} {{ }}\ndelete table inet {table}\n"))
    }

    /// Publishes ports: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`ManagedError::PortTaken`] by another machine, [`ManagedError::NoTable`].
    pub fn publish(network: &ManagedNetwork, ports: &[PublishedPort]) -> Result<(), ManagedError> {
        if ports.is_empty() {
            return Ok(());
        }
        match nft::apply(&network.nft, &elements(&network.table, "add", ports)) {
            Err(ManagedError::Failed { output, .. }) if output.contains("No such file") => {
                Err(ManagedError::NoTable { table: network.table.clone() })
            }
            other => other,
        }
    }

    /// Ends the publication of ports. Those that lead elsewhere stay.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn withdraw(network: &ManagedNetwork, ports: &[PublishedPort]) -> Result<(), ManagedError> {
        if ports.is_empty() {
            return Ok(());
        }
        let there = Self::read(network)?;
        let ours: Vec<PublishedPort> =
            there.ports.into_iter().filter(|port| ports.contains(port)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        nft::apply(&network.nft, &elements(&network.table, "delete", &ours))
    }
}

/// The commands that change the elements of the maps.
fn elements(table: &str, verb: &str, ports: &[PublishedPort]) -> String {
    let mut maps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for port in ports {
        let element = if verb == "delete" { port.key() } else { port.element() };
        maps.entry(port.map()).or_default().push(element);
    }
    let line = |(map, elements): (&String, &Vec<String>)| {
        format!("{verb} element inet {table} {map} {{ {} }}\n", elements.join(", "))
    };
    maps.iter().map(line).collect()
}

fn ports_of(map: &Value) -> Vec<PublishedPort> {
    let name = map.get("name").and_then(Value::as_str).unwrap_or_default();
    let elements = map.get("elem").and_then(Value::as_array).into_iter().flatten();
    elements
        .filter_map(|element| PublishedPort::read(name, element.get(0)?, element.get(1)?))
        .collect()
}

/// The chains, from the first that a packet comes by.
fn chains(network: &ManagedNetwork) -> Vec<Chain> {
    let ManagedNetwork { bridge, subnet, .. } = network;
    // With `route_localnet`, without which nothing is published at the host's loopback, that would be
    // open to guests.
    let loopback = vec![format!("iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop")];
    let mut publish = Vec::new();
    for protocol in PROTOCOLS {
        for (family, name) in [("4", "ip"), ("6", "ip6")] {
            publish.push(format!(
                "dnat {name} to {name} daddr . {protocol} dport map @{protocol}{family}_at"
            ));
            publish.push(format!("dnat {name} to {protocol} dport map @{protocol}{family}"));
        }
    }
    // Of ::1 nothing gets out: refused at once is better than silence.
    let at_this_host =
        || vec!["ip6 daddr ::1 return".to_owned(), "fib daddr type local jump publish".to_owned()];
    // What comes back by the bridge that it came from is no reason to send guests another way: they would
    // go past the address that their packets have here.
    let redirects = vec![
        format!("oifname \"{bridge}\" icmp type redirect drop"),
        format!("oifname \"{bridge}\" icmpv6 type nd-redirect drop"),
    ];
    let mut forward = vec![format!("iifname \"{bridge}\" ip saddr != {subnet} drop")];
    let mut out = vec![
        // Replies come back by this host.
        format!("oifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade"),
        format!("iifname \"{bridge}\" oifname \"{bridge}\" ct status dnat masquerade"),
        format!("ip saddr {subnet} oifname != \"{bridge}\" masquerade"),
    ];
    if let Some(prefix) = subnet.prefix6() {
        forward.push(format!("iifname \"{bridge}\" ip6 saddr != {prefix}/64 drop"));
        out.push(format!("ip6 saddr {prefix}/64 oifname != \"{bridge}\" masquerade"));
    }
    forward.extend([
        format!("oifname != \"{bridge}\" accept"),
        "ct state established,related accept".into(),
        "ct status dnat accept".into(),
        format!("iifname \"{bridge}\" accept"),
        // From elsewhere a machine is reached by the ports that it publishes.
        "drop".into(),
    ]);
    vec![
        ("loopback", "type filter hook prerouting priority -350; policy accept;", loopback),
        ("publish", "", publish),
        ("arriving", "type nat hook prerouting priority -100; policy accept;", at_this_host()),
        ("local", "type nat hook output priority -100; policy accept;", at_this_host()),
        ("redirects", "type filter hook output priority 0; policy accept;", redirects),
        ("forward", "type filter hook forward priority 0; policy accept;", forward),
        ("out", "type nat hook postrouting priority 100; policy accept;", out),
    ]
}

/// The maps and chains, as nft reads them.
fn body(network: &ManagedNetwork) -> String {
    let mut text = String::new();
    for protocol in PROTOCOLS {
        for (name, kind) in MAPS {
            text.push_str(&format!("  map {protocol}{name} {{ type {kind}; }}\n"));
        }
    }
    for (name, hook, rules) in chains(network) {
        text.push_str(&format!("  chain {name} {{\n"));
        for line in [hook.to_owned()].into_iter().filter(|hook| !hook.is_empty()).chain(rules) {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str("  }\n");
    }
    text
}

/// The name of the empty chain that says whose the table is, and which rules are meant.
fn mark(network: &ManagedNetwork) -> String {
    format!("{}{:016x}", owner(network), hash(body(network).as_bytes()))
}

/// Whose the table is, for people.
fn comment(network: &ManagedNetwork) -> String {
    let directory = network.directory.display().to_string();
    let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | '\\');
    let shown: String = directory.chars().filter(|character| plain(*character)).collect();
    let mut comment = format!("virshle {shown}");
    comment.truncate(MAX_COMMENT);
    comment
}

fn owner(network: &ManagedNetwork) -> String {
    use std::os::unix::ffi::OsStrExt;
    format!("{MARK}{:016x}_", hash(network.directory.as_os_str().as_bytes()))
}

/// FNV-1a of 64 bits: it stays as it is, across versions and hosts.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::managed::ServedSubnet;

    fn network() -> ManagedNetwork {
        let subnet = ServedSubnet::new("192.168.177.1".parse().unwrap(), 24, None);
        ManagedNetwork::new("br0".parse().unwrap(), subnet, Path::new("/var/lib/virshle/network"))
    }

    #[test]
    fn a_table_is_known_by_its_mark() {
        let network = network();
        let state = |chain: &str| {
            let table = serde_json::json!({"table": {"comment": "mine"}});
            let chain = serde_json::json!({"chain": {"name": chain}});
            Ruleset::of(&network, &[table, chain]).state
        };
        let foreign = RulesetState::Foreign { comment: Some("mine".into()) };
        assert_eq!(state("forward"), foreign);
        // Its rules are gone.
        assert_eq!(state(&mark(&network)), RulesetState::Other);
        let mut other = network.clone();
        other.directory = "/srv/network".into();
        assert_eq!(state(&mark(&other)), foreign);
        let changed = ServedSubnet::new("10.0.0.1".parse().unwrap(), 24, None);
        let before = ManagedNetwork { subnet: changed, ..network.clone() };
        assert_eq!(state(&mark(&before)), RulesetState::Other);
    }

    #[test]
    fn a_long_directory_fits_into_the_comment() {
        let mut network = network();
        network.directory = format!("/{}", "ä\"/".repeat(200)).into();
        assert_eq!(comment(&network).len(), MAX_COMMENT);
    }
}
