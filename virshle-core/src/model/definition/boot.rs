//! What a machine boots.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a machine boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Boot {
    /// A firmware, which finds a boot loader on the first disk.
    Firmware {
        /// The firmware's file; the node's own when unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// A kernel, loaded directly.
    Kernel {
        /// The kernel's file.
        path: PathBuf,
        /// The initial file system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initramfs: Option<PathBuf>,
        /// The kernel's command line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cmdline: Option<String>,
    },
}

impl From<&virshle_template::Boot> for Boot {
    fn from(boot: &virshle_template::Boot) -> Self {
        use virshle_template::Boot as Asked;
        match boot {
            Asked::Firmware(path) => Self::Firmware { path: path.clone() },
            Asked::Kernel { kernel, initramfs, cmdline } => Self::Kernel {
                path: kernel.clone(),
                initramfs: initramfs.clone(),
                cmdline: cmdline.clone(),
            },
        }
    }
}
