//! What belongs to no machine: the remains of interrupted work, of crashes and of hand-made
//! changes.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;
use virshle_hypervisor::Vmm;

use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::state::VmState;

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
    /// A file that was to replace another.
    File,
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
    /// A file, and the lock under which it is written.
    File { path: PathBuf, lock: PathBuf },
}

impl fmt::Display for Orphan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OrphanKind::Process => "process",
            OrphanKind::Port => "port",
            OrphanKind::Folder => "folder",
            OrphanKind::Socket => "socket",
            OrphanKind::File => "file",
        };
        write!(formatter, "{kind} {}", self.what)
    }
}

/// How long the switch may take for an answer, and a killed process to end.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Node {
    /// Finds what belongs to no machine of this node, or to one that does not run.
    pub(crate) fn orphans(&self) -> Result<Vec<Orphan>, CoreError> {
        let (mut orphans, running) = self.look_for_orphans()?;
        orphans.extend(self.orphan_ports(&running)?);
        Ok(orphans)
    }

    /// The same, leaving out what is on the switch.
    pub(crate) fn orphans_of_host(&self) -> Result<Vec<Orphan>, CoreError> {
        Ok(self.look_for_orphans()?.0)
    }

    /// Finds the orphans that are not on the switch, and the machines whose ports are none.
    fn look_for_orphans(&self) -> Result<(Vec<Orphan>, HashSet<Uuid>), CoreError> {
        let mut orphans: Vec<Orphan> = self
            .store()
            .leftovers()?
            .into_iter()
            .map(|path| orphan(OrphanKind::Folder, path.display().to_string(), Handle::Leftovers))
            .collect();
        let processes =
            Vmm::all_under(self.root()).map_err(|source| CoreError::Processes { source })?;
        orphans.extend(self.store().temporaries()?.into_iter().map(|(path, lock)| {
            let what = path.display().to_string();
            orphan(OrphanKind::File, what, Handle::File { path, lock })
        }));
        let mut running = HashSet::new();
        for uuid in self.store().uuids()? {
            let Ok(vm) = self.vm(uuid) else { continue };
            // What is between two states is nobody's orphan.
            if vm.is_being_changed() {
                running.insert(uuid);
                continue;
            }
            let status = vm.status();
            if status.state != VmState::Stopped {
                running.insert(uuid);
                let what = if vm.is_half_started() {
                    "a start"
                } else if vm.is_half_stopped() {
                    "a stop"
                } else {
                    continue;
                };
                if let Some(pid) = status.pid {
                    let what = format!("cloud-hypervisor, pid {pid}, of {what} that was cut short");
                    orphans.push(orphan(OrphanKind::Process, what, Handle::Machine(uuid)));
                }
                continue;
            }
            let stale = vm.sockets().into_iter().filter(|path| path.symlink_metadata().is_ok());
            orphans.extend(stale.map(|path| {
                orphan(OrphanKind::Socket, path.display().to_string(), Handle::Machine(uuid))
            }));
        }
        for vmm in processes {
            if !self.owns(&vmm, &running) {
                let what = format!("cloud-hypervisor, pid {}", vmm.pid());
                orphans.push(orphan(OrphanKind::Process, what, Handle::Process(vmm.pid())));
            }
        }
        Ok((orphans, running))
    }

    /// Whether a process is that of one of these machines: it answers for it, or somebody works on
    /// the machine and will know.
    fn owns(&self, vmm: &Vmm, machines: &HashSet<Uuid>) -> bool {
        machines.iter().any(|uuid| {
            self.vm(*uuid).is_ok_and(|vm| {
                vm.status().pid == Some(vmm.pid())
                    || (vmm.api_socket().starts_with(vm.folder()) && vm.is_being_changed())
            })
        })
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
                match vm.vmm()? {
                    None => vm.settle(),
                    Some(vmm) if vm.is_half_started() || vm.is_half_stopped() => {
                        vm.kill(&vmm)?;
                        vm.settle();
                    }
                    Some(_) => {}
                }
                Ok(())
            }
            Handle::Process(pid) => self.repair_process(*pid),
            Handle::File { path, lock } => {
                let _lock = Lock::acquire(lock, TIMEOUT)?;
                match std::fs::remove_file(path) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        Err(CoreError::Write { path: path.clone(), source })
                    }
                    _ => Ok(()),
                }
            }
            Handle::Port(owner) => {
                self.switch(TIMEOUT)?.remove_ports_of(owner, TIMEOUT).map(drop).map_err(|source| {
                    CoreError::Switch { doing: "remove orphaned ports".into(), source }
                })
            }
        }
    }
}

impl Node {
    /// Kills a process, unless it has become that of its machine meanwhile.
    fn repair_process(&self, pid: u32) -> Result<(), CoreError> {
        let failed = |source| CoreError::Processes { source };
        let processes = Vmm::all_under(self.root()).map_err(failed)?;
        for lost in processes.into_iter().filter(|vmm| vmm.pid() == pid) {
            let mut vms = self.store().uuids()?.into_iter().filter_map(|uuid| self.vm(uuid).ok());
            let vm = vms.find(|vm| lost.api_socket().starts_with(vm.folder()));
            // Under the lock nobody is just starting it.
            let _lock = vm.as_ref().map(Vm::lock).transpose()?;
            let owner = vm.as_ref().map(Vm::vmm).transpose()?.flatten();
            if owner.is_some_and(|owner| owner.pid() == pid) {
                continue;
            }
            lost.kill().map_err(failed)?;
            lost.wait_exit(TIMEOUT);
        }
        Ok(())
    }
}

fn orphan(kind: OrphanKind, what: String, handle: Handle) -> Orphan {
    Orphan { kind, what, handle }
}
