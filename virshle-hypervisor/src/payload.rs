//! The payload: what a machine boots.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a machine boots: a firmware, or a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PayloadConfig {
    /// The firmware, which finds its own way on the disks. Excludes everything else here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<PathBuf>,
    /// The kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// The kernel's first root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<PathBuf>,
    /// The kernel's command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// Everything else, by its JSON name: `igvm`, `host_data`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl PayloadConfig {
    /// Boots a firmware.
    pub fn firmware(path: impl Into<PathBuf>) -> Self {
        Self { firmware: Some(path.into()), ..Self::default() }
    }

    /// Boots a kernel.
    pub fn kernel(path: impl Into<PathBuf>) -> Self {
        Self { kernel: Some(path.into()), ..Self::default() }
    }

    /// Sets the kernel's first root filesystem.
    #[must_use]
    pub fn initramfs(mut self, path: impl Into<PathBuf>) -> Self {
        self.initramfs = Some(path.into());
        self
    }

    /// Sets the kernel's command line.
    #[must_use]
    pub fn cmdline(mut self, cmdline: impl Into<String>) -> Self {
        self.cmdline = Some(cmdline.into());
        self
    }
}
