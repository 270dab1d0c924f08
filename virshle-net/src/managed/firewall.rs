//! Firewalls of the host's own that may keep guests from the host, or from getting out.

use std::fmt;

use serde_json::Value;

use crate::managed::error::ManagedError;
use crate::managed::network::ManagedNetwork;
use crate::managed::nft;

/// A table of nftables that may drop what the managed network needs: a packet goes on only where no table
/// drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Obstacle {
    /// The table: `ip filter`.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// What it is asked about: `forward` or `input`.
    pub hook: String,
    /// The program that is known to have made it.
    pub by: Option<&'static str>,
    bridge: String,
}

impl Obstacle {
    /// What lets the managed network through.
    pub fn hint(&self) -> String {
        let bridge = &self.bridge;
        match self.by {
            Some("docker") => format!(
                "iptables -I DOCKER-USER -i {bridge} -j ACCEPT; iptables -I DOCKER-USER -o {bridge} -j ACCEPT"
            ),
            Some("ufw") if self.hook == "input" => format!("ufw allow in on {bridge}"),
            Some("ufw") => {
                format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}")
            }
            Some("firewalld") => {
                format!(
                    "firewall-cmd --permanent --zone=trusted --add-interface={bridge}; firewall-cmd --reload"
                )
            }
            _ if self.hook == "input" => format!(
                "let UDP ports 53, 67 and 547, TCP port 53 and ICMPv6 in from {bridge}, in that chain"
            ),
            _ => format!("accept what comes from {bridge} and what goes there, in that chain"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.map(|by| format!(" of {by}")).unwrap_or_default();
        let what = match self.hook.as_str() {
            "input" => "reaching this host's DHCP and names",
            _ => "getting out, and being reached at published ports",
        };
        write!(
            formatter,
            "the firewall{by} (chain {} of table {}) may keep guests from {what}",
            self.chain, self.table
        )
    }
}

/// The tables that drop what no rule of theirs accepts, and have no rule about the managed network's
/// bridge. Firewalls that nftables don't know (iptables-legacy) are not seen.
///
/// # Errors
///
/// [`ManagedError::Run`], [`ManagedError::Failed`].
pub fn obstacles(network: &ManagedNetwork) -> Result<Vec<Obstacle>, ManagedError> {
    let chains = nft::list(&network.nft, &["list", "chains"])?.unwrap_or_default();
    let mut found = dropping(&chains, network);
    let mut accepted: Vec<(String, bool)> = Vec::new();
    for obstacle in &found {
        if accepted.iter().any(|(table, _)| *table == obstacle.table) {
            continue;
        }
        let (family, name) = obstacle.table.split_once(' ').unwrap_or_default();
        let objects =
            nft::list(&network.nft, &["list", "table", family, name])?.unwrap_or_default();
        accepted.push((obstacle.table.clone(), accepts(&objects, network.bridge.as_str())));
    }
    found.retain(|obstacle| {
        !accepted.iter().any(|(table, accepts)| *table == obstacle.table && *accepts)
    });
    Ok(found)
}

fn dropping(chains: &[Value], network: &ManagedNetwork) -> Vec<Obstacle> {
    let chains: Vec<&Value> = chains.iter().filter_map(|object| object.get("chain")).collect();
    let text = |chain: &Value, key: &str| {
        chain.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let table = |chain: &Value| format!("{} {}", text(chain, "family"), text(chain, "table"));
    let own = format!("inet {}", network.table);
    let mut found = Vec::new();
    for chain in &chains {
        let (table_of, name, hook) = (table(chain), text(chain, "name"), text(chain, "hook"));
        let beside = |start: &str| {
            let mut others = chains.iter().filter(|other| table(other) == table_of);
            others.any(|other| text(other, "name").starts_with(start))
        };
        // firewalld accepts by policy, and ends its chain with a rule that rejects.
        let by_firewalld = table_of.ends_with(" firewalld") && name.starts_with("filter_");
        let drops = text(chain, "policy") == "drop" || by_firewalld;
        let of_ip = ["ip ", "ip6 ", "inet "].iter().any(|family| table_of.starts_with(family));
        if !matches!(hook.as_str(), "forward" | "input") || !drops || !of_ip || table_of == own {
            continue;
        }
        let by = if by_firewalld {
            Some("firewalld")
        } else if beside("ufw-") {
            Some("ufw")
        } else if hook == "forward" && beside("DOCKER") {
            Some("docker")
        } else {
            None
        };
        let bridge = network.bridge.to_string();
        found.push(Obstacle { table: table_of, chain: name, hook, by, bridge });
    }
    found
}

/// Whether a rule of the table names the bridge and accepts, or leads on.
fn accepts(objects: &[Value], bridge: &str) -> bool {
    let rules = objects.iter().filter_map(|object| object.get("rule")?.get("expr")?.as_array());
    let mut about = rules.filter(|statements| {
        statements.iter().any(|statement| {
            let matched = statement.get("match").and_then(|matched| matched.get("right"));
            matched.and_then(Value::as_str) == Some(bridge)
        })
    });
    about.any(|statements| {
        let leads = |statement: &Value| {
            ["accept", "jump", "goto"].iter().any(|verdict| statement.get(verdict).is_some())
        };
        statements.iter().any(leads)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::managed::ServedSubnet;
    use serde_json::json;

    fn network() -> ManagedNetwork {
        let subnet = ServedSubnet::new("192.168.177.1".parse().unwrap(), 24, None);
        ManagedNetwork::new("br0".parse().unwrap(), subnet, Path::new("/n"))
    }

    fn chain(table: &str, name: &str, hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": "ip", "table": table, "name": name, "hook": hook, "policy": policy}})
    }

    #[test]
    fn who_drops_what_is_forwarded_is_found_with_its_remedy() {
        let found = dropping(
            &[
                chain("filter", "FORWARD", "forward", "drop"),
                json!({"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}}),
                chain("filter", "INPUT", "input", "accept"),
                chain("mine", "in", "input", "drop"),
                chain("mine", "out", "output", "drop"),
            ],
            &network(),
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].by, Some("docker"));
        assert!(found[0].hint().contains("DOCKER-USER -i br0"));
        assert!(found[0].to_string().contains("chain FORWARD of table ip filter"));
        assert!(found[1].hint().contains("547"));
        let own = json!({"chain": {"family": "inet", "table": "virshle", "name": "forward",
            "hook": "forward", "policy": "drop"}});
        assert!(dropping(&[own], &network()).is_empty());
    }

    #[test]
    fn one_that_knows_the_bridge_is_none() {
        let rule = |verdict: &str| {
            json!({"rule": {"expr": [
                {"match": {"left": {"meta": {"key": "iifname"}}, "right": "br0", "op": "=="}},
                {"counter": {}}, {verdict: null}]}})
        };
        assert!(accepts(&[rule("accept")], "br0"));
        assert!(!accepts(&[rule("accept")], "br1"));
        assert!(!accepts(&[rule("drop")], "br0"));
        assert!(!accepts(&[json!({}), json!({"rule": {}})], "br0"));
    }
}
