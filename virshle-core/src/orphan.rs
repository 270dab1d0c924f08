//! What belongs to no machine: the remains of interrupted work, of crashes and of hand-made
//! changes.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;
use virshle_hypervisor::Vmm;

use crate::{CoreError, Node, VmState};

/// What sort of thing an orphan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OrphanKind {
    /// A cloud-hypervisor process.
    Process,
    /// A port of Open vSwitch.
    Port,
    /// A folder of a machine that was never finished, or was removed.
    Folder,
    /// A socket nobody listens on.
    Socket,
}

/// Something that belongs to no machine, or to one that does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Orphan {
    /// What sort of thing it is.
    pub kind: OrphanKind,
    /// Which one.
    pub what: String,
    #[serde(skip)]
    handle: Handle,
}

/// What is needed to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Handle {
    /// Whatever interrupted work left in the store.
    Leftovers,
    /// The remains of a run of this machine.
    Machine(Uuid),
    /// This process.
    Process(u32),
    /// The ports of a machine that isn't there.
    Port(String),
}

impl fmt::Display for Orphan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OrphanKind::Process => "process",
            OrphanKind::Port => "port",
            OrphanKind::Folder => "folder",
            OrphanKind::Socket => "socket",
        };
        write!(formatter, "{kind} {}", self.what)
    }
}

/// How long the switch may take for an answer, and a killed process to end.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Node {
    /// Finds what belongs to no machine of this node, or to one that does not run.
    pub(crate) fn orphans(&self) -> Result<Vec<Orphan>, CoreError> {
        let mut orphans: Vec<Orphan> = self
            .store()
            .leftovers()?
            .into_iter()
            .map(|path| orphan(OrphanKind::Folder, path.display().to_string(), Handle::Leftovers))
            .collect();
        let processes =
            Vmm::all_under(self.root()).map_err(|source| CoreError::Processes { source })?;
        let mut running = HashSet::new();
        for uuid in self.store().uuids()? {
            let Ok(vm) = self.vm(uuid) else { continue };
            let status = vm.status();
            if status.state != VmState::Stopped {
                running.insert(uuid);
                continue;
            }
            let stale = vm.sockets().into_iter().filter(|path| path.symlink_metadata().is_ok());
            orphans.extend(stale.map(|path| {
                orphan(OrphanKind::Socket, path.display().to_string(), Handle::Machine(uuid))
            }));
        }
        for vmm in processes {
            // A process whose machine answers is that machine's, or its folder was taken over.
            let owner = running.iter().find(|uuid| self.status(**uuid).pid == Some(vmm.pid()));
            if owner.is_none() {
                let what = format!("cloud-hypervisor, pid {}", vmm.pid());
                orphans.push(orphan(OrphanKind::Process, what, Handle::Process(vmm.pid())));
            }
        }
        orphans.extend(self.orphan_ports(&running)?);
        Ok(orphans)
    }

    /// Ports with our mark whose machine does not run. Without a switch there are none.
    fn orphan_ports(&self, running: &HashSet<Uuid>) -> Result<Vec<Orphan>, CoreError> {
        let Ok(mut switch) = self.switch(TIMEOUT) else { return Ok(Vec::new()) };
        let ports = switch.owned_ports().map_err(|source| CoreError::Switch {
            doing: "list the ports of machines".into(),
            source,
        })?;
        let mut orphans = Vec::new();
        for port in ports {
            let uuid: Option<Uuid> = port.owner.uuid.parse().ok();
            // Another node's machines may be on the same switch: they are none of ours.
            if port.owner.node != self.mark() || uuid.is_some_and(|uuid| running.contains(&uuid)) {
                continue;
            }
            let known = uuid.filter(|uuid| self.vm(*uuid).is_ok());
            let handle = known.map_or(Handle::Port(port.owner.uuid), Handle::Machine);
            let what = format!("{} of machine {}", port.name, port.owner.name);
            orphans.push(orphan(OrphanKind::Port, what, handle));
        }
        Ok(orphans)
    }

    /// What marks a port as this node's: the folder its machines live in.
    pub(crate) fn mark(&self) -> String {
        self.root().display().to_string()
    }

    /// Removes orphans, and tells of each what came of it. What a machine got back meanwhile, as
    /// it was started again, is left alone.
    ///
    /// # Errors
    ///
    /// Each orphan has its own result: one failure does not keep the others from being removed.
    pub fn repair(&self, orphans: Vec<Orphan>) -> Vec<(Orphan, Result<(), CoreError>)> {
        orphans
            .into_iter()
            .map(|orphan| {
                let result = self.repair_one(&orphan.handle);
                (orphan, result)
            })
            .collect()
    }

    fn repair_one(&self, handle: &Handle) -> Result<(), CoreError> {
        match handle {
            Handle::Leftovers => self.store().sweep().map(drop),
            Handle::Machine(uuid) => {
                let vm = self.vm(*uuid)?;
                let _lock = vm.lock()?;
                if vm.vmm()?.is_none() {
                    vm.settle();
                }
                Ok(())
            }
            Handle::Process(pid) => {
                let processes = Vmm::all_under(self.root())
                    .map_err(|source| CoreError::Processes { source })?;
                for vmm in processes.into_iter().filter(|vmm| vmm.pid() == *pid) {
                    vmm.kill().map_err(|source| CoreError::Processes { source })?;
                    vmm.wait_exit(TIMEOUT);
                }
                Ok(())
            }
            Handle::Port(owner) => {
                self.switch(TIMEOUT)?.remove_ports_of(owner, TIMEOUT).map(drop).map_err(|source| {
                    CoreError::Switch { doing: "remove orphaned ports".into(), source }
                })
            }
        }
    }
}

fn orphan(kind: OrphanKind, what: String, handle: Handle) -> Orphan {
    Orphan { kind, what, handle }
}
