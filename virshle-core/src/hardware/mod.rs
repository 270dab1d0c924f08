//! The parts of a machine: how each stands in the definition, and how cloud-hypervisor takes it.

pub(crate) mod confine;
pub(crate) mod net;
pub(crate) mod vmm_config;
