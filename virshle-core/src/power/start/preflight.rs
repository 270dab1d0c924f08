//! Checks what `vm.create` does not: it accepts everything, and a boot that fails reports little.

use virshle_hypervisor::{Cage, VmConfig};

use crate::fs::source_file;
use crate::hardware::confine::cage;
use crate::hardware::confine::landlock::confined;
use crate::hardware::disk::{check_backing_files, open_disk};
use crate::hardware::net::linux_bridge;
use crate::hardware::net::ports::check_names;
use crate::hardware::net::user;
use crate::hardware::vmm_config;
use crate::machine::capacity::fatal_oversize;
use crate::machine::kvm;
use crate::machine::vm::Vm;
use crate::network::{apply, hosts, ports};
use crate::power::error::StartError;

/// The configuration of the machine without its interfaces, whose files can all be opened, and the cage
/// of its VMM, in which they can be, too.
pub(super) fn preflight(vm: &Vm) -> Result<(VmConfig, Cage), StartError> {
    kvm::open()?;
    if let Some(source) = fatal_oversize(vm.definition()) {
        return Err(StartError::Oversize { vm: vm.name().clone(), source });
    }
    let config = vmm_config::without_nets(vm)?;
    for (what, path) in vmm_config::files(&config) {
        let is_own = path.starts_with(vm.directory());
        let opened = if is_own { open_disk(&path).map(drop) } else { source_file::check(&path) };
        opened.map_err(|source| StartError::MissingFile {
            vm: vm.name().clone(),
            what,
            path,
            source,
        })?;
    }
    check_backing_files(vm)?;
    check_names(vm)?;
    linux_bridge::check(vm)?;
    user::check_ports(vm)?;
    prepare_network(vm)?;
    let config = confined(vm, config)?;
    let cage = cage(vm, &config)?;
    Ok((config, cage))
}

/// Makes sure that the managed network, if the machine is on one, serves it, and that the ports that it
/// publishes can be had.
fn prepare_network(vm: &Vm) -> Result<(), StartError> {
    let is_managed = vm.definition().nets.iter().any(|net| net.managed.is_some());
    if is_managed {
        apply::ensure(vm.node())?;
        hosts::register(vm)?;
        ports::check(vm)?;
    }
    Ok(())
}
