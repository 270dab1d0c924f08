//! Tests of the crate as its users see it.
#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod catalogue;
mod checksum;
mod download;
mod import;
mod lab;
mod pinned;
mod remove;
mod room;
