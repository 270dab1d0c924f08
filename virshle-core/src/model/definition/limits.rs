//! How much of the host a machine may take.

use serde::{Deserialize, Serialize};
use virshle_template::{CpuSet, Limit, Limits};

use crate::model::definition::text;

/// How much of the host a machine may take; what is unset is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LimitsDefinition {
    /// Its share of the CPUs, 1 to 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u16>,
    /// The most CPU time, in percent of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit_percent: Option<u32>,
    /// The host's CPUs that it may run on.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::optional")]
    pub cpu_affinity: Option<CpuSet>,
    /// What the VMM may take beside the guest's memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_overhead_bytes: Option<u64>,
    /// Its share of the disks' time, 1 to 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
    /// The most threads of the VMM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl LimitsDefinition {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Changes one of them.
    pub(crate) fn set(&mut self, limit: &Limit) {
        match limit {
            Limit::CpuWeight(weight) => self.cpu_weight = *weight,
            Limit::CpuLimit(percent) => self.cpu_limit_percent = *percent,
            Limit::CpuAffinity(cpus) => self.cpu_affinity.clone_from(cpus),
            Limit::MemoryOverhead(size) => {
                self.memory_overhead_bytes = size.map(|size| size.bytes());
            }
            Limit::IoWeight(weight) => self.io_weight = *weight,
            Limit::Pids(pids) => self.pids = *pids,
            // None that this crate knows of.
            _ => {}
        }
    }
}

impl From<&Limits> for LimitsDefinition {
    fn from(limits: &Limits) -> Self {
        Self {
            cpu_weight: limits.cpu_weight,
            cpu_limit_percent: limits.cpu_limit,
            cpu_affinity: limits.cpu_affinity.clone(),
            memory_overhead_bytes: limits.memory_overhead.map(|size| size.bytes()),
            io_weight: limits.io_weight,
            pids: limits.pids,
        }
    }
}
