//! The host as a home of machines: set it up, check it, repair it.

pub(crate) mod check;
pub(crate) mod disconnected;
pub(crate) mod heal;
pub(crate) mod info;
pub(crate) mod init;
pub(crate) mod network;
pub(crate) mod repair;
pub(crate) mod setup;
pub(crate) mod ssh_config;
pub(crate) mod step;
