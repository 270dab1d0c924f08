//! Checks what `vm.create` does not: it takes everything, and a boot that fails says little.

use virshle_hypervisor::VmConfig;

use crate::fs::source_file;
use crate::hardware::confine::confined;
use crate::hardware::net::user;
use crate::hardware::vmm_config;
use crate::machine::kvm;
use crate::machine::vm::Vm;
use crate::power::error::StartError;

/// The configuration of the machine without its interfaces, whose files can all be opened.
pub(super) fn preflight(vm: &Vm) -> Result<VmConfig, StartError> {
    kvm::open()?;
    let config = vmm_config::without_nets(vm)?;
    for (what, path) in vmm_config::files(&config) {
        source_file::check(&path).map_err(|source| StartError::MissingFile {
            vm: vm.name().clone(),
            what,
            path,
            source,
        })?;
    }
    user::check_ports(vm)?;
    Ok(confined(vm, config)?)
}
