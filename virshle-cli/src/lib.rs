//! The `v` command: virtual machines from templates, on cloud-hypervisor and Open vSwitch.
//!
//! Words in, tables out. Each subcommand parses its words, calls one operation of
//! [`virshle_core`], and hands the value to be shown as a table for people, or as JSON for
//! programs. Everything it can do can be done from Rust with `virshle_core`.
//!
//! This library is what the programs `v` and `virshle`, which are the same, have in common.
//!
//! # Limitations
//!
//! Its Rust interface is [`main`] alone. What programs rely on is the command line, the JSON and
//! the exit codes.
//!
//! # Example
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     virshle_cli::main()
//! }
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod action;
mod cli;
mod commands;
mod context;
mod error;
mod escape;
mod exit_code;
mod follow;
mod logging;
mod machines;
mod output;
mod own_path;
mod paint;
mod program;
mod progress;
mod raw_terminal;
mod remedy;
mod report;
mod sheet;
mod table;
mod terminal_text;
mod timeout;
mod vm_table;

pub use program::main;
