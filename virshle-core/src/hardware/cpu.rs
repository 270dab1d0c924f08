//! A machine's vCPUs.

use virshle_hypervisor::CpusConfig;

use crate::model::definition::Definition;

/// The vCPUs as cloud-hypervisor takes them.
pub(crate) fn cpus_config(definition: &Definition) -> CpusConfig {
    CpusConfig::new(definition.vcpus).max(definition.max_vcpus).nested(definition.nested)
}
