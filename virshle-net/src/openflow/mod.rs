//! A client for the part of OpenFlow that a guard of ports needs: flows added and deleted together,
//! or not at all, and their counters.
//!
//! It speaks OpenFlow 1.4, the first version with bundles, to a bridge's management socket:
//! `<bridge>.mgmt` beside the database's socket, which is there whether or not the bridge has a
//! controller.
//!
//! # References
//!
//! OpenFlow Switch Specification 1.4.0 (sections in the files); `ovs-fields(7)` for Open vSwitch's
//! registers; `ovs-actions(7)` for `resubmit`.

mod client;
mod flow;
mod matching;
mod message;
mod meter;

pub use client::Client;
pub use flow::{Flow, FlowStats};
pub use matching::Match;
pub use message::{Kind, Message, MessageReader};
pub use meter::Meter;
