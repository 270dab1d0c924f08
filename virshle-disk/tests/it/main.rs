//! Tests of the crate as its users see it.
#![expect(clippy::print_stderr, reason = "a skipped part must be seen")]

mod seed;
