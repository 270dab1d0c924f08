//! Into the guest: connections, its console, ssh, and waiting for them.

pub(crate) mod console;
pub(crate) mod error;
pub(crate) mod relay;
pub(crate) mod ssh;
pub(crate) mod stream;
pub(crate) mod tcp_race;
pub(crate) mod wait;
