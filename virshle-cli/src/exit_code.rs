//! The exit codes: what a script decides on.

use virshle_core::ErrorKind;

/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// The words on the command line were wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no such machine, template or image.
pub(crate) const NOT_FOUND: u8 = 3;
/// The configuration is wrong.
pub(crate) const CONFIG: u8 = 4;
/// The host lacks something.
pub(crate) const HOST: u8 = 5;
/// Refused in this state.
pub(crate) const STATE: u8 = 6;

/// The table at the end of `v --help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  All done
  1  Something failed (of several machines: at least one)
  2  Wrong words on the command line
  3  No such machine, template or image
  4  The configuration is wrong
  5  The host lacks something: the message says what, `v node check` says all
  6  Refused in this state: running, locked by another, exists already";

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
