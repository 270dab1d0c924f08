//! Configuration of the memory.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::options::Options;

/// The memory of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// What the machine boots with, in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Shared with other processes; vhost-user devices need it (or hugepages).
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
    /// Taken from the host's hugepages; implies shared.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hugepages: bool,
    /// Which hugepages, in bytes; the host's default size if unset.
    #[serde(default, rename = "hugepage_size", skip_serializing_if = "Option::is_none")]
    pub hugepage_size_bytes: Option<u64>,
    /// How memory is added while the machine runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotplug_method: Option<HotplugMethod>,
    /// How much can be added while the machine runs, in bytes.
    #[serde(default, rename = "hotplug_size", skip_serializing_if = "Option::is_none")]
    pub hotplug_size_bytes: Option<u64>,
    /// Taken from the host at once and not page by page.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefault: bool,
    /// Claimed from the host at boot: a shortage of hugepages fails `vm.boot` and doesn't kill
    /// the machine later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reserve: bool,
    /// Everything else, by its JSON name: `zones`, `mergeable`, `thp`, …
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How memory is added while a machine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HotplugMethod {
    /// In steps of 128 MiB, few times; never shrinks before a reboot.
    #[default]
    Acpi,
    /// Grows, and shrinks down to what it booted with.
    VirtioMem,
}

impl MemoryConfig {
    /// So many bytes.
    pub fn new(size_bytes: u64) -> Self {
        Self { size_bytes, ..Self::default() }
    }

    /// Sets whether other processes may map it.
    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Sets whether it is taken, and reserved, from the host's hugepages.
    #[must_use]
    pub fn hugepages(mut self, hugepages: bool) -> Self {
        self.hugepages = hugepages;
        self.reserve = hugepages;
        self
    }

    /// Sets how much can be added while the machine runs, and how.
    #[must_use]
    pub fn hotplug(mut self, method: HotplugMethod, size_bytes: u64) -> Self {
        self.hotplug_method = Some(method);
        self.hotplug_size_bytes = Some(size_bytes);
        self
    }
}

impl MemoryConfig {
    /// The value of `--memory`; zones are arguments of their own.
    pub(crate) fn options(&self) -> Options {
        let method = self.hotplug_method.map(|method| match method {
            HotplugMethod::Acpi => "acpi",
            HotplugMethod::VirtioMem => "virtio-mem",
        });
        Options::of(self).set("hotplug_method", method)
    }
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}
