//! How far an import has come.

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportProgress {
    /// The step that is running.
    pub step: ImportStep,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to do, if that is known.
    pub total_bytes: Option<u64>,
}

/// A step of an import; they run one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportStep {
    /// The file is downloaded.
    Download,
    /// The checksum of a file of this host is computed.
    Check,
    /// The file is decompressed, converted or copied.
    Convert,
}

impl ImportProgress {
    pub(crate) fn new(step: ImportStep, done_bytes: u64, total_bytes: Option<u64>) -> Self {
        Self { step, done_bytes, total_bytes }
    }
}
