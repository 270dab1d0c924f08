//! A complete, blocking client of the Open vSwitch Database Management Protocol (OVSDB, RFC 7047).
//!
//! JSON-RPC over a unix socket or TCP: transactions of typed operations, monitors whose updates
//! wait until they are asked for, echo both ways, a deadline on every call. It works with any
//! OVSDB database, not only with the one of Open vSwitch.
//!
//! ```no_run
//! use std::time::Duration;
//! use virshle_net::ovsdb::{Address, Client, Condition, Operation};
//!
//! # fn main() -> Result<(), virshle_net::NetError> {
//! let mut client = Client::connect(&Address::default(), Duration::from_secs(5))?;
//! let bridges = Operation::select("Bridge", &[Condition::name("br0")], &["_uuid", "ports"]);
//! let outcomes = client.transact("Open_vSwitch", &[bridges])?;
//! for bridge in &outcomes[0].rows {
//!     println!("br0 has {} ports", bridge["ports"].uuids().count());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Limitations
//!
//! No TLS, no `lock`/`steal`, no `cancel`, and of the server's own extensions none
//! (`monitor_cond`). A TCP host's name is resolved by the system, for as long as that takes.

mod address;
mod client;
mod frame;
mod monitor;
mod operation;
mod outcome;
mod stream;
mod uuid;
mod value;

pub use address::Address;
pub use client::{Client, Ticket};
pub(crate) use frame::{FrameError, Framer};
pub use monitor::{MonitorRequest, RowChange, Update};
pub use operation::{Condition, Function, Mutation, Mutator, Operation, Until};
pub use outcome::Outcome;
pub use stream::Peer;
pub(crate) use stream::Stream;
pub use uuid::Uuid;
pub use value::{Atom, Row, Value};
