//! Looking at machines: listings, and everything about one.

pub(crate) mod info;
pub(crate) mod listing;
pub(crate) mod usage;
pub(crate) mod why;
