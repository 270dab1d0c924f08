//! Tests of the crate as its users see it.
#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod config;
mod file;
mod hostile;
mod mistakes;
mod schema;
#[path = "../schema/mod.rs"]
mod schema_check;
