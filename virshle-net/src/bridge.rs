//! Creates, checks and deletes bridges.

use std::time::Duration;

use crate::deadline::Deadline;
use crate::ovsdb::{Condition, Mutation, Operation, Row, Uuid, Value};
use crate::owner::Role;
use crate::switch::bump;
use crate::{Change, Datapath, Device, InterfaceName, NetError, Switch};

/// A bridge, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Where its packets are switched.
    pub datapath: Datapath,
    /// Whether [`Switch::ensure_bridge`] made it.
    pub is_ours: bool,
}

impl Bridge {
    fn of(row: &Row) -> Result<Self, NetError> {
        let text = |column| row.get(column).and_then(|value| value.as_str()).unwrap_or_default();
        Ok(Self {
            name: text("name").into(),
            datapath: text("datapath_type").parse()?,
            is_ours: Role::Bridge.marks(row),
        })
    }
}

const COLUMNS: [&str; 3] = ["name", "datapath_type", "external_ids"];

impl Switch {
    /// Every bridge.
    ///
    /// # Errors
    ///
    /// Those of any call to the database.
    pub fn bridges(&mut self) -> Result<Vec<Bridge>, NetError> {
        let select = Operation::select("Bridge", &[], &COLUMNS);
        let outcomes = self.transact(&[select], self.deadline())?;
        let mut bridges: Vec<Bridge> =
            outcomes[0].rows.iter().map(Bridge::of).collect::<Result<_, _>>()?;
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(bridges)
    }

    /// The bridge of that name, if there is one.
    ///
    /// # Errors
    ///
    /// Those of any call to the database.
    pub fn bridge(&mut self, name: &str) -> Result<Option<Bridge>, NetError> {
        let select = Operation::select("Bridge", &[Condition::name(name)], &COLUMNS);
        let outcomes = self.transact(&[select], self.deadline())?;
        outcomes[0].rows.first().map(Bridge::of).transpose()
    }

    /// The bridge of that name.
    ///
    /// # Errors
    ///
    /// [`NetError::NoBridge`]; those of any call to the database.
    pub fn require_bridge(&mut self, name: &str) -> Result<Bridge, NetError> {
        self.bridge(name)?.ok_or_else(|| NetError::NoBridge { bridge: name.into() })
    }

    /// The names of a bridge's ports, sorted, its own among them.
    ///
    /// # Errors
    ///
    /// [`NetError::NoBridge`]; those of any call to the database.
    pub fn port_names(&mut self, bridge: &str) -> Result<Vec<String>, NetError> {
        let select = Operation::select("Bridge", &[Condition::name(bridge)], &["ports"]);
        let outcomes = self.transact(&[select], self.deadline())?;
        let Some(row) = outcomes[0].rows.first() else {
            return Err(NetError::NoBridge { bridge: bridge.into() });
        };
        let ports = row.get("ports").into_iter().flat_map(Value::uuids);
        let selects: Vec<_> = ports
            .map(|port| Operation::select("Port", &[Condition::uuid(port)], &["name"]))
            .collect();
        let outcomes = self.transact(&selects, self.deadline())?;
        let rows = outcomes.iter().flat_map(|outcome| &outcome.rows);
        let mut names: Vec<String> =
            rows.filter_map(|row| row.get("name")?.as_str().map(Into::into)).collect();
        names.sort();
        Ok(names)
    }

    /// Fails if the host has a device of that name that no switch has made: one of the kernel's own
    /// bridges, for one. Of a switch on another host nothing is known.
    ///
    /// # Errors
    ///
    /// [`NetError::BridgeTaken`], [`NetError::InvalidInterfaceName`], [`NetError::Device`].
    pub fn require_free_name(&self, name: &str) -> Result<(), NetError> {
        let name = InterfaceName::new(name)?;
        if !self.is_local() {
            return Ok(());
        }
        match Device::find(&name)? {
            // What a switch that died has left, it takes over.
            Some(device) if !matches!(device.kind.as_str(), "tun" | "openvswitch") => {
                Err(NetError::BridgeTaken { bridge: name.to_string(), kind: device.kind })
            }
            _ => Ok(()),
        }
    }

    /// Creates the bridge unless it is there, and waits until `ovs-vswitchd` has created it.
    ///
    /// One that isn't ours will do, if it has the same datapath; it stays as it is.
    ///
    /// # Errors
    ///
    /// [`NetError::BridgeDatapath`] if it has another; [`NetError::InvalidInterfaceName`], for it
    /// becomes a kernel device; [`NetError::BridgeTaken`] if there is another device of that name;
    /// [`NetError::BridgeFailed`] or [`NetError::SwitchSilent`] if
    /// `ovs-vswitchd` can't create it, and then it is removed again.
    pub fn ensure_bridge(
        &mut self,
        name: &str,
        datapath: Datapath,
        timeout: Duration,
    ) -> Result<Change, NetError> {
        let deadline = Deadline::after(timeout);
        let name = InterfaceName::new(name)?;
        if self.has_bridge(name.as_str(), datapath)? {
            return Ok(Change::Unchanged);
        }
        self.require_free_name(name.as_str())?;
        let outcomes = match self.transact(&insert_bridge(name.as_str(), datapath), deadline) {
            Ok(outcomes) => outcomes,
            // The name is taken: by a bridge made in the meantime, or by a port.
            Err(NetError::Operation { error, .. }) if error == "constraint violation" => {
                return match self.has_bridge(name.as_str(), datapath)? {
                    true => Ok(Change::Unchanged),
                    false => Err(NetError::PortTaken { port: name.into(), owner: None }),
                };
            }
            Err(other) => return Err(other),
        };
        let target = self.target(&outcomes)?;
        let awaited = format!("the new bridge {name}");
        let made = self
            .wait_applied(target, &awaited, deadline)
            .and_then(|()| self.check_bridge(name.as_str(), outcomes[0].uuid));
        if let Err(error) = made {
            if let Some(bridge) = outcomes[2].uuid {
                let removed = self.transact(&remove_bridge(bridge), self.deadline());
                if let Err(error) = removed {
                    tracing::warn!(bridge = %name, %error, "the failed bridge is left behind");
                }
            }
            return Err(error);
        }
        tracing::info!(bridge = %name, %datapath, "bridge created");
        Ok(Change::Made)
    }

    /// Deletes a bridge created by [`ensure_bridge`](Self::ensure_bridge), and waits until
    /// `ovs-vswitchd` has done so.
    ///
    /// # Errors
    ///
    /// [`NetError::NotOurs`] if it isn't ours; [`NetError::BridgeInUse`] if it has ports
    /// besides its own and the patch links created by [`ensure_patch`](Self::ensure_patch), whose
    /// other ends stay.
    pub fn delete_bridge(&mut self, name: &str, timeout: Duration) -> Result<Change, NetError> {
        let deadline = Deadline::after(timeout);
        let columns = ["_uuid", "ports", "external_ids"];
        let select = Operation::select("Bridge", &[Condition::name(name)], &columns);
        let outcomes = self.transact(&[select], deadline)?;
        let Some(row) = outcomes[0].rows.first() else { return Ok(Change::Unchanged) };
        if !Role::Bridge.marks(row) {
            return Err(NetError::NotOurs { what: format!("bridge {name}") });
        }
        let (Some(bridge), Some(ports)) =
            (row.get("_uuid").and_then(Value::as_uuid), row.get("ports"))
        else {
            return Ok(Change::Unchanged);
        };
        let selects: Vec<_> = ports
            .uuids()
            .map(|port| {
                Operation::select("Port", &[Condition::uuid(port)], &["name", "external_ids"])
            })
            .collect();
        let outcomes = self.transact(&selects, deadline)?;
        let strangers = outcomes.iter().flat_map(|outcome| &outcome.rows).filter(|row| {
            row.get("name").and_then(Value::as_str) != Some(name) && !Role::Patch.marks(row)
        });
        let strangers = strangers.count();
        if strangers > 0 {
            return Err(NetError::BridgeInUse { bridge: name.into(), ports: strangers });
        }
        // A port added since then makes the transaction fail.
        let mut operations =
            vec![crate::switch::guard("Bridge", Some(name), "ports", ports.clone())];
        operations.extend(remove_bridge(bridge));
        let outcomes = self.transact(&operations, deadline)?;
        let target = self.target(&outcomes)?;
        self.wait_applied(target, &format!("the removal of bridge {name}"), deadline)?;
        Ok(Change::Removed)
    }

    fn has_bridge(&mut self, name: &str, wanted: Datapath) -> Result<bool, NetError> {
        match self.bridge(name)? {
            None => Ok(false),
            Some(bridge) if bridge.datapath == wanted => Ok(true),
            Some(bridge) => Err(NetError::BridgeDatapath {
                bridge: name.into(),
                found: bridge.datapath.to_string(),
                wanted: wanted.as_str(),
            }),
        }
    }

    /// Fails unless the bridge's own interface works.
    fn check_bridge(&mut self, name: &str, interface: Option<Uuid>) -> Result<(), NetError> {
        let Some(interface) = interface else { return Ok(()) };
        let select =
            Operation::select("Interface", &[Condition::uuid(interface)], &["ofport", "error"]);
        let outcomes = self.transact(&[select], self.deadline())?;
        let row = outcomes[0].rows.first();
        let number = row.and_then(|row| row.get("ofport")?.as_i64());
        if number.is_some_and(|number| number > 0) {
            return Ok(());
        }
        let reason = row
            .and_then(|row| row.get("error")?.as_str())
            .unwrap_or("it gave no reason; see its log");
        Err(NetError::BridgeFailed { bridge: name.into(), reason: reason.into() })
    }
}

fn insert_bridge(name: &str, datapath: Datapath) -> Vec<Operation> {
    let interface = Row::from([
        ("name".into(), name.into()),
        ("type".into(), "internal".into()),
        ("external_ids".into(), Role::Bridge.ids()),
    ]);
    let port = Row::from([
        ("name".into(), name.into()),
        ("interfaces".into(), Value::named("interface")),
        ("external_ids".into(), Role::Bridge.ids()),
    ]);
    let bridge = Row::from([
        ("name".into(), name.into()),
        ("datapath_type".into(), datapath.as_str().into()),
        ("ports".into(), Value::named("port")),
        ("external_ids".into(), Role::Bridge.ids()),
    ]);
    let add = Mutation::insert("bridges", Value::named("bridge"));
    let mut operations = vec![
        Operation::insert("Interface", &interface).named("interface"),
        Operation::insert("Port", &port).named("port"),
        Operation::insert("Bridge", &bridge).named("bridge"),
        Operation::mutate("Open_vSwitch", &[], [add]),
        Operation::comment(&format!("virshle: create bridge {name}")),
    ];
    operations.extend(bump());
    operations
}

fn remove_bridge(bridge: Uuid) -> Vec<Operation> {
    let mut operations =
        vec![Operation::mutate("Open_vSwitch", &[], [Mutation::delete("bridges", bridge)])];
    operations.extend(bump());
    operations
}
