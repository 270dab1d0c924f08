//! The ports that belong to machines.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use crate::change::Change;
use crate::deadline::Deadline;
use crate::ovsdb::{Atom, Condition, Operation, Outcome, Row, Uuid, Value};
use crate::owner::{Owner, Role, owned_by};
use crate::port::{take_off, without_limits};
use crate::port_request::{PortKind, PortRates};
use crate::switch::bump;
use crate::{NetError, Switch, Vlans};

/// A port that [`Switch::add_ports`] made, as the database has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedPort {
    /// Its name.
    pub name: String,
    /// The bridge it is on.
    pub bridge: String,
    /// The machine it belongs to; empty if none was named.
    pub owner: Owner,
    /// What it is.
    pub kind: PortKind,
    /// The vhost-user socket it connects to.
    pub socket: Option<PathBuf>,
    /// The VLAN it is in, if it is in just one.
    pub vlan: Option<u16>,
    /// The VLANs that it belongs to.
    pub vlans: Vlans,
    /// The rates that it is kept to.
    pub rates: PortRates,
    /// Its OpenFlow number; -1 if it failed, none if `ovs-vswitchd` has not seen it yet.
    pub ofport: Option<i64>,
    /// Why it does not work, as the switch reports it.
    pub error: Option<String>,
    /// Whether it has a link; none if `ovs-vswitchd` did not report it.
    pub link_up: Option<bool>,
}

impl Switch {
    /// Every port that [`add_ports`](Self::add_ports) made, sorted by name.
    ///
    /// # Errors
    ///
    /// Those of any call to the database.
    pub fn owned_ports(&mut self) -> Result<Vec<OwnedPort>, NetError> {
        let ours = [Condition::includes("external_ids", Role::Port.ids())];
        let outcomes = self.transact(
            &[
                Operation::select(
                    "Port",
                    &ours,
                    &[
                        "_uuid",
                        "name",
                        "interfaces",
                        "tag",
                        "vlan_mode",
                        "trunks",
                        "qos",
                        "external_ids",
                    ],
                ),
                Operation::select(
                    "Interface",
                    &ours,
                    &[
                        "_uuid",
                        "type",
                        "options",
                        "ofport",
                        "error",
                        "link_state",
                        "ingress_policing_rate",
                    ],
                ),
                Operation::select("Bridge", &[], &["name", "ports"]),
            ],
            self.deadline(),
        )?;
        let [ports, interfaces, bridges] = &outcomes[..] else { return Ok(Vec::new()) };
        let mut bridge_of: HashMap<Uuid, &str> = HashMap::new();
        for row in &bridges.rows {
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
            bridge_of.extend(
                row.get("ports").into_iter().flat_map(Value::uuids).map(|port| (port, name)),
            );
        }
        let interfaces: HashMap<Uuid, &Row> = interfaces
            .rows
            .iter()
            .filter_map(|row| Some((row.get("_uuid")?.as_uuid()?, row)))
            .collect();
        let nothing = Row::new();
        let mut owned: Vec<OwnedPort> = ports
            .rows
            .iter()
            .map(|port| {
                let interface = port.get("interfaces").and_then(Value::as_uuid);
                let interface = interface.and_then(|uuid| interfaces.get(&uuid).copied());
                let uuid = port.get("_uuid").and_then(Value::as_uuid);
                let bridge = uuid.and_then(|uuid| bridge_of.get(&uuid).copied());
                owned_port(port, interface.unwrap_or(&nothing), bridge.unwrap_or_default())
            })
            .collect();
        owned.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(owned)
    }

    /// The counters of the port called `name`, as `rx_bytes` and `tx_dropped`; `ovs-vswitchd`
    /// writes them down every few seconds. Empty if there is no such port.
    ///
    /// # Errors
    ///
    /// Those of any call to the database.
    ///
    /// # References
    ///
    /// `ovs-vswitchd.conf.db(5)`, table Interface, column `statistics`.
    pub fn port_statistics(&mut self, name: &str) -> Result<BTreeMap<String, i64>, NetError> {
        let select = Operation::select("Interface", &[Condition::name(name)], &["statistics"]);
        let outcomes = self.transact(&[select], self.deadline())?;
        let row = outcomes[0].rows.first();
        let Some(Value::Map(pairs)) = row.and_then(|row| row.get("statistics")) else {
            return Ok(BTreeMap::new());
        };
        let counters = pairs.iter().filter_map(|pair| match pair {
            (Atom::String(name), Atom::Integer(count)) => Some((name.clone(), *count)),
            _ => None,
        });
        Ok(counters.collect())
    }

    /// Removes the ports of the machine `owner_uuid`.
    ///
    /// `timeout` is for the database. That `ovs-vswitchd` has let go of them is not waited for:
    /// the ports of a machine can be removed while it is dead. Where it matters,
    /// [`ping_vswitchd`](Self::ping_vswitchd) waits for it.
    ///
    /// # Errors
    ///
    /// Those of any call to the database.
    pub fn remove_ports_of(
        &mut self,
        owner_uuid: &str,
        timeout: Duration,
    ) -> Result<Change, NetError> {
        let deadline = Deadline::after(timeout);
        let theirs = [Condition::includes("external_ids", owned_by(owner_uuid))];
        let selects = ["Port", "QoS"].map(|table| Operation::select(table, &theirs, &["_uuid"]));
        let outcomes = self.transact(&selects, deadline)?;
        let uuids = |outcome: &Outcome| -> Vec<Uuid> {
            outcome.rows.iter().filter_map(|row| row.get("_uuid")?.as_uuid()).collect()
        };
        let [ports, limits] =
            [0, 1].map(|place| outcomes.get(place).map(uuids).unwrap_or_default());
        if ports.is_empty() && limits.is_empty() {
            return Ok(Change::Unchanged);
        }
        let mut operations: Vec<_> = ports.iter().map(|port| take_off(*port)).collect();
        // No row takes these along.
        if !limits.is_empty() {
            operations.extend(ports.iter().map(|port| without_limits(*port)));
        }
        let limits = limits.iter().map(|qos| Operation::delete("QoS", &[Condition::uuid(*qos)]));
        operations.extend(limits);
        operations.extend(bump());
        self.transact(&operations, deadline)?;
        tracing::info!(owner = owner_uuid, count = ports.len(), "ports removed");
        Ok(Change::Removed)
    }

    /// Removes the port of that name.
    ///
    /// `timeout` is for the database, as in [`remove_ports_of`](Self::remove_ports_of).
    ///
    /// # Errors
    ///
    /// [`NetError::NotOurs`] if [`add_ports`](Self::add_ports) did not make it; those of any call
    /// to the database.
    pub fn remove_port(&mut self, name: &str, timeout: Duration) -> Result<Change, NetError> {
        let deadline = Deadline::after(timeout);
        let select =
            Operation::select("Port", &[Condition::name(name)], &["_uuid", "external_ids"]);
        let outcomes = self.transact(&[select], deadline)?;
        let Some(row) = outcomes[0].rows.first() else { return Ok(Change::Unchanged) };
        if !Role::Port.marks(row) {
            return Err(NetError::NotOurs { what: format!("port {name}") });
        }
        let Some(port) = row.get("_uuid").and_then(Value::as_uuid) else {
            return Ok(Change::Unchanged);
        };
        let mut operations = vec![take_off(port)];
        operations.extend(bump());
        self.transact(&operations, deadline)?;
        Ok(Change::Removed)
    }
}

fn owned_port(port: &Row, interface: &Row, bridge: &str) -> OwnedPort {
    let text = |column| interface.get(column).and_then(Value::as_str);
    let vlans = Vlans::of(port);
    OwnedPort {
        name: port.get("name").and_then(Value::as_str).unwrap_or_default().into(),
        bridge: bridge.into(),
        owner: Owner::of(port).unwrap_or_default(),
        kind: PortKind::of(text("type").unwrap_or_default()),
        socket: interface
            .get("options")
            .and_then(|options| options.text_of("vhost-server-path"))
            .map(PathBuf::from),
        vlan: match vlans {
            Vlans::Access(vlan) => Some(vlan),
            _ => None,
        },
        vlans,
        rates: PortRates::of(port, interface),
        ofport: interface.get("ofport").and_then(Value::as_i64),
        error: text("error").map(Into::into),
        link_up: text("link_state").map(|state| state == "up"),
    }
}
