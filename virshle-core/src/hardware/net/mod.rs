//! A machine's network interfaces and their other ends.

pub(crate) mod attach;
pub(crate) mod bridge;
pub(crate) mod config;
pub(crate) mod devices;
pub(crate) mod disconnect;
pub(crate) mod guard;
pub(crate) mod linux_bridge;
pub(crate) mod ports;
pub(crate) mod rates;
pub(crate) mod reconnect;
mod replug;
pub(crate) mod shared_ports;
pub(crate) mod taps;
pub(crate) mod user;
