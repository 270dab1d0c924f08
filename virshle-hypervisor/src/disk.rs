//! Configuration of disks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::memory::is_false;
use crate::options::{Options, affinity};

/// A disk of a machine.
///
/// Its image type is always sent: a raw image whose type cloud-hypervisor has to guess is not
/// written to in its first sector, and a guessed qcow2 has no backing files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiskConfig {
    /// The image or block device. Absent for a vhost-user disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// What the image is. A wrong one is refused at boot.
    #[serde(default)]
    pub image_type: ImageType,
    /// The name it is removed and resized by; `_disk0` and so on if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Not written to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub readonly: bool,
    /// Past the host's page cache.
    #[serde(default, skip_serializing_if = "is_false")]
    pub direct: bool,
    /// The image may name another that holds what it doesn't.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backing_files: bool,
    /// What `/dev/disk/by-id/virtio-…` calls it in the guest; at most 20 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Queues, at most as many as vCPUs at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_queues: Option<usize>,
    /// Entries of a queue, a power of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_size: Option<u16>,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a disk image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ImageType {
    /// The bytes of the disk.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// A fixed-size VHD.
    FixedVhd,
    /// Hyper-V's format.
    Vhdx,
    /// To be guessed, with the limits described at [`DiskConfig`].
    #[default]
    Unknown,
}

impl ImageType {
    /// The name on cloud-hypervisor's command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::FixedVhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Unknown => "unknown",
        }
    }
}

impl DiskConfig {
    /// The value of `--disk`.
    pub(crate) fn options(&self) -> Options {
        let queues = self.extra.get("queue_affinity").and_then(Value::as_array);
        let pairs = queues.into_iter().flatten();
        let pairs = pairs.map(|of| (of["queue_index"].to_string(), of["host_cpus"].to_string()));
        Options::of(self)
            .rename("vhost_socket", "socket")
            .set("image_type", Some(self.image_type.name()))
            .set("queue_affinity", affinity(pairs))
            .rate_limiter(&self.extra)
    }

    /// A disk that lies in `path`.
    pub fn new(path: impl Into<PathBuf>, image_type: ImageType) -> Self {
        Self {
            path: Some(path.into()),
            image_type,
            id: None,
            readonly: false,
            direct: false,
            backing_files: false,
            serial: None,
            num_queues: None,
            queue_size: None,
            extra: Map::new(),
        }
    }

    /// Sets the name it is removed and resized by.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets whether it is only read.
    #[must_use]
    pub fn readonly(mut self, readonly: bool) -> Self {
        self.readonly = readonly;
        self
    }

    /// Sets whether the image may name another that holds what it doesn't.
    #[must_use]
    pub fn backing_files(mut self, backing_files: bool) -> Self {
        self.backing_files = backing_files;
        self
    }

    /// Sets the number of queues, at most as many as vCPUs at boot.
    #[must_use]
    pub fn queues(mut self, queues: usize) -> Self {
        self.num_queues = Some(queues);
        self
    }

    /// Sets what the guest calls it.
    #[must_use]
    pub fn serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }
}
