//! The parts of a machine: how each is defined, and how cloud-hypervisor is configured with it.

pub(crate) mod boot;
pub(crate) mod cgroup;
pub(crate) mod confine;
pub(crate) mod cpu;
pub(crate) mod disk;
pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod passt_scope;
pub(crate) mod queues;
pub(crate) mod scope;
pub(crate) mod vmm_config;
