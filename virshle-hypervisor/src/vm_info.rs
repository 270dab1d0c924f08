//! What cloud-hypervisor reports of itself and its machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::vm_config::VmConfig;

/// The process, as `vmm.ping` reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Ping {
    /// Its process id, in its own namespace.
    pub pid: Option<i64>,
    /// Its version, as `53.0.0`.
    pub version: String,
    /// How its build was called, as `v53.0-dirty`.
    #[serde(default)]
    pub build_version: String,
    /// What it was built with.
    #[serde(default)]
    pub features: Vec<String>,
}

/// The machine, as `vm.info` reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct VmInfo {
    /// What it does.
    pub state: VmState,
    /// What it is made of, with all defaults.
    pub config: VmConfig,
    /// What memory it has now, in bytes.
    #[serde(default, rename = "memory_actual_size")]
    pub memory_actual_bytes: Option<u64>,
    /// Its devices by id; empty unless it runs. A device that was removed stays here until the
    /// guest lets go of it.
    #[serde(default, deserialize_with = "none_is_empty")]
    pub device_tree: BTreeMap<String, Device>,
}

/// A device of a running machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its id.
    pub id: String,
    /// The ids of the devices behind it.
    #[serde(default)]
    pub children: Vec<String>,
    /// Its PCI address.
    #[serde(default)]
    pub pci_bdf: Option<String>,
    /// Its addresses and interrupts, as cloud-hypervisor writes them.
    #[serde(default)]
    pub resources: Vec<Value>,
}

/// What was added to a running machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PciDevice {
    /// The name it is removed by.
    pub id: String,
    /// Its PCI address.
    pub bdf: String,
}

/// Numbers by device and name: `counters["_disk0"]["read_bytes"]`.
///
/// `u64::MAX` in a latency means that there was nothing to measure.
pub type Counters = BTreeMap<String, BTreeMap<String, u64>>;

/// What a machine does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmState {
    /// It is defined and doesn't run: before `vm.boot`, and after `vm.shutdown`.
    Created,
    /// It runs.
    Running,
    /// It is paused, and can be resumed.
    Paused,
    /// It was shut down. cloud-hypervisor knows the name and reports `Created`.
    Shutdown,
    /// A debugger stopped it.
    BreakPoint,
    /// A state that this crate doesn't know.
    Unknown(String),
}

impl VmState {
    /// The API's name for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Created => "Created",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Shutdown => "Shutdown",
            Self::BreakPoint => "BreakPoint",
            Self::Unknown(name) => name,
        }
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for VmState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(match name.as_str() {
            "Created" => Self::Created,
            "Running" => Self::Running,
            "Paused" => Self::Paused,
            "Shutdown" => Self::Shutdown,
            "BreakPoint" => Self::BreakPoint,
            _ => Self::Unknown(name),
        })
    }
}

fn none_is_empty<'de, D>(deserializer: D) -> Result<BTreeMap<String, Device>, D::Error>
where
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_the_future_is_kept() {
        let state: VmState = serde_json::from_str("\"Migrating\"").unwrap();
        assert_eq!(state, VmState::Unknown("Migrating".into()));
        assert_eq!(state.to_string(), "Migrating");
    }

    #[test]
    fn an_info_with_nulls_is_read() {
        let info: VmInfo = serde_json::from_str(
            r#"{"state":"Running","config":{"cpus":{"boot_vcpus":1,"max_vcpus":2,"nested":true},
            "memory":{"size":1,"zones":null},"payload":null,"disks":null,"net":null,
            "serial":{"mode":"Null","file":null},"console":{"mode":"Off","file":null},
            "platform":{"uuid":"u","oem_strings":null},"landlock_rules":null,
            "landlock_enable":false,"rng":{"src":"/dev/urandom","iommu":false}},
            "memory_actual_size":1,"device_tree":null}"#,
        )
        .unwrap();
        assert_eq!(info.state, VmState::Running);
        assert_eq!(info.config.platform.unwrap().system_uuid.as_deref(), Some("u"));
        assert!(info.config.disks.is_empty());
        assert_eq!(info.memory_actual_bytes, Some(1));
    }
}
