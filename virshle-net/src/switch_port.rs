//! Every port of the switch, whoever made it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::ovsdb::{Atom, Operation, Row, Uuid, Value};
use crate::owner::{Owner, Role};
use crate::port_request::PortKind;
use crate::{NetError, Switch, Vlans};

/// A port of a bridge, as the database has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwitchPort {
    /// Its name.
    pub name: String,
    /// The bridge it is on.
    pub bridge: String,
    /// The machine it belongs to, if [`Switch::add_ports`] made it.
    pub owner: Option<Owner>,
    /// What it is.
    pub kind: PortKind,
    /// The VLANs that it belongs to.
    pub vlans: Vlans,
    /// Its number on the bridge; none if it has none, or failed.
    pub ofport: Option<u32>,
    /// Whether it has a link; none if `ovs-vswitchd` did not report it.
    pub link_up: Option<bool>,
    /// Why it does not work, as the switch reports it.
    pub error: Option<String>,
    /// The other end of a patch pair.
    pub peer: Option<String>,
    /// The most that may come in by it, in bits per second.
    pub rate_in_bits: Option<u64>,
    /// The most that may leave by it, in bits per second.
    pub rate_out_bits: Option<u64>,
    /// Its counters, as `rx_bytes` and `tx_dropped`: `ovs-vswitchd` writes them down every few seconds.
    pub counters: BTreeMap<String, u64>,
}

impl Switch {
    /// Every port of every bridge, sorted by bridge and name; the bridges' own are among them.
    ///
    /// # Errors
    ///
    /// Those of any call to the database.
    pub fn ports(&mut self, timeout: Duration) -> Result<Vec<SwitchPort>, NetError> {
        let columns =
            ["_uuid", "name", "interfaces", "tag", "vlan_mode", "trunks", "external_ids", "qos"];
        let interface = [
            "_uuid",
            "type",
            "options",
            "ofport",
            "error",
            "link_state",
            "statistics",
            "ingress_policing_rate",
        ];
        let outcomes = self.transact(
            &[
                Operation::select("Port", &[], &columns),
                Operation::select("Interface", &[], &interface),
                Operation::select("Bridge", &[], &["name", "ports"]),
                Operation::select("QoS", &[], &["_uuid", "type", "other_config"]),
            ],
            Deadline::after(timeout),
        )?;
        let [ports, interfaces, bridges, qos] = &outcomes[..] else { return Ok(Vec::new()) };
        let by_uuid = |rows: &'_ [Row]| -> HashMap<Uuid, Row> {
            rows.iter()
                .filter_map(|row| Some((row.get("_uuid")?.as_uuid()?, row.clone())))
                .collect()
        };
        let (interfaces, qos) = (by_uuid(&interfaces.rows), by_uuid(&qos.rows));
        let ports = by_uuid(&ports.rows);
        let mut found = Vec::new();
        for bridge in &bridges.rows {
            let name = bridge.get("name").and_then(Value::as_str).unwrap_or_default();
            let uuids = bridge.get("ports").into_iter().flat_map(Value::uuids);
            for port in uuids.filter_map(|uuid| ports.get(&uuid)) {
                // A bond has several; the first stands for it.
                let of_port = port.get("interfaces").into_iter().flat_map(Value::uuids);
                let interface = of_port.filter_map(|uuid| interfaces.get(&uuid)).next();
                let qos = port.get("qos").and_then(Value::as_uuid).and_then(|uuid| qos.get(&uuid));
                found.push(switch_port(port, interface, qos, name));
            }
        }
        found.sort_by(|a, b| (&a.bridge, &a.name).cmp(&(&b.bridge, &b.name)));
        Ok(found)
    }
}

fn switch_port(port: &Row, interface: Option<&Row>, qos: Option<&Row>, bridge: &str) -> SwitchPort {
    let column = |column: &str| interface.and_then(|row| row.get(column));
    let text = |name| column(name).and_then(Value::as_str);
    let number = column("ofport").and_then(Value::as_i64);
    let policed = column("ingress_policing_rate").and_then(Value::as_i64);
    let policed = policed.and_then(|kilobits| u64::try_from(kilobits).ok());
    SwitchPort {
        name: port.get("name").and_then(Value::as_str).unwrap_or_default().into(),
        bridge: bridge.into(),
        owner: Owner::of(port).filter(|_| Role::Port.marks(port)),
        kind: PortKind::of(text("type").unwrap_or_default()),
        vlans: Vlans::of(port),
        ofport: number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0),
        link_up: text("link_state").map(|state| state == "up"),
        error: text("error").map(Into::into),
        peer: column("options").and_then(|options| options.text_of("peer")).map(Into::into),
        rate_in_bits: policed.filter(|rate| *rate > 0).map(|rate| rate.saturating_mul(1000)),
        rate_out_bits: qos.and_then(shaped_to),
        counters: counters(column("statistics")),
    }
}

/// What a queueing discipline lets through, in bits per second.
fn shaped_to(qos: &Row) -> Option<u64> {
    let config = qos.get("other_config")?;
    let number = |key| config.text_of(key).and_then(|text| text.parse::<u64>().ok());
    match qos.get("type").and_then(Value::as_str)? {
        // In bytes per second.
        "egress-policer" => number("cir").map(|bytes| bytes.saturating_mul(8)),
        _ => number("max-rate"),
    }
    .filter(|rate| *rate > 0)
}

fn counters(statistics: Option<&Value>) -> BTreeMap<String, u64> {
    let Some(Value::Map(pairs)) = statistics else { return BTreeMap::new() };
    let counters = pairs.iter().filter_map(|pair| match pair {
        (Atom::String(name), Atom::Integer(count)) => {
            Some((name.clone(), u64::try_from(*count).ok()?))
        }
        _ => None,
    });
    counters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_in_bits_whatever_the_row_counts_in() {
        let qos = |kind: &str, key: &str| {
            Row::from([
                ("type".into(), Value::from(kind)),
                ("other_config".into(), Value::map([(key, "1000")])),
            ])
        };
        assert_eq!(shaped_to(&qos("egress-policer", "cir")), Some(8000));
        assert_eq!(shaped_to(&qos("linux-htb", "max-rate")), Some(1000));
        assert_eq!(shaped_to(&qos("linux-htb", "other")), None);
        let interface = Row::from([("ingress_policing_rate".into(), Value::from(8_i64))]);
        let port = switch_port(&Row::new(), Some(&interface), None, "br0");
        assert_eq!((port.rate_in_bits, port.rate_out_bits), (Some(8000), None));
    }
}
