//! The node in figures.

use std::path::PathBuf;

use serde::Serialize;

use crate::machine::capacity::meminfo_bytes;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::model::selector::Selection;
use crate::model::state::VmState;
use crate::observe::listing::list;

/// The node in figures.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// What it calls itself.
    pub alias: String,
    /// The host's name.
    pub host: String,
    /// The directory the machines live in.
    pub root: PathBuf,
    /// The configuration's file, if there is one.
    pub config: Option<PathBuf>,
    /// The version of virshle.
    pub version: &'static str,
    /// The host's CPUs, as far as this process may use them.
    pub cpus: usize,
    /// The host's memory, in bytes.
    pub memory: u64,
    /// Memory that is free or can be freed, in bytes.
    pub memory_available: u64,
    /// Room on the filesystem of `root`, in bytes; null if there is no such directory.
    pub disk_available: Option<u64>,
    /// How many machines there are in each state.
    pub machines: Machines,
    /// vCPUs of the machines that run.
    pub vcpus_running: u64,
    /// Memory of the machines that run, in bytes.
    pub memory_running: u64,
}

/// How many machines there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Machines {
    /// All of them.
    pub total: usize,
    /// No VMM.
    pub stopped: usize,
    /// VMM up, not booted.
    pub created: usize,
    /// The guest runs.
    pub running: usize,
    /// The guest is paused.
    pub paused: usize,
    /// The VMM is silent.
    pub unresponsive: usize,
}

impl Node {
    /// The node in figures.
    ///
    /// # Errors
    ///
    /// If the machines can't be listed.
    pub fn info(&self) -> Result<NodeInfo, MachineError> {
        let listing = list(self, &Selection::all())?;
        let mut machines = Machines { total: listing.vms.len(), ..Machines::default() };
        let (mut vcpus_running, mut memory_running) = (0, 0);
        for vm in &listing.vms {
            match vm.state {
                VmState::Stopped => machines.stopped += 1,
                VmState::Created => machines.created += 1,
                VmState::Running => machines.running += 1,
                VmState::Paused => machines.paused += 1,
                VmState::Unresponsive => machines.unresponsive += 1,
            }
            if vm.state != VmState::Stopped {
                vcpus_running = u64::saturating_add(vcpus_running, vm.vcpus.into());
                memory_running = u64::saturating_add(memory_running, vm.memory_bytes);
            }
        }
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let space = rustix::fs::statvfs(self.root()).ok();
        Ok(NodeInfo {
            alias: self.alias().to_owned(),
            host: self.host().to_owned(),
            root: self.root().to_owned(),
            config: self.config().origin().map(ToOwned::to_owned),
            version: env!("CARGO_PKG_VERSION"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: meminfo_bytes(&memory, "MemTotal"),
            memory_available: meminfo_bytes(&memory, "MemAvailable"),
            disk_available: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            machines,
            vcpus_running,
            memory_running,
        })
    }
}
