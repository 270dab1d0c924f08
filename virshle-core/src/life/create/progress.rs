//! The progress of a disk's copy.

use crate::model::name::VmName;

/// How far the copy of a disk has come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyProgress<'a> {
    /// The machine.
    pub vm: &'a VmName,
    /// The disk.
    pub disk: &'a str,
    /// Bytes copied.
    pub done_bytes: u64,
    /// Bytes to copy.
    pub total_bytes: u64,
}
