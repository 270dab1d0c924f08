//! The managed network of a node: what it consists of, set up and taken away as a whole, and what each
//! machine has of it.
//!
//! All of it is in `<root>/network`, in a table of nftables, and on the bridge's own interface. Who changes
//! that holds the lock there, and what was applied is recorded before it is, so that it can be taken away
//! after the configuration has changed.

pub(crate) mod addresses;
pub(crate) mod applied;
pub(crate) mod apply;
pub(crate) mod dnsmasq;
pub(crate) mod hosts;
pub(crate) mod parts;
pub(crate) mod ports;
pub(crate) mod publish;
pub(crate) mod reset;
pub(crate) mod resolved;
pub(crate) mod settings;
