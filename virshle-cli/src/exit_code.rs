//! The exit codes.

use virshle_core::ErrorKind;

/// A failure that has no code of its own.
pub(crate) const FAILED: u8 = 1;
/// Invalid command-line arguments.
pub(crate) const USAGE: u8 = 2;
/// No such machine, template or image.
pub(crate) const NOT_FOUND: u8 = 3;
/// Invalid configuration.
pub(crate) const CONFIG: u8 = 4;
/// The host lacks a requirement.
pub(crate) const HOST: u8 = 5;
/// Refused in this state.
pub(crate) const STATE: u8 = 6;
/// A session of ssh failed, as ssh itself says it.
pub(crate) const SSH_FAILED: u8 = 255;

/// The table at the end of `v --help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  Success
  1  Failure (of several machines: at least one failed)
  2  Invalid command-line arguments
  3  No such machine, template or image
  4  Invalid configuration
  5  The host lacks a requirement, which the message names; `v node check` lists all
  6  Refused in this state: running, locked by another process, exists already";

/// The exit code for a failure of that kind.
pub(crate) fn of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => USAGE,
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::Config => CONFIG,
        ErrorKind::Host => HOST,
        ErrorKind::State => STATE,
        _ => FAILED,
    }
}
