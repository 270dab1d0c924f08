//! Landlock rules: what a confined cloud-hypervisor may open.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys;

/// The version of the kernel's landlock interface that cloud-hypervisor insists on (Linux 6.2).
pub const LANDLOCK_MIN_ABI: u32 = 3;

/// A file, or everything below a directory, that cloud-hypervisor may open though its configuration
/// doesn't name it.
///
/// A path that doesn't exist fails `vm.boot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LandlockRule {
    /// The file or directory.
    pub path: PathBuf,
    /// What may be done to it.
    pub access: LandlockAccess,
}

/// What may be done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LandlockAccess {
    /// It may be read.
    #[serde(rename = "r")]
    Read,
    /// It may be written, made and removed.
    #[serde(rename = "w")]
    Write,
    /// Both.
    #[serde(rename = "rw", alias = "wr")]
    ReadWrite,
}

impl LandlockAccess {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::ReadWrite => "rw",
        }
    }
}

impl LandlockRule {
    /// Lets `path` be used so.
    pub fn new(path: impl Into<PathBuf>, access: LandlockAccess) -> Self {
        Self { path: path.into(), access }
    }
}

/// The version of the kernel's landlock interface; `None` if the kernel has it not or off.
///
/// # References
///
/// landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`.
#[doc(alias = "landlock_create_ruleset")]
pub fn landlock_abi() -> Option<u32> {
    sys::landlock_abi()
}

/// Returns whether the kernel offers what cloud-hypervisor needs to confine itself.
pub fn landlock_available() -> bool {
    landlock_abi().is_some_and(|abi| abi >= LANDLOCK_MIN_ABI)
}
