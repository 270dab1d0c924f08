//! Files that other processes may be changing, and waiting for them.

pub(crate) mod deadline;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod in_parallel;
pub(crate) mod lock;
pub(crate) mod remove;
pub(crate) mod socket_watch;
pub(crate) mod source_file;
pub(crate) mod trust;
pub(crate) mod uptime;
pub(crate) mod watch;
