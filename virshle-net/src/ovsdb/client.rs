//! The OVSDB client: calls, transactions, monitors.
//!
//! Longer than other files of this crate: every call shares one connection's bookkeeping (answers by
//! number, updates not yet taken), and a third of the lines are the docs of the calls.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::frame::{FrameError, Framer};
use super::outcome::{Unfit, read_outcomes};
use super::stream::{Peer, Stream};
use super::value::not;
use super::{Address, MonitorRequest, Operation, Outcome, Update};
use crate::NetError;
use crate::deadline::Deadline;

/// A connection to a database server.
///
/// Every call waits for `timeout` at most, as given to [`connect`](Self::connect) or
/// [`set_timeout`](Self::set_timeout). A call that timed out leaves the connection usable: the
/// answer is thrown away when it comes. After [`NetError::Malformed`], [`NetError::Closed`] or a
/// failure to send, connect again.
///
/// The server's `echo` requests are answered during any call that waits. A server reached over TCP
/// drops a client that lets them lie: one that idles calls [`next_update`](Self::next_update) now
/// and then.
///
/// # References
///
/// RFC 7047, section 4.
#[derive(Debug)]
pub struct Client {
    address: Address,
    stream: Stream,
    framer: Framer,
    room: Vec<u8>,
    timeout: Duration,
    next_id: u64,
    /// Requests sent and not yet collected, with their answers if they came.
    requests: BTreeMap<u64, Option<Reply>>,
    updates: VecDeque<Update>,
}

/// A transaction that was sent and not yet waited for.
#[derive(Debug)]
#[must_use = "whether it was done is known after `collect`"]
pub struct Ticket {
    id: u64,
    operations: Vec<String>,
}

/// The members of an answer.
#[derive(Debug)]
struct Reply {
    result: Json,
    error: Json,
}

impl Client {
    /// The longest message taken from a server.
    pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
    /// The most updates kept for a caller who does not read them.
    pub const MAX_UPDATES: usize = 1 << 16;

    /// Connects to the server at `address`; `timeout` is for this and for every later call.
    ///
    /// # Errors
    ///
    /// [`NetError::Connect`].
    pub fn connect(address: &Address, timeout: Duration) -> Result<Self, NetError> {
        let stream = Stream::connect(address, Deadline::after(timeout))
            .map_err(|source| NetError::Connect { address: address.to_string(), source })?;
        tracing::debug!(%address, "connected to the database");
        Ok(Self {
            address: address.clone(),
            stream,
            framer: Framer::new(Self::MAX_MESSAGE_BYTES),
            room: vec![0; 64 << 10],
            timeout,
            next_id: 0,
            requests: BTreeMap::new(),
            updates: VecDeque::new(),
        })
    }

    /// Connects again to the same server. What was asked of the old connection and not yet answered
    /// is lost, its monitors and their unread updates too.
    ///
    /// # Errors
    ///
    /// [`NetError::Connect`]; the old connection is kept then, broken as it may be.
    pub fn reconnect(&mut self) -> Result<(), NetError> {
        let fresh = Self::connect(&self.address, self.timeout)?;
        // Numbers are not used twice, or a ticket of before would collect a stranger's answer.
        *self = Self { next_id: self.next_id, ..fresh };
        Ok(())
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Who listens there, on a unix socket.
    #[doc(alias = "SO_PEERCRED")]
    pub fn peer(&self) -> Option<Peer> {
        self.stream.peer
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sets how long a call may take from here on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The names of the server's databases.
    ///
    /// # Errors
    ///
    /// Those of any call: [`NetError::Send`], [`NetError::Receive`], [`NetError::Closed`],
    /// [`NetError::TimedOut`], [`NetError::Malformed`] and [`NetError::Refused`].
    pub fn list_dbs(&mut self) -> Result<Vec<String>, NetError> {
        let answer = self.call("list_dbs", &json!([]))?;
        serde_json::from_value(answer)
            .map_err(|error| self.malformed(format!("the list of databases: {error}")))
    }

    /// The schema of a database, as the server sends it (RFC 7047, section 3.2).
    ///
    /// # Errors
    ///
    /// Those of any call, see [`list_dbs`](Self::list_dbs).
    pub fn get_schema(&mut self, database: &str) -> Result<Map<String, Json>, NetError> {
        match self.call("get_schema", &json!([database]))? {
            Json::Object(schema) => Ok(schema),
            other => Err(self.malformed(not("a schema", &other))),
        }
    }

    /// Does all of `operations` or none, and returns what each gave.
    ///
    /// # Errors
    ///
    /// [`NetError::Operation`] for the one that failed; those of any call, see
    /// [`list_dbs`](Self::list_dbs).
    pub fn transact(
        &mut self,
        database: &str,
        operations: &[Operation],
    ) -> Result<Vec<Outcome>, NetError> {
        let deadline = Deadline::after(self.timeout);
        let ticket = self.send_transaction(database, operations, deadline)?;
        self.collect_by(ticket, deadline)
    }

    /// Sends a transaction without waiting for it.
    ///
    /// # Errors
    ///
    /// [`NetError::Send`], [`NetError::TimedOut`].
    pub fn submit(&mut self, database: &str, operations: &[Operation]) -> Result<Ticket, NetError> {
        self.send_transaction(database, operations, Deadline::after(self.timeout))
    }

    /// Waits for a transaction sent with [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// As [`transact`](Self::transact).
    pub fn collect(&mut self, ticket: Ticket) -> Result<Vec<Outcome>, NetError> {
        self.collect_by(ticket, Deadline::after(self.timeout))
    }

    /// Asks to be notified of changes under the name `monitor`, and returns what is there now.
    ///
    /// # Errors
    ///
    /// Those of any call, see [`list_dbs`](Self::list_dbs).
    pub fn monitor<'a>(
        &mut self,
        database: &str,
        monitor: &str,
        tables: impl IntoIterator<Item = (&'a str, MonitorRequest)>,
    ) -> Result<Update, NetError> {
        self.monitor_by(database, monitor, tables, Deadline::after(self.timeout))
    }

    pub(crate) fn monitor_by<'a>(
        &mut self,
        database: &str,
        monitor: &str,
        tables: impl IntoIterator<Item = (&'a str, MonitorRequest)>,
        deadline: Deadline,
    ) -> Result<Update, NetError> {
        let tables: Map<String, Json> = tables
            .into_iter()
            .map(|(table, request)| (table.to_owned(), request.to_json()))
            .collect();
        let id = self.send("monitor", &json!([database, monitor, tables]), deadline)?;
        let answer = self.answer(id, "monitor", deadline)?;
        Update::from_json(monitor.into(), answer).map_err(|reason| self.malformed(reason))
    }

    /// Ends the monitor of that name; updates that arrived before are still returned.
    ///
    /// # Errors
    ///
    /// [`NetError::Refused`] if there is none; those of any call, see
    /// [`list_dbs`](Self::list_dbs).
    pub fn monitor_cancel(&mut self, monitor: &str) -> Result<(), NetError> {
        self.call("monitor_cancel", &json!([monitor])).map(drop)
    }

    /// The next update of any monitor; `None` if none comes within `timeout`.
    ///
    /// # Errors
    ///
    /// [`NetError::Receive`], [`NetError::Closed`], [`NetError::Malformed`].
    pub fn next_update(&mut self, timeout: Duration) -> Result<Option<Update>, NetError> {
        let deadline = Deadline::after(timeout);
        self.next_update_by(deadline)
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    ///
    /// Those of any call, see [`list_dbs`](Self::list_dbs).
    pub fn echo(&mut self) -> Result<(), NetError> {
        let sent = json!(["virshle"]);
        let answer = self.call("echo", &sent)?;
        if answer == sent { Ok(()) } else { Err(self.malformed(not("an echo", &answer))) }
    }

    /// Takes in what has arrived, without waiting; an error means that the connection is lost.
    pub(crate) fn refresh(&mut self) -> Result<(), NetError> {
        loop {
            while let Some(message) = self.cut()? {
                self.dispatch(message, Deadline::after(self.timeout))?;
            }
            match self.stream.receive(&mut self.room, None) {
                Ok(0) => return Err(self.closed("nothing")),
                Ok(received) => self.framer.push(&self.room[..received]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => {
                    return Err(NetError::Receive {
                        address: self.address.to_string(),
                        awaited: "anything".into(),
                        source,
                    });
                }
            }
        }
    }

    pub(crate) fn next_update_by(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<Update>, NetError> {
        loop {
            if let Some(update) = self.updates.pop_front() {
                return Ok(Some(update));
            }
            match self.pump("update", deadline) {
                Err(NetError::TimedOut { .. }) => return Ok(None),
                other => other?,
            }
        }
    }

    pub(crate) fn send_transaction(
        &mut self,
        database: &str,
        operations: &[Operation],
        deadline: Deadline,
    ) -> Result<Ticket, NetError> {
        let mut parameters = vec![json!(database)];
        parameters.extend(operations.iter().map(Operation::to_json));
        let id = self.send("transact", &Json::Array(parameters), deadline)?;
        Ok(Ticket { id, operations: operations.iter().map(Operation::describe).collect() })
    }

    pub(crate) fn collect_by(
        &mut self,
        ticket: Ticket,
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, NetError> {
        let Ticket { id, operations } = ticket;
        let answer = self.answer(id, "transact", deadline)?;
        match read_outcomes(answer, &operations) {
            Ok(outcomes) => Ok(outcomes),
            Err(Unfit::Failed(error)) => Err(*error),
            Err(Unfit::Malformed(reason)) => Err(self.malformed(reason)),
        }
    }

    fn call(&mut self, method: &str, parameters: &Json) -> Result<Json, NetError> {
        let deadline = Deadline::after(self.timeout);
        let id = self.send(method, parameters, deadline)?;
        self.answer(id, method, deadline)
    }

    fn send(&mut self, method: &str, params: &Json, deadline: Deadline) -> Result<u64, NetError> {
        let id = self.next_id;
        self.next_id += 1;
        tracing::debug!(method, id, "request");
        self.send_message(
            &json!({"method": method, "params": params, "id": id}),
            method,
            deadline,
        )?;
        self.requests.insert(id, None);
        Ok(id)
    }

    fn send_message(
        &mut self,
        message: &Json,
        what: &str,
        deadline: Deadline,
    ) -> Result<(), NetError> {
        tracing::trace!(%message, "sent");
        self.stream.send(message.to_string().as_bytes(), deadline).map_err(|source| {
            if source.kind() == io::ErrorKind::TimedOut {
                self.timed_out(what, deadline)
            } else {
                NetError::Send { address: self.address.to_string(), awaited: what.into(), source }
            }
        })
    }

    fn answer(&mut self, id: u64, method: &str, deadline: Deadline) -> Result<Json, NetError> {
        let awaited = format!("answer to {method}");
        let reply = loop {
            match self.requests.get_mut(&id).map(Option::take) {
                Some(Some(reply)) => break reply,
                // Of an earlier connection, or of another client: it can never come.
                None => return Err(self.closed(&awaited)),
                Some(None) => {}
            }
            if let Err(error) = self.pump(&awaited, deadline) {
                self.requests.remove(&id);
                return Err(error);
            }
        };
        self.requests.remove(&id);
        if reply.error.is_null() {
            return Ok(reply.result);
        }
        Err(NetError::Refused {
            address: self.address.to_string(),
            method: method.into(),
            error: reply.error.to_string(),
        })
    }

    /// Waits for one message at least, and takes it in.
    fn pump(&mut self, awaited: &str, deadline: Deadline) -> Result<(), NetError> {
        loop {
            if let Some(message) = self.cut()? {
                return self.dispatch(message, deadline);
            }
            // A server that sends without end must not keep us beyond the deadline.
            if deadline.remaining().is_none() {
                return Err(self.timed_out(awaited, deadline));
            }
            match self.stream.receive(&mut self.room, Some(deadline)) {
                Ok(0) => return Err(self.closed(awaited)),
                Ok(received) => self.framer.push(&self.room[..received]),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(self.timed_out(awaited, deadline));
                }
                Err(source) => {
                    return Err(NetError::Receive {
                        address: self.address.to_string(),
                        awaited: awaited.into(),
                        source,
                    });
                }
            }
        }
    }

    fn cut(&mut self) -> Result<Option<Json>, NetError> {
        self.framer.next().map_err(|error| match error {
            FrameError::NotJson(reason) => self.malformed(reason),
            FrameError::TooLong => {
                self.malformed(format!("a message has more than {} bytes", Self::MAX_MESSAGE_BYTES))
            }
        })
    }

    fn dispatch(&mut self, message: Json, deadline: Deadline) -> Result<(), NetError> {
        tracing::trace!(%message, "received");
        let Json::Object(mut members) = message else {
            return Err(self.malformed(not("a message", &message)));
        };
        let id = members.remove("id").unwrap_or(Json::Null);
        let params = members.remove("params").unwrap_or(Json::Null);
        match members.remove("method") {
            Some(Json::String(method)) if id.is_null() => self.notified(&method, params),
            Some(Json::String(method)) => {
                let answer = match method.as_str() {
                    "echo" => json!({"id": id, "result": params, "error": null}),
                    _ => json!({"id": id, "result": null, "error": "unknown method"}),
                };
                self.send_message(&answer, "answer to the server's request", deadline)
            }
            None | Some(Json::Null) => {
                let result = members.remove("result").unwrap_or(Json::Null);
                let error = members.remove("error").unwrap_or(Json::Null);
                match id.as_u64().and_then(|id| self.requests.get_mut(&id)) {
                    Some(place) => *place = Some(Reply { result, error }),
                    // To a request that was given up.
                    None => tracing::debug!(%id, "an answer that no call waits for"),
                }
                Ok(())
            }
            Some(other) => Err(self.malformed(not("a method", &other))),
        }
    }

    fn notified(&mut self, method: &str, params: Json) -> Result<(), NetError> {
        if method != "update" {
            tracing::debug!(method, "an unrequested notification");
            return Ok(());
        }
        let update = Update::from_notification(params).map_err(|reason| self.malformed(reason))?;
        if self.updates.len() == Self::MAX_UPDATES {
            return Err(self.malformed(format!("{} updates lie unread", Self::MAX_UPDATES)));
        }
        self.updates.push_back(update);
        Ok(())
    }

    fn malformed(&self, reason: String) -> NetError {
        NetError::Malformed { address: self.address.to_string(), reason }
    }

    fn closed(&self, awaited: &str) -> NetError {
        NetError::Closed { address: self.address.to_string(), awaited: awaited.into() }
    }

    fn timed_out(&self, awaited: &str, deadline: Deadline) -> NetError {
        NetError::TimedOut {
            address: self.address.to_string(),
            awaited: awaited.into(),
            timeout: deadline.timeout,
        }
    }
}
