//! Ports: asked for in one transaction, waited for, and undone if the switch can't create them.

use std::time::Duration;

use crate::deadline::Deadline;
use crate::ovsdb::{Condition, Mutation, Operation, Outcome, Row, Ticket, Uuid, Value};
use crate::owner::{Owner, Role};
use crate::port_request::{PortKind, PortRequest};
use crate::switch::{TIMED_OUT, bump, guard};
use crate::{Datapath, NetError, Switch};

/// A port that works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The bridge it is on.
    pub bridge: String,
    /// What it is.
    pub kind: PortKind,
    /// Its OpenFlow number on the bridge.
    pub ofport: u32,
    /// Whether it has a link: a vhost-user port is connected, a tap up and held.
    pub link_up: bool,
}

/// Ports that were asked for and not yet waited for.
///
/// When it is dropped the ports stay, marked as their owner's.
#[derive(Debug)]
#[must_use = "whether the ports work is known after `confirm_ports`"]
pub struct PendingPorts {
    ticket: Ticket,
    bridge: String,
    requests: Vec<PortRequest>,
    guards: Vec<Guard>,
}

/// What a condition of the transaction stands for.
#[derive(Clone, Copy, Debug)]
enum Guard {
    Bridge,
    Userspace,
    Dpdk,
    Other,
}

impl Switch {
    /// Adds `ports` to `bridge` in one transaction, waits until `ovs-vswitchd` has created them,
    /// and returns them in the order of the requests.
    ///
    /// A port of the same name and the same owner is replaced. The cost does not grow with the
    /// number of ports that are there.
    ///
    /// # Errors
    ///
    /// In each case no port was added, or it was removed again: [`NetError::NoBridge`];
    /// [`NetError::PortTaken`] if a port of that name belongs to another owner;
    /// [`NetError::NoDpdk`] and [`NetError::BridgeDatapath`] for vhost-user ports that this switch
    /// or this bridge can't have; [`NetError::PortFailed`] with the switch's message;
    /// [`NetError::SwitchSilent`] if `ovs-vswitchd` is dead; [`NetError::InvalidPort`].
    pub fn add_ports(
        &mut self,
        bridge: &str,
        ports: &[PortRequest],
        timeout: Duration,
    ) -> Result<Vec<Port>, NetError> {
        let deadline = Deadline::after(timeout);
        let pending = self.submit_by(bridge, ports.to_vec(), &[], deadline)?;
        self.confirm_by(pending, deadline)
    }

    /// The first half of [`add_ports`](Self::add_ports): sends the transaction and waits for
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`NetError::InvalidPort`], or the connection's.
    pub fn submit_ports(
        &mut self,
        bridge: &str,
        ports: &[PortRequest],
        timeout: Duration,
    ) -> Result<PendingPorts, NetError> {
        self.submit_by(bridge, ports.to_vec(), &[], Deadline::after(timeout))
    }

    /// The second half of [`add_ports`](Self::add_ports): waits until the ports work.
    ///
    /// # Errors
    ///
    /// As [`add_ports`](Self::add_ports).
    pub fn confirm_ports(
        &mut self,
        pending: PendingPorts,
        timeout: Duration,
    ) -> Result<Vec<Port>, NetError> {
        self.confirm_by(pending, Deadline::after(timeout))
    }

    fn submit_by(
        &mut self,
        bridge: &str,
        requests: Vec<PortRequest>,
        replaced: &[Uuid],
        deadline: Deadline,
    ) -> Result<PendingPorts, NetError> {
        requests.iter().try_for_each(PortRequest::check)?;
        let mut guards = vec![Guard::Bridge];
        let mut operations = vec![guard("Bridge", Some(bridge), "name", bridge.into())];
        if requests.iter().any(|request| request.kind == PortKind::VhostUser) {
            guards.extend([Guard::Userspace, Guard::Dpdk]);
            let netdev = Datapath::Netdev.as_str().into();
            operations.push(guard("Bridge", Some(bridge), "datapath_type", netdev));
            operations.push(guard("Open_vSwitch", None, "dpdk_initialized", true.into()));
        }
        operations.extend(replaced.iter().map(|port| take_off(*port)));
        if !replaced.is_empty() {
            // No row takes those of the replaced ports along.
            operations.extend(replaced.iter().map(|port| without_limits(*port)));
            operations.extend(requests.iter().map(|request| {
                let theirs = Condition::includes("external_ids", request.qos_mark());
                Operation::delete("QoS", &[theirs])
            }));
        }
        let (mut added, mut limits) = (Vec::new(), Vec::new());
        for (index, request) in requests.iter().enumerate() {
            let (interface, port) = (format!("interface{index}"), format!("port{index}"));
            let mut row = request.port();
            row.insert("interfaces".into(), Value::named(&interface));
            if let Some(qos) = request.qos() {
                let name = format!("qos{index}");
                row.insert("qos".into(), Value::named(&name));
                // After those that are told from each other by their places.
                limits.push(Operation::insert("QoS", &qos).named(&name));
            }
            operations.push(Operation::insert("Interface", &request.interface()).named(&interface));
            operations.push(Operation::insert("Port", &row).named(&port));
            added.push(crate::ovsdb::Atom::NamedUuid(port));
        }
        operations.extend(limits);
        operations.push(Operation::mutate(
            "Bridge",
            &[Condition::name(bridge)],
            [Mutation::insert("ports", Value::Set(added))],
        ));
        guards.resize(operations.len(), Guard::Other);
        operations.extend(bump());
        let ticket = self.submit(&operations, deadline)?;
        Ok(PendingPorts { ticket, bridge: bridge.into(), requests, guards })
    }

    fn confirm_by(
        &mut self,
        pending: PendingPorts,
        deadline: Deadline,
    ) -> Result<Vec<Port>, NetError> {
        let PendingPorts { ticket, bridge, requests, guards } = pending;
        let outcomes = match self.collect(ticket, deadline) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let replaced = self.explain(error, &bridge, &requests, &guards, deadline)?;
                let again = self.submit_by(&bridge, requests.clone(), &replaced, deadline)?;
                self.collect(again.ticket, deadline)?
            }
        };
        let target = self.target(&outcomes)?;
        let names: Vec<&str> = requests.iter().map(|request| request.name.as_str()).collect();
        let awaited = format!("the new ports {} of bridge {bridge}", names.join(", "));
        let made = self
            .wait_applied(target, &awaited, deadline)
            .and_then(|()| self.read_back(&bridge, &requests, &inserted(&outcomes, &requests, 0)));
        if made.is_err() {
            let limits = inserted_limits(&outcomes, &requests);
            self.undo(&bridge, &inserted(&outcomes, &requests, 1), &limits);
        }
        made
    }

    /// Turns the database's refusal into what it means; the ports to be replaced, if that is it.
    fn explain(
        &mut self,
        failure: NetError,
        bridge: &str,
        requests: &[PortRequest],
        guards: &[Guard],
        deadline: Deadline,
    ) -> Result<Vec<Uuid>, NetError> {
        let NetError::Operation { index, error, .. } = &failure else { return Err(failure) };
        match guards.get(*index) {
            Some(Guard::Bridge) if error == TIMED_OUT => {
                Err(NetError::NoBridge { bridge: bridge.into() })
            }
            Some(Guard::Userspace) if error == TIMED_OUT => {
                let found = self.require_bridge(bridge)?.datapath.to_string();
                let wanted = Datapath::Netdev.as_str();
                Err(NetError::BridgeDatapath { bridge: bridge.into(), found, wanted })
            }
            Some(Guard::Dpdk) if error == TIMED_OUT => Err(NetError::NoDpdk),
            _ if error == "constraint violation" => {
                let replaced = self.namesakes(requests, deadline)?;
                if replaced.is_empty() { Err(failure) } else { Ok(replaced) }
            }
            _ => Err(failure),
        }
    }

    /// The ports that have the names of `requests` already, if all are their owners' own.
    fn namesakes(
        &mut self,
        requests: &[PortRequest],
        deadline: Deadline,
    ) -> Result<Vec<Uuid>, NetError> {
        let columns = ["_uuid", "external_ids"];
        let selects: Vec<_> = requests
            .iter()
            .flat_map(|request| {
                let name = [Condition::name(&request.name)];
                [
                    Operation::select("Port", &name, &columns),
                    Operation::select("Interface", &name, &columns),
                ]
            })
            .collect();
        let outcomes = self.transact(&selects, deadline)?;
        let mut replaced = Vec::new();
        for (request, found) in requests.iter().zip(outcomes.chunks(2)) {
            for row in found.iter().flat_map(|outcome| &outcome.rows) {
                let owner = Owner::of(row);
                let same = |owner: &Owner| {
                    request.owner.as_ref().is_some_and(|wanted| wanted.uuid == owner.uuid)
                };
                if !Role::Port.marks(row) || !owner.as_ref().is_some_and(same) {
                    let owner = owner.map(|owner| owner.name);
                    return Err(NetError::PortTaken { port: request.name.clone(), owner });
                }
            }
            let ports = found.first().map(|outcome| outcome.rows.as_slice()).unwrap_or_default();
            replaced.extend(ports.iter().filter_map(|row| row.get("_uuid")?.as_uuid()));
        }
        Ok(replaced)
    }

    /// Reads what `ovs-vswitchd` made of the interfaces.
    fn read_back(
        &mut self,
        bridge: &str,
        requests: &[PortRequest],
        interfaces: &[Uuid],
    ) -> Result<Vec<Port>, NetError> {
        let columns = ["ofport", "error", "link_state"];
        let selects: Vec<_> = interfaces
            .iter()
            .map(|uuid| Operation::select("Interface", &[Condition::uuid(*uuid)], &columns))
            .collect();
        let outcomes = self.transact(&selects, self.deadline())?;
        let nothing = Row::new();
        requests
            .iter()
            .zip(outcomes)
            .map(|(request, outcome)| {
                read_port(bridge, request, outcome.rows.first().unwrap_or(&nothing))
            })
            .collect()
    }

    /// Takes off what was added; if that fails too, the marks show whose it is.
    fn undo(&mut self, bridge: &str, ports: &[Uuid], limits: &[Uuid]) {
        let mut operations: Vec<_> = ports.iter().map(|port| take_off(*port)).collect();
        if !limits.is_empty() {
            operations.extend(ports.iter().map(|port| without_limits(*port)));
        }
        let limits = limits.iter().map(|qos| Operation::delete("QoS", &[Condition::uuid(*qos)]));
        operations.extend(limits);
        operations.extend(bump());
        if let Err(error) = self.transact(&operations, self.deadline()) {
            tracing::warn!(bridge, %error, "the failed ports are left behind");
        }
    }
}

/// Takes a port off its bridge, whichever that is; the database drops what no row refers to.
pub(crate) fn take_off(port: Uuid) -> Operation {
    Operation::mutate(
        "Bridge",
        &[Condition::includes("ports", port)],
        [Mutation::delete("ports", port)],
    )
}

/// Takes the row in QoS from a port: the database deletes none that a row refers to, and looks at that
/// before it drops the port.
pub(crate) fn without_limits(port: Uuid) -> Operation {
    let row = Row::from([("qos".into(), Value::Set(Vec::new()))]);
    Operation::update("Port", &[Condition::uuid(port)], &row)
}

/// The rows inserted: interfaces (`which` 0) or ports (1), which take turns.
fn inserted(outcomes: &[Outcome], requests: &[PortRequest], which: usize) -> Vec<Uuid> {
    let rows = outcomes.iter().filter_map(|outcome| outcome.uuid).take(2 * requests.len());
    rows.skip(which).step_by(2).collect()
}

/// The rows inserted in QoS, which no other row keeps alive or takes along.
fn inserted_limits(outcomes: &[Outcome], requests: &[PortRequest]) -> Vec<Uuid> {
    outcomes.iter().filter_map(|outcome| outcome.uuid).skip(2 * requests.len()).collect()
}

fn read_port(bridge: &str, request: &PortRequest, row: &Row) -> Result<Port, NetError> {
    let failed = |reason: &str| {
        Err(NetError::PortFailed {
            port: request.name.clone(),
            bridge: bridge.into(),
            reason: reason.into(),
        })
    };
    if let Some(error) = row.get("error").and_then(Value::as_str) {
        return failed(error);
    }
    let ofport = row.get("ofport").and_then(Value::as_i64).map(u32::try_from);
    let Some(Ok(ofport)) = ofport else { return failed("it has no number; see its log") };
    let link_up = row.get("link_state").and_then(Value::as_str) == Some("up");
    let (name, kind) = (request.name.clone(), request.kind);
    tracing::info!(port = name, bridge, ofport, "port added");
    Ok(Port { name, bridge: bridge.into(), kind, ofport, link_up })
}
