//! Tests of the crate as its users see it.
#![expect(clippy::print_stderr, reason = "a skipped part must be seen")]
#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod clone;
mod convert;
mod qcow2;
mod seed;
