//! A disk of a machine, in its definition.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use virshle_disk::{CloneMethod, Format};

use crate::model::definition::text;

/// A disk of a machine. Its file is `disk/<name>` in the machine's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiskDefinition {
    /// The name, unique in the machine.
    #[serde(deserialize_with = "text::file_name")]
    pub name: String,
    /// `raw` or `qcow2`.
    #[serde(with = "text")]
    pub format: Format,
    /// What the guest sees, in bytes.
    pub size_bytes: u64,
    /// How it was created: `reflink`, `copy`, `overlay`, `empty`, `seed`.
    #[serde(with = "text")]
    pub clone: CloneMethod,
    /// The image it was created from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// The files that an overlay depends on, the uppermost first. They are those it was created on:
    /// its own header, which its VMM writes, is compared with them and never believed.
    ///
    /// Empty in what an earlier version wrote; the image then is the one that counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backing: Vec<PathBuf>,
    /// The guest can't write to it.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub readonly: bool,
    /// How many queues it has; as many as there are vCPUs, up to 8, if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
}

impl DiskDefinition {
    /// Whether it depends on a backing file.
    pub fn is_overlay(&self) -> bool {
        self.clone == CloneMethod::Overlay
    }
}
