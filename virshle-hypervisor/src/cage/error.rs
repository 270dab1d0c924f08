//! What a kernel lacks for a cage, and why one can't be built.

use std::io;
use std::path::PathBuf;

/// The version of the kernel's landlock interface that a cage needs: the first (Linux 5.13). What the first
/// ones don't restrict, the cutting of files, seccomp refuses.
pub const CAGE_MIN_LANDLOCK_ABI: u32 = 1;

/// A layer of a cage that the kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CageLack {
    /// No landlock, or of an older interface than [`CAGE_MIN_LANDLOCK_ABI`].
    Landlock {
        /// The version of the interface, if there is one.
        abi: Option<u32>,
    },
    /// No seccomp filters.
    Seccomp,
}

impl std::fmt::Display for CageLack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Landlock { abi: None } => formatter.write_str("the kernel offers no landlock"),
            Self::Landlock { abi: Some(abi) } => write!(
                formatter,
                "the kernel's landlock has version {abi}, and {CAGE_MIN_LANDLOCK_ABI} is needed"
            ),
            Self::Seccomp => formatter.write_str("the kernel offers no seccomp filters"),
        }
    }
}

/// Why a cage can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CageError {
    /// The kernel lacks a layer of it.
    #[error("{lack}")]
    Lacking {
        /// The layer.
        lack: CageLack,
    },
    /// A file that the program is to reach isn't there.
    #[error("cannot let {} into the cage", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the landlock rules.
    #[error("cannot create a landlock ruleset")]
    Ruleset {
        /// Why.
        source: io::Error,
    },
    /// The new process couldn't be put into the cage.
    #[error("cannot {step} in the new process")]
    Apply {
        /// What it was about to do.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}
