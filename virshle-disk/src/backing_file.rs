//! What a conversion, or a clone, does with the backing file of its source.

/// What becomes of a qcow2 with a backing file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackingFile {
    /// It is refused: its header could name any file of this host.
    #[default]
    Refuse,
    /// What it takes from there is read, and becomes part of the raw image; an overlay depends on it.
    Follow,
}
