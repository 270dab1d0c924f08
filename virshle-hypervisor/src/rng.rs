//! Configuration of the virtio random number generator.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the guest's randomness comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RngConfig {
    /// A device or file of the host.
    pub src: PathBuf,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for RngConfig {
    fn default() -> Self {
        Self { src: "/dev/urandom".into(), extra: Map::new() }
    }
}
