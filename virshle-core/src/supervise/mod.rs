//! Machines that look after themselves: what is done when one has ended, when the host boots, and when it
//! goes down.

pub(crate) mod boot;
pub(crate) mod ended;
pub(crate) mod error;
pub(crate) mod policy;
pub(crate) mod restart;
pub(crate) mod shutdown;
