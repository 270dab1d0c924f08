//! This program as what keeps the logs of a VMM within bounds.

use virshle_core::hypervisor::LogKeeper;

use crate::own_path::own_path;

/// What the command is called that does so, for who runs it beside a VMM.
const WORDS: [&str; 2] = ["node", "keep-logs"];

/// This program as what keeps logs.
pub(crate) fn keeper() -> LogKeeper {
    LogKeeper::new(own_path(), &WORDS)
}
