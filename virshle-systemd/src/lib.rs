#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! A blocking client of systemd's manager: transient scopes and timers, over D-Bus.
//!
//! systemd offers its manager on a Unix socket that speaks D-Bus. This crate speaks as much of that
//! protocol as the manager's methods need, so that a program gets a process its own scope, its
//! limits and an event at its end without a D-Bus library.
//!
//! The model in short:
//! - [`Manager`] is where a manager listens: the host's for root, the caller's own otherwise.
//! - [`Connection`] sends a call and returns at once; [`Connection::wait`] reads its answer, with a
//!   deadline.
//! - [`Property`] is one of a unit's settings, as `systemd.directives(7)` lists them.
//! - [`UnitName`] is a name that systemd takes.
//!
//! # Limitations
//!
//! Linux, systemd 239 or newer. Strings, numbers and lists of them; no descriptors are passed, no
//! signals are handled: those that come are passed over.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use virshle_systemd::{Manager, Property, UnitName};
//!
//! let manager = Manager::of_caller().expect("systemd runs this host");
//! let mut connection = manager.connect(Duration::from_secs(1))?;
//! let name = UnitName::new("work", "scope")?;
//! let properties = [
//!     Property::processes(&[std::process::id()]),
//!     Property::text("Slice", "machine.slice"),
//!     Property::number("MemoryMax", 1 << 30),
//! ];
//! let call = connection.start_transient_unit(&name, &properties)?;
//! // Here is something else to do.
//! connection.wait(call, Duration::from_secs(1))?;
//! # Ok::<(), virshle_systemd::SystemdError>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod connection;
mod error;
mod manager;
mod message;
mod property;
mod unit_name;
mod wire;

pub use connection::{Call, Connection};
pub use error::{MalformedMessage, SystemdError};
pub use manager::Manager;
pub use message::{Message, MessageKind};
pub use property::Property;
pub use unit_name::{InvalidUnitName, UnitName};
