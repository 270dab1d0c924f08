//! Tests of the crate as its users see it.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod cage;
mod client;
mod command_line;
mod exit;
mod landlock;
mod launch;
mod machine;
mod net;
mod qcow2;
mod vm;
mod vmm;
mod vsock;
