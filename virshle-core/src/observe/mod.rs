//! Looking at machines: listings, everything about one, its logs.

pub(crate) mod info;
pub(crate) mod logs;
