//! What a call that converges did.

/// What a call of a switch or a device did whose name begins with `ensure`, `remove` or `delete`: the one
/// kind that they return.
///
/// Exhaustive on purpose: a call creates, removes or leaves alone. Adding an outcome is a breaking
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was absent and has been created.
    Made,
    /// It was there and has been removed.
    Removed,
    /// It was as asked for already.
    Unchanged,
}
