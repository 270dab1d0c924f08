//! Patch links between two bridges.

use std::collections::HashMap;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::ovsdb::{Condition, Mutation, Operation, Row, Uuid, Value};
use crate::owner::Role;
use crate::port::take_off;
use crate::switch::{bump, guard};
use crate::{Change, NetError, Switch};

/// One end of a link, as the database has it.
#[derive(Debug)]
struct End {
    name: String,
    peer: String,
    port: Uuid,
    is_ours: bool,
    /// Whether it is on the first, the second bridge.
    on: [bool; 2],
}

impl Switch {
    /// Returns whether a patch pair links the two bridges, whether ours or not.
    ///
    /// # Errors
    ///
    /// Those of any call to the database. A bridge that does not exist is linked to none.
    pub fn is_patched(&mut self, a: &str, b: &str) -> Result<bool, NetError> {
        let deadline = self.deadline();
        Ok(pair_of(&self.ends(a, b, deadline)?).is_some())
    }

    /// Links two bridges by a pair of patch ports unless they are linked, and waits until
    /// `ovs-vswitchd` has done so.
    ///
    /// The ports are called `patch-A-B` and `patch-B-A`.
    ///
    /// # Errors
    ///
    /// [`NetError::NoBridge`]; [`NetError::PatchDatapaths`] for bridges between which packets can't
    /// pass; [`NetError::PortTaken`] if a port of such a name belongs to another owner;
    /// [`NetError::SwitchSilent`], and then the pair is removed again.
    pub fn ensure_patch(
        &mut self,
        a: &str,
        b: &str,
        timeout: Duration,
    ) -> Result<Change, NetError> {
        let deadline = Deadline::after(timeout);
        let (first, second) = (self.require_bridge(a)?, self.require_bridge(b)?);
        if first.datapath != second.datapath {
            return Err(NetError::PatchDatapaths {
                a: a.into(),
                a_datapath: first.datapath.to_string(),
                b: b.into(),
                b_datapath: second.datapath.to_string(),
            });
        }
        let ends = self.ends(a, b, deadline)?;
        if pair_of(&ends).is_some() {
            return Ok(Change::Unchanged);
        }
        let names = [format!("patch-{a}-{b}"), format!("patch-{b}-{a}")];
        let mut operations = vec![
            guard("Bridge", Some(a), "name", a.into()),
            guard("Bridge", Some(b), "name", b.into()),
        ];
        // Half of a pair of ours, whose other half was removed.
        for end in ends.iter().filter(|end| names.contains(&end.name)) {
            if !end.is_ours {
                return Err(NetError::PortTaken { port: end.name.clone(), owner: None });
            }
            operations.push(take_off(end.port));
        }
        operations.extend(insert_end(0, a, &names[0], &names[1]));
        operations.extend(insert_end(1, b, &names[1], &names[0]));
        operations.extend(bump());
        let outcomes = self.transact(&operations, deadline).map_err(|error| match error {
            NetError::Operation { error, .. } if error == "constraint violation" => {
                NetError::PortTaken { port: names.join(" or "), owner: None }
            }
            other => other,
        })?;
        let target = self.target(&outcomes)?;
        let awaited = format!("the patch link between {a} and {b}");
        if let Err(error) = self.wait_applied(target, &awaited, deadline) {
            if let Err(error) = self.remove_patch(a, b) {
                tracing::warn!(a, b, %error, "the failed patch link is left behind");
            }
            return Err(error);
        }
        tracing::info!(a, b, "bridges linked");
        Ok(Change::Made)
    }

    /// Removes the link created by [`ensure_patch`](Self::ensure_patch).
    ///
    /// # Errors
    ///
    /// [`NetError::NotOurs`] if it isn't ours; those of any call to the database.
    pub fn remove_patch(&mut self, a: &str, b: &str) -> Result<Change, NetError> {
        let deadline = self.deadline();
        let ends = self.ends(a, b, deadline)?;
        let Some(pair) = pair_of(&ends) else { return Ok(Change::Unchanged) };
        if pair.iter().any(|end| !end.is_ours) {
            return Err(NetError::NotOurs { what: format!("the link between {a} and {b}") });
        }
        let mut operations: Vec<_> = pair.iter().map(|end| take_off(end.port)).collect();
        operations.extend(bump());
        self.transact(&operations, deadline)?;
        Ok(Change::Removed)
    }

    /// Every patch port of the switch; there are few.
    fn ends(&mut self, a: &str, b: &str, deadline: Deadline) -> Result<Vec<End>, NetError> {
        let patch = [Condition::new("type", crate::ovsdb::Function::Equal, "patch")];
        let outcomes = self.transact(
            &[
                Operation::select("Bridge", &[Condition::name(a)], &["ports"]),
                Operation::select("Bridge", &[Condition::name(b)], &["ports"]),
                Operation::select("Interface", &patch, &["_uuid", "name", "options"]),
            ],
            deadline,
        )?;
        let mut on: HashMap<Uuid, [bool; 2]> = HashMap::new();
        for (side, outcome) in outcomes[..2].iter().enumerate() {
            let row = outcome.rows.first();
            for port in row.and_then(|row| row.get("ports")).into_iter().flat_map(Value::uuids) {
                on.entry(port).or_default()[side] = true;
            }
        }
        let interfaces = &outcomes[2].rows;
        let selects: Vec<_> = interfaces
            .iter()
            .filter_map(|row| row.get("_uuid")?.as_uuid())
            .map(|uuid| {
                let holds = [Condition::includes("interfaces", uuid)];
                Operation::select("Port", &holds, &["_uuid", "external_ids"])
            })
            .collect();
        let outcomes = self.transact(&selects, deadline)?;
        let ends = interfaces.iter().zip(&outcomes).filter_map(|(interface, outcome)| {
            let row = outcome.rows.first()?;
            let port = row.get("_uuid")?.as_uuid()?;
            Some(End {
                name: interface.get("name")?.as_str()?.into(),
                peer: interface.get("options")?.text_of("peer").unwrap_or_default().into(),
                port,
                is_ours: Role::Patch.marks(row),
                on: on.get(&port).copied().unwrap_or_default(),
            })
        });
        Ok(ends.collect())
    }
}

/// The two ends that link the first bridge to the second.
fn pair_of(ends: &[End]) -> Option<[&End; 2]> {
    ends.iter().filter(|end| end.on[0]).find_map(|end| {
        let other = |other: &&End| other.on[1] && other.name == end.peer && other.peer == end.name;
        Some([end, ends.iter().find(other)?])
    })
}

fn insert_end(side: usize, bridge: &str, name: &str, peer: &str) -> [Operation; 3] {
    let (interface_id, port_id) = (format!("interface{side}"), format!("port{side}"));
    let interface = Row::from([
        ("name".into(), name.into()),
        ("type".into(), "patch".into()),
        ("options".into(), Value::map([("peer", peer)])),
        ("external_ids".into(), Role::Patch.ids()),
    ]);
    let port = Row::from([
        ("name".into(), name.into()),
        ("interfaces".into(), Value::named(&interface_id)),
        ("external_ids".into(), Role::Patch.ids()),
    ]);
    [
        Operation::insert("Interface", &interface).named(&interface_id),
        Operation::insert("Port", &port).named(&port_id),
        Operation::mutate(
            "Bridge",
            &[Condition::name(bridge)],
            [Mutation::insert("ports", Value::named(&port_id))],
        ),
    ]
}
