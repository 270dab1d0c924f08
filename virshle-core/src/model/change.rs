//! What a change of a machine came to, and how hard it may be.

/// Whether there was anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It was done.
    Done,
    /// It was so already.
    Unchanged,
    /// It was so already, but for the network of a running machine, which has it back.
    Reconnected,
}

/// Whether a running machine may be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse.
    No,
    /// Cut the power.
    Yes,
}
