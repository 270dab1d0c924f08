//! Looking at machines: listings, and everything about one.

pub(crate) mod capture;
pub(crate) mod error;
pub(crate) mod info;
pub(crate) mod listing;
pub(crate) mod network;
pub(crate) mod trace;
pub(crate) mod usage;
pub(crate) mod why;
