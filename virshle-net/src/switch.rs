//! Open vSwitch, reached through its database.

use std::time::Duration;

use crate::deadline::Deadline;
use crate::ovsdb::{
    Address, Client, MonitorRequest, Mutation, Mutator, Operation, Outcome, Row, Ticket, Update,
    Value,
};
use crate::{Capabilities, NetError};

/// The name of Open vSwitch's database.
const DATABASE: &str = "Open_vSwitch";
/// Its table of one row.
const ROOT: &str = "Open_vSwitch";
/// The monitor of what `ovs-vswitchd` has applied.
const APPLIED: &str = "virshle-applied";

/// Open vSwitch, reached through its database.
///
/// Bridges and ports are asked for in the database, and `ovs-vswitchd` makes them. Each request
/// raises `next_cfg`, and `ovs-vswitchd` raises `cur_cfg` to it when it has done what the database
/// says; a monitor shows when. So a call that waits has, when it returns, ports that work or the
/// switch's own message on why they don't.
///
/// What it makes is marked in `external_ids`; what has no such mark is never changed.
///
/// A connection lost between two calls (`ovsdb-server` restarted) is reopened by the next
/// call.
#[derive(Debug)]
pub struct Switch {
    client: Client,
    /// The last `cur_cfg` seen; `None` until the monitor was asked for on this connection.
    applied: Option<i64>,
}

impl Switch {
    /// Connects to the database at `address`; `timeout` is for this, and for every answer of the
    /// database in calls that take no timeout of their own.
    ///
    /// # Errors
    ///
    /// [`NetError::Connect`].
    pub fn connect(address: &Address, timeout: Duration) -> Result<Self, NetError> {
        Ok(Self { client: Client::connect(address, timeout)?, applied: None })
    }

    /// The user and group who run the database server, on a unix socket.
    ///
    /// `ovs-vswitchd` runs as the same user in every packaging we know; it is who must be able to
    /// reach a vhost-user socket.
    #[doc(alias = "SO_PEERCRED")]
    pub fn peer_uid_gid(&self) -> Option<(u32, u32)> {
        self.client.peer().map(|peer| (peer.uid, peer.gid))
    }

    /// What this Open vSwitch can do.
    ///
    /// # Errors
    ///
    /// [`NetError::NotInitialized`]; those of any call to the database.
    pub fn capabilities(&mut self) -> Result<Capabilities, NetError> {
        let select = Operation::select(ROOT, &[], &Capabilities::COLUMNS);
        let outcomes = self.transact(&[select], self.deadline())?;
        self.root(&outcomes[0]).map(Capabilities::of)
    }

    /// Waits for a sign of life of `ovs-vswitchd`: asks it to apply what the database says, once
    /// more, and waits until it reports that it has.
    ///
    /// There is no other honest sign. Its rows stay in the database when it dies; its lock on the
    /// database, and its process, are there also while it hangs.
    ///
    /// # Errors
    ///
    /// [`NetError::SwitchSilent`]; those of any call to the database.
    pub fn ping_vswitchd(&mut self, timeout: Duration) -> Result<(), NetError> {
        let deadline = Deadline::after(timeout);
        let outcomes = self.transact(&bump(), deadline)?;
        let target = self.target(&outcomes)?;
        self.wait_applied(target, "the configuration", deadline)
    }

    /// Waits, woken by the switch and never polling, until every one of `ports` has a link: a
    /// vhost-user port is connected, a tap is up and held by another process.
    ///
    /// The database does the waiting; one that does not answer is given up on after the timeout of
    /// [`connect`](Self::connect) besides.
    ///
    /// # Errors
    ///
    /// [`NetError::NoLink`] names the first that has none.
    pub fn wait_for_link(&mut self, ports: &[&str], timeout: Duration) -> Result<(), NetError> {
        let deadline = Deadline::after(timeout);
        for port in ports {
            let left = deadline.remaining().unwrap_or_default();
            let up = Row::from([("link_state".into(), Value::from("up"))]);
            let wait = Operation::wait(
                "Interface",
                &[crate::ovsdb::Condition::name(port)],
                &["link_state"],
                crate::ovsdb::Until::Equal,
                &[up],
                left,
            );
            // The server does the waiting; it gets a while longer to report a timeout.
            let answer = Deadline::after(left.saturating_add(self.client.timeout()));
            self.transact(&[wait], answer).map_err(|error| match error {
                NetError::Operation { ref error, .. } if error == TIMED_OUT => {
                    NetError::NoLink { port: (*port).into(), timeout }
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// Whether its database is on this host.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.client.address(), Address::Unix(_))
    }

    /// The deadline of an answer where the caller gave none.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.client.timeout())
    }

    pub(crate) fn transact(
        &mut self,
        operations: &[Operation],
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, NetError> {
        let ticket = self.submit(operations, deadline)?;
        self.collect(ticket, deadline)
    }

    pub(crate) fn submit(
        &mut self,
        operations: &[Operation],
        deadline: Deadline,
    ) -> Result<Ticket, NetError> {
        if let Err(error) = self.client.refresh() {
            tracing::debug!(%error, "the connection was lost; reconnecting");
            self.applied = None;
            self.client.reconnect()?;
        }
        self.client.send_transaction(DATABASE, operations, deadline)
    }

    pub(crate) fn collect(
        &mut self,
        ticket: Ticket,
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, NetError> {
        self.client.collect_by(ticket, deadline)
    }

    /// Waits until `ovs-vswitchd` has applied the configuration of number `target`.
    pub(crate) fn wait_applied(
        &mut self,
        target: i64,
        awaited: &str,
        deadline: Deadline,
    ) -> Result<(), NetError> {
        if self.applied.is_none() {
            let tables = [(ROOT, MonitorRequest::new(&["cur_cfg"]))];
            let first = self.client.monitor_by(DATABASE, APPLIED, tables, deadline)?;
            self.note(&first);
        }
        while self.applied.is_none_or(|applied| applied < target) {
            match self.client.next_update_by(deadline)? {
                Some(update) => self.note(&update),
                None => {
                    let timeout = deadline.timeout;
                    return Err(NetError::SwitchSilent { awaited: awaited.into(), timeout });
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, update: &Update) {
        if update.monitor != APPLIED {
            return;
        }
        for (_, change) in update.rows(ROOT) {
            if let Some(number) = change.row().and_then(|row| row.get("cur_cfg")?.as_i64()) {
                self.applied = Some(number);
            }
        }
    }

    /// What `cur_cfg` must reach, from the outcomes of a transaction that ends with [`bump`].
    pub(crate) fn target(&self, outcomes: &[Outcome]) -> Result<i64, NetError> {
        let last = outcomes.last().expect("a transaction with `bump` has operations");
        let next = self.root(last)?.get("next_cfg").and_then(Value::as_i64);
        next.ok_or_else(|| NetError::NotInitialized { address: self.client.address().to_string() })
    }

    fn root<'a>(&self, outcome: &'a Outcome) -> Result<&'a Row, NetError> {
        outcome
            .rows
            .first()
            .ok_or_else(|| NetError::NotInitialized { address: self.client.address().to_string() })
    }
}

/// The database's short name for a `wait` that was in vain.
pub(crate) const TIMED_OUT: &str = "timed out";

/// What ends a transaction that `ovs-vswitchd` is to acknowledge.
pub(crate) fn bump() -> [Operation; 2] {
    [
        Operation::mutate(ROOT, &[], [Mutation::new("next_cfg", Mutator::Add, 1)]),
        Operation::select(ROOT, &[], &["next_cfg"]),
    ]
}

/// A condition of a transaction: there is exactly this row among those of that name.
pub(crate) fn guard(table: &str, name: Option<&str>, column: &str, value: Value) -> Operation {
    let conditions: Vec<_> = name.into_iter().map(crate::ovsdb::Condition::name).collect();
    let row = Row::from([(column.into(), value)]);
    let until = crate::ovsdb::Until::Equal;
    Operation::wait(table, &conditions, &[column], until, &[row], Duration::ZERO)
}
