//! The managed network: what a host itself serves to the machines on a bridge. Addresses and names by
//! dnsmasq, the way out and published ports by nftables, the host's own address by rtnetlink.
//!
//! - A [`ManagedNetwork`] says what it consists of, and has the texts of it: dnsmasq's configuration,
//!   the rules.
//! - A [`Dnsmasq`] is a process that serves one, held so that it can't come to mean another.
//! - A [`Ruleset`] is the table of nftables that is there for one.
//! - [`conflicts`] finds what on the host is in its way, before anything is changed.
//!
//! Nothing of the host's own firewall, and no other dnsmasq, is ever touched.

mod account;
mod conflict;
mod dnsmasq;
mod error;
mod firewall;
mod network;
mod nft;
mod ports;
mod rules;
mod subnet;
mod sysctl;

pub use account::Account;
pub use conflict::{Conflict, conflicts};
pub use dnsmasq::{Dnsmasq, check_dnsmasq};
pub use error::ManagedError;
pub use firewall::{Obstacle, obstacles};
pub use network::ManagedNetwork;
pub use nft::check_nft;
pub use ports::PublishedPort;
pub use rules::{Ruleset, RulesetState};
pub use subnet::ServedSubnet;
pub use sysctl::Forwarding;
