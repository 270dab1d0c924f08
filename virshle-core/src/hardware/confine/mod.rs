//! The cage of a machine's VMM: its user, the files it reaches, and what else it is kept from.
//!
//! A VMM that its guest has taken over reaches its own machine's files and no others. It has a user of
//! its own, if `v` is root, and whatever its user may do, landlock and seccomp keep every thread of it
//! from the rest: see [`virshle_hypervisor::Cage`].

pub(crate) mod error;
pub(crate) mod grants;
pub(crate) mod landlock;
mod ownership;
pub(crate) mod user;

use std::path::{Path, PathBuf};

use virshle_hypervisor::{
    Cage, CageAccess, Connections, Identity, Strictness, View, VmConfig, cage_lacks, find_program,
    try_own_view,
};
use virshle_net::AccessRights;
use virshle_template::Confine;

use crate::failure::chain;
use crate::hardware::confine::error::ConfineError;
use crate::hardware::confine::grants::Grants;
use crate::hardware::confine::user::MachineUser;
use crate::hardware::disk::backing_files;
use crate::hardware::error::HardwareError;
use crate::hardware::vmm_config::payload_files;
use crate::machine::kvm;
use crate::machine::vm::Vm;
use crate::model::definition::{DiskDefinition, NetKind};
use crate::store::layout;

/// The filesystem that cloud-hypervisor asks for the size of a page.
const HUGEPAGES: &str = "/dev/hugepages";

/// The cage for the VMM of a machine whose configuration is `config`, once all that belongs to the
/// machine belongs to its user. The caller holds the machine's lock.
///
/// Everything is looked at before anything is changed. What is changed (owners, access lists) is no
/// different after a start that fails: the next one needs it so.
pub(crate) fn cage(vm: &Vm, config: &VmConfig) -> Result<Cage, HardwareError> {
    let best_effort = vm.node().config().hypervisor.confine == Confine::BestEffort;
    let failed = |source| HardwareError::Confine { vm: vm.name().clone(), source };
    for lack in cage_lacks() {
        if !best_effort {
            return Err(failed(ConfineError::Lacking { lack }));
        }
        tracing::warn!(vm = %vm.name(), %lack, "its VMM is less confined");
    }
    let paths = Paths::of(vm, config)?;
    let program = vm.node().hypervisor_program()?;
    let identity = match prepare_user(vm, &paths, &program) {
        Err(error) if best_effort => {
            tracing::warn!(vm = %vm.name(), %error, "its VMM has no user of its own");
            None
        }
        other => other.map_err(failed)?,
    };
    // A user is not always given namespaces; root is, but in some containers.
    let view = if rustix::process::geteuid().is_root() { View::Own } else { View::OwnIfPossible };
    if best_effort && view == View::Own {
        if let Err(error) = try_own_view() {
            tracing::warn!(vm = %vm.name(), error = %chain(&error), "its VMM sees the host's files and network");
        }
    }
    let strictness = if best_effort { Strictness::BestEffort } else { Strictness::Required };
    let mut cage = Cage::new().strictness(strictness).file(kvm::DEVICE, CageAccess::Device);
    if let Some(identity) = identity {
        cage = cage.identity(identity);
    }
    for (path, readonly) in &paths.disks {
        cage = cage.file(path, if *readonly { CageAccess::Read } else { CageAccess::ReadWrite });
    }
    for path in &paths.shared {
        cage = cage.file(path, CageAccess::Read);
    }
    // passt is the server of its socket; every other one is the VMM's own. One that is lost is replaced,
    // and its socket with it: so what is seen is the directory.
    if vm.definition().nets.iter().any(|net| net.kind == NetKind::User) {
        cage = cage.connections(Connections::Allowed).show(vm.directory());
    }
    if vm.definition().hugepages && Path::new(HUGEPAGES).exists() {
        cage = cage.show(HUGEPAGES);
    }
    // The whole of it: disks come and go while the machine runs.
    let cage = cage.view(view).show(layout::disks(vm.directory()));
    Ok(cage.file(layout::sockets(vm.directory()), CageAccess::Sockets))
}

/// The files that a machine's VMM opens by their paths.
struct Paths {
    /// Its own disks, and whether they are only read.
    disks: Vec<(PathBuf, bool)>,
    /// What it reads and others may read as well: what it boots, the images below its overlays. They
    /// are named by its definition and by the configuration, and never by a disk alone.
    shared: Vec<PathBuf>,
}

impl Paths {
    fn of(vm: &Vm, config: &VmConfig) -> Result<Self, HardwareError> {
        let disks = &vm.definition().disks;
        let mut shared: Vec<_> = payload_files(config).collect();
        for disk in disks {
            shared.extend(backing_files(vm, &disk.name)?);
        }
        let disks = disks.iter().map(|disk| (vm.disk(&disk.name), disk.readonly)).collect();
        Ok(Self { disks, shared })
    }
}

/// The images that overlays depend on, as their definitions name them.
fn named_bases(disks: &[DiskDefinition]) -> impl Iterator<Item = PathBuf> {
    let overlays = disks.iter().filter(|disk| disk.is_overlay());
    overlays.flat_map(|disk| disk.backing.iter().chain(&disk.source).cloned())
}

/// Gives the machine what belongs to it, and its user access to what it shares. None if this process
/// can't start others as another user.
fn prepare_user(vm: &Vm, paths: &Paths, program: &Path) -> Result<Option<Identity>, ConfineError> {
    let Some(user) = MachineUser::of(vm)? else { return Ok(None) };
    let identity = user.identity();
    let mut grants = Grants::new(&user);
    grants.own_directory(vm.directory())?;
    grants.shared(Path::new(kvm::DEVICE), AccessRights::READ_WRITE)?;
    for path in &paths.shared {
        grants.shared(path, AccessRights::READ)?;
    }
    // One that isn't there is the launch's to report.
    if let Some(program) = find_program(program).filter(|program| program.exists()) {
        grants.program(&program)?;
    }
    let owned = ownership::plan(vm, &user)?;
    grants.apply()?;
    owned.apply()?;
    Ok(Some(identity))
}

/// Takes back the access to what `vm`, which is being removed, shared with no other machine of the
/// node. What can't be taken back is logged.
pub(crate) fn release(vm: &Vm) {
    let Ok(Some(user)) = MachineUser::of(vm) else { return };
    let Ok(uuids) = vm.node().store().uuids() else { return };
    let others: Vec<Vm> = uuids
        .into_iter()
        .filter(|uuid| *uuid != vm.definition().uuid)
        .filter_map(|uuid| vm.node().vm(uuid).ok())
        .collect();
    let mut needed: Vec<PathBuf> = others.iter().flat_map(shared_paths).collect();
    if !others.is_empty() {
        needed.extend([vm.node().store().machines(), kvm::DEVICE.into()]);
    }
    let mut released = shared_paths(vm);
    released.extend([vm.directory().to_owned(), kvm::DEVICE.into()]);
    if let Err(error) = grants::revoke(&released, &needed, user.shared_group()) {
        tracing::warn!(vm = %vm.name(), %error, "access for its user is left behind");
    }
}

/// What a machine shares, as far as that is known without starting it.
fn shared_paths(vm: &Vm) -> Vec<PathBuf> {
    let payload = crate::hardware::vmm_config::without_nets(vm)
        .map(|config| payload_files(&config).collect::<Vec<_>>())
        .unwrap_or_default();
    payload.into_iter().chain(named_bases(&vm.definition().disks)).collect()
}
