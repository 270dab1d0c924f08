#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! The `v` command: virtual machines from templates, on cloud-hypervisor and Open vSwitch.
//!
//! Arguments in, tables out. Each subcommand parses its arguments, calls one operation of
//! [`virshle_core`], and prints the value as a table for people, or as JSON for programs. Everything
//! it can do can be done from Rust with `virshle_core`.
//!
//! This library is the whole program; `v` and `virshle` are two names of it.
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
mod advice;
mod candidates;
mod cli;
mod commands;
mod completion;
mod context;
mod error;
mod escape;
mod exit_code;
mod follow;
mod globals;
mod habits;
mod limits;
mod live_text;
mod log_keeper;
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

/// What of a guest's output a console prints. For the fuzz programs alone: it may change at any time.
#[doc(hidden)]
pub fn filter_console(pieces: &[&[u8]]) -> Vec<u8> {
    let mut filter = live_text::LiveText::default();
    pieces.iter().flat_map(|piece| filter.filter(piece)).collect()
}
