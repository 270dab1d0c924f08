//! Configuration of the vCPUs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::options::{Options, affinity};

/// The virtual processors of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CpusConfig {
    /// How many the machine boots with.
    pub boot_vcpus: u32,
    /// How many it can be given while it runs.
    pub max_vcpus: u32,
    /// How they are grouped; their product is `max_vcpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<CpuTopology>,
    /// Which host CPUs each may run on.
    #[serde(
        default,
        deserialize_with = "crate::vm_config::none_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub affinity: Vec<CpuAffinity>,
    /// Whether the guest may run guests itself; cloud-hypervisor's default is true.
    ///
    /// A snapshot can fail on nested hosts unless it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<bool>,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How virtual processors are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTopology {
    /// Threads of a core: 1 or 2.
    pub threads_per_core: u16,
    /// Cores of a die.
    pub cores_per_die: u16,
    /// Dies of a package.
    pub dies_per_package: u16,
    /// Packages.
    pub packages: u16,
}

/// Which host CPUs one virtual processor may run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuAffinity {
    /// The virtual processor, from 0.
    pub vcpu: u32,
    /// The host's CPUs.
    pub host_cpus: Vec<usize>,
}

impl CpusConfig {
    /// As many processors at boot as ever.
    pub fn new(vcpus: u32) -> Self {
        Self {
            boot_vcpus: vcpus,
            max_vcpus: vcpus,
            topology: None,
            affinity: Vec::new(),
            nested: None,
            extra: Map::new(),
        }
    }

    /// Sets how many the machine can be given while it runs.
    #[must_use]
    pub fn max(mut self, vcpus: u32) -> Self {
        self.max_vcpus = vcpus;
        self
    }

    /// Sets whether the guest may run guests itself.
    #[must_use]
    pub fn nested(mut self, nested: bool) -> Self {
        self.nested = Some(nested);
        self
    }
}

impl CpusConfig {
    /// The value of `--cpus`.
    pub(crate) fn options(&self) -> Options {
        let grouped = |groups: CpuTopology| {
            let CpuTopology { threads_per_core, cores_per_die, dies_per_package, packages } =
                groups;
            format!("{threads_per_core}:{cores_per_die}:{dies_per_package}:{packages}")
        };
        let pairs = self.affinity.iter();
        let pairs =
            pairs.map(|of| (of.vcpu.to_string(), format!("{:?}", of.host_cpus).replace(' ', "")));
        let scheduling = self.extra.get("core_scheduling").and_then(Value::as_str);
        let amx = self.extra.get("features").and_then(|features| features["amx"].as_bool());
        Options::of(self)
            .rename("boot_vcpus", "boot")
            .rename("max_vcpus", "max")
            .set("topology", self.topology.map(grouped))
            .set("affinity", affinity(pairs))
            .set("core_scheduling", scheduling.map(str::to_lowercase))
            .set("features", amx.filter(|amx| *amx).map(|_| "amx"))
    }
}

impl Default for CpusConfig {
    fn default() -> Self {
        Self::new(1)
    }
}
