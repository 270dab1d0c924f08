//! What a wait still lacks, and what wakes it.

use std::time::Duration;

/// How long one attempt may take: the network's first answer may be a while in coming.
pub(super) const SHORTEST_ATTEMPT: Duration = Duration::from_millis(250);
pub(super) const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);

/// What is not as it should be yet.
#[derive(Debug)]
pub(super) struct Missing {
    /// In short, as `it is stopped`.
    pub(super) what: String,
    pub(super) wakeup: Wakeup,
}

/// What wakes the wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakeup {
    /// One of the watches.
    Event,
    /// Nothing: it must be asked for again.
    Poll,
}
