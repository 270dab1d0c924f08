//! Orphaned resources: leftovers of interrupted work, of crashes and of changes by hand.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;
use virshle_hypervisor::Vmm;
use virshle_image::{ImageError, ImageName};
use virshle_net::{GuardId, Passt, PasstError};

use crate::fs::error::FileError;
use crate::fs::file::remove_if_there;
use crate::fs::lock::Lock;
use crate::hardware::net::guard;
use crate::hardware::net::user;
use crate::images;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::machine::vmm::belongs_to;
use crate::model::state::VmState;
use crate::power::ended::try_clear_run;
use crate::power::start::is_half_started;
use crate::power::stop::is_half_stopped;

/// What sort of thing an orphan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OrphanKind {
    /// A cloud-hypervisor process, or a passt.
    Process,
    /// A port of Open vSwitch.
    Port,
    /// A directory of a machine that was never finished, or was removed; or of the import of an image
    /// that is in the cache.
    Folder,
    /// A socket that no process listens on.
    Socket,
    /// A file that was to replace another.
    File,
    /// The guard of a port that isn't there.
    Guard,
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
    /// What interrupted work left in the store.
    Leftover(PathBuf),
    /// What the import of this image has left, in that directory.
    Import { name: ImageName, directory: PathBuf },
    /// The remains of a run of this machine.
    Machine(Uuid),
    /// This process.
    Process(u32),
    /// This passt.
    Passt(u32),
    /// The ports of a machine that isn't there.
    Port(String),
    /// Captures whose processes have ended.
    Captures,
    /// The guards of ports that aren't there.
    Guard { bridge: String, id: GuardId },
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
            OrphanKind::Guard => "guard",
        };
        write!(formatter, "{kind} {}", self.what)
    }
}

/// How long the switch may take for an answer, and a killed process to end.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Node {
    /// Removes orphans, each with its result. What a machine got back meanwhile, as
    /// it was started again, is left alone.
    ///
    /// # Errors
    ///
    /// Each orphan has its own result: one failure does not keep the others from being removed.
    pub fn repair(&self, orphans: Vec<Orphan>) -> Vec<(Orphan, Result<(), MachineError>)> {
        orphans
            .into_iter()
            .map(|orphan| {
                let result = repair_one(self, &orphan.handle);
                (orphan, result)
            })
            .collect()
    }
}

/// Finds what belongs to no machine of this node, or to one that does not run.
pub(crate) fn orphans(node: &Node) -> Result<Vec<Orphan>, MachineError> {
    let (mut orphans, running) = look_for_orphans(node)?;
    orphans.extend(orphan_ports(node, &running)?);
    Ok(orphans)
}

/// The same, leaving out what is on the switch.
pub(crate) fn orphans_of_host(node: &Node) -> Result<Vec<Orphan>, MachineError> {
    Ok(look_for_orphans(node)?.0)
}

/// Finds the orphans that are not on the switch, and the machines whose ports are none.
fn look_for_orphans(node: &Node) -> Result<(Vec<Orphan>, HashSet<Uuid>), MachineError> {
    let mut orphans: Vec<Orphan> = node
        .store()
        .leftovers()?
        .into_iter()
        .map(|path| {
            let what = path.display().to_string();
            orphan(OrphanKind::Folder, what, Handle::Leftover(path))
        })
        .collect();
    let processes = processes(node)?;
    orphans.extend(node.store().temporaries()?.into_iter().map(|(path, lock)| {
        let what = path.display().to_string();
        orphan(OrphanKind::File, what, Handle::File { path, lock })
    }));
    // A cache that can't be read is reported where images are.
    let imports = images::leftovers(node).unwrap_or_default();
    orphans.extend(imports.into_iter().map(|(name, directory)| {
        let what = directory.display().to_string();
        orphan(OrphanKind::Folder, what, Handle::Import { name, directory })
    }));
    let mut running = HashSet::new();
    for uuid in node.store().uuids()? {
        let Ok(vm) = node.vm(uuid) else { continue };
        // What is between two states is no orphan.
        if vm.is_being_changed() {
            running.insert(uuid);
            continue;
        }
        let status = vm.status();
        if status.state != VmState::Stopped {
            running.insert(uuid);
            let what = if is_half_started(&vm) {
                "a start"
            } else if is_half_stopped(&vm) {
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
        let stale = user::pid_files(&vm).filter(|path| path.symlink_metadata().is_ok());
        orphans.extend(stale.map(|path| {
            orphan(OrphanKind::File, path.display().to_string(), Handle::Machine(uuid))
        }));
    }
    for vmm in processes {
        if !owns(node, &vmm, &running) {
            let what = format!("cloud-hypervisor, pid {}", vmm.pid());
            orphans.push(orphan(OrphanKind::Process, what, Handle::Process(vmm.pid())));
        }
    }
    orphans.extend(orphan_passts(node, &running)?);
    Ok((orphans, running))
}

/// The passts of this node that serve no running machine.
fn orphan_passts(node: &Node, running: &HashSet<Uuid>) -> Result<Vec<Orphan>, MachineError> {
    let mut orphans = Vec::new();
    for passt in Passt::all_under(node.root()).map_err(passts_failed)? {
        let vm = machine_of(node, &passt);
        let serves = |vm: &Vm| {
            running.contains(&vm.definition().uuid)
                && (vm.is_being_changed() || owns_passt(vm, &passt))
        };
        if vm.as_ref().is_some_and(serves) {
            continue;
        }
        let of = vm.map(|vm| format!(" of machine {}", vm.name())).unwrap_or_default();
        let what = format!("passt, pid {}{of}", passt.pid());
        orphans.push(orphan(OrphanKind::Process, what, Handle::Passt(passt.pid())));
    }
    Ok(orphans)
}

/// The machine whose directory the passt's socket is in, if there is one.
fn machine_of(node: &Node, passt: &Passt) -> Option<Vm> {
    let directory = passt.socket().parent()?;
    let uuid = directory.file_name()?.to_str()?.parse().ok()?;
    node.vm(uuid).ok().filter(|vm| vm.directory() == directory)
}

/// Whether it is the one that the machine knows as its own.
fn owns_passt(vm: &Vm, passt: &Passt) -> bool {
    vm.definition().nets.iter().any(|net| user::passt_pid(vm, net) == Some(passt.pid()))
}

fn passts_failed(source: PasstError) -> MachineError {
    MachineError::Passts { source }
}

/// Ends a passt, unless it has become that of its machine meanwhile.
fn repair_passt(node: &Node, pid: u32) -> Result<(), MachineError> {
    let all = Passt::all_under(node.root()).map_err(passts_failed)?;
    for passt in all.into_iter().filter(|passt| passt.pid() == pid) {
        let vm = machine_of(node, &passt);
        let _lock = vm.as_ref().map(Vm::lock).transpose()?;
        let runs = vm.as_ref().map(Vm::vmm).transpose()?.flatten().is_some();
        let serves = runs && vm.as_ref().is_some_and(|vm| owns_passt(vm, &passt));
        if !serves {
            passt.end(TIMEOUT).map_err(passts_failed)?;
        }
    }
    Ok(())
}

/// Whether a process is that of one of these machines: it answers for it, or another
/// process works on the machine and will know.
fn owns(node: &Node, vmm: &Vmm, machines: &HashSet<Uuid>) -> bool {
    machines.iter().any(|uuid| {
        node.vm(*uuid).is_ok_and(|vm| {
            vm.status().pid == Some(vmm.pid())
                || (vmm.api_socket().starts_with(vm.directory()) && vm.is_being_changed())
        })
    })
}

/// Ports with our mark whose machine does not run. Without a switch there are none.
fn orphan_ports(node: &Node, running: &HashSet<Uuid>) -> Result<Vec<Orphan>, MachineError> {
    let Ok(mut switch) = node.switch(TIMEOUT) else { return Ok(Vec::new()) };
    // Before the ports: a guard comes after its port, and goes before it.
    let bridge = &node.config().network.bridge;
    let guards = guard::connect(node, bridge, TIMEOUT).and_then(|mut guards| guards.list());
    let guards = guards.unwrap_or_default();
    let ports = switch.owned_ports().map_err(|source| MachineError::Switch {
        doing: "list the ports of machines".into(),
        source,
    })?;
    let guarded: HashSet<GuardId> =
        ports.iter().map(|port| GuardId::of(&port.owner.uuid, &port.name)).collect();
    let mut orphans = Vec::new();
    for name in switch.stale_captures(&node.mark()).unwrap_or_default() {
        let what = format!("{name} of a capture that was killed");
        orphans.push(orphan(OrphanKind::Port, what, Handle::Captures));
    }
    for (id, state) in guards {
        if !guarded.contains(&id) {
            let number = state.ofport.map_or("several".into(), |number| number.to_string());
            let what = format!("of port number {number} of {bridge}, which is not there");
            let handle = Handle::Guard { bridge: bridge.clone(), id };
            orphans.push(orphan(OrphanKind::Guard, what, handle));
        }
    }
    for port in ports {
        let uuid: Option<Uuid> = port.owner.uuid.parse().ok();
        // Another node's machines may be on the same switch: they are none of ours.
        if port.owner.node != node.mark() || uuid.is_some_and(|uuid| running.contains(&uuid)) {
            continue;
        }
        let known = uuid.filter(|uuid| node.vm(*uuid).is_ok());
        let handle = known.map_or(Handle::Port(port.owner.uuid), Handle::Machine);
        let what = format!("{} of machine {}", port.name, port.owner.name);
        orphans.push(orphan(OrphanKind::Port, what, handle));
    }
    Ok(orphans)
}

fn repair_one(node: &Node, handle: &Handle) -> Result<(), MachineError> {
    match handle {
        Handle::Leftover(path) => Ok(node.store().sweep_one(path)?),
        Handle::Import { name, directory } => {
            let failed = |error| match error {
                ImageError::Write { path, source } => FileError::Remove { path, source },
                error => FileError::Remove {
                    path: directory.clone(),
                    source: std::io::Error::other(error),
                },
            };
            Ok(images::remove_leftover(node, name).map_err(failed)?)
        }
        Handle::Machine(uuid) => {
            let vm = node.vm(*uuid)?;
            let _lock = vm.lock()?;
            match vm.vmm()? {
                None => try_clear_run(&vm),
                Some(vmm) if is_half_started(&vm) || is_half_stopped(&vm) => {
                    vm.kill(&vmm)?;
                    try_clear_run(&vm)
                }
                Some(_) => Ok(()),
            }
        }
        Handle::Process(pid) => repair_process(node, *pid),
        Handle::Passt(pid) => repair_passt(node, *pid),
        Handle::File { path, lock } => {
            let _lock = Lock::acquire(lock, TIMEOUT)?;
            Ok(remove_if_there(path)
                .map_err(|source| FileError::Remove { path: path.clone(), source })?)
        }
        Handle::Port(owner) => {
            let mut switch = node.switch(TIMEOUT)?;
            let ports = switch.owned_ports().map(|mut ports| {
                ports.retain(|port| port.owner.uuid == *owner);
                ports
            });
            let unguarded = ports.and_then(|ports| guard::unguard_ports(node, &ports, TIMEOUT));
            if let Err(error) = unguarded {
                tracing::warn!(owner, %error, "the guards of its ports are left behind");
            }
            switch.remove_ports_of(owner, TIMEOUT).map(drop).map_err(|source| {
                MachineError::Switch { doing: "remove orphaned ports".into(), source }
            })
        }
        Handle::Captures => {
            let swept = node.switch(TIMEOUT)?.sweep_captures(&node.mark(), TIMEOUT);
            swept.map(drop).map_err(|source| MachineError::Switch {
                doing: "remove what captures have left".into(),
                source,
            })
        }
        Handle::Guard { bridge, id } => guard::connect(node, bridge, TIMEOUT)
            .and_then(|mut guards| guards.remove(&[*id]))
            .map_err(|source| MachineError::Switch {
                doing: "remove orphaned guards".into(),
                source,
            }),
    }
}

/// Kills a process, unless it has become that of its machine meanwhile.
fn repair_process(node: &Node, pid: u32) -> Result<(), MachineError> {
    let failed = |source| MachineError::Processes { source };
    for lost in processes(node)?.into_iter().filter(|vmm| vmm.pid() == pid) {
        let mut vms = node.store().uuids()?.into_iter().filter_map(|uuid| node.vm(uuid).ok());
        let vm = vms.find(|vm| lost.api_socket().starts_with(vm.directory()));
        // Under the lock no process is just starting it.
        let _lock = vm.as_ref().map(Vm::lock).transpose()?;
        let owner = vm.as_ref().map(Vm::vmm).transpose()?.flatten();
        if owner.is_some_and(|owner| owner.pid() == pid) {
            continue;
        }
        lost.kill().map_err(failed)?;
        if !lost.wait_exit(TIMEOUT) {
            return Err(MachineError::Immortal { pid });
        }
    }
    Ok(())
}

/// The VMMs that were started for machines of this node, also for those that are no more.
fn processes(node: &Node) -> Result<Vec<Vmm>, MachineError> {
    let found = Vmm::all_under(&node.store().machines());
    let found = found.map_err(|source| MachineError::Processes { source })?;
    Ok(found.into_iter().filter(|vmm| belongs_to(vmm, node.store())).collect())
}

fn orphan(kind: OrphanKind, what: String, handle: Handle) -> Orphan {
    Orphan { kind, what, handle }
}
