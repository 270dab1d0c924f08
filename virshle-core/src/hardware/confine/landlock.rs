//! The landlock rules that cloud-hypervisor sets for itself, within its cage: they hold the threads of the
//! machine apart from what the whole process may still reach.

use std::path::Path;

use virshle_hypervisor::{LandlockAccess, LandlockRule, VmConfig, landlock_available};

use crate::hardware::disk::backing_files;
use crate::hardware::error::HardwareError;
use crate::machine::vm::Vm;
use crate::model::definition::NetKind;
use crate::store::layout;

/// Confines the VMM, if the kernel offers it, to what `config` names and what that leads to.
pub(crate) fn confined(vm: &Vm, config: VmConfig) -> Result<VmConfig, HardwareError> {
    if !landlock_available() {
        return Ok(config);
    }
    let mut rules = Vec::new();
    for disk in vm.definition().disks.iter().filter(|disk| disk.is_overlay()) {
        for path in backing_files(vm, &disk.name)? {
            rules.push(LandlockRule::new(path, LandlockAccess::Read));
        }
    }
    for net in &vm.definition().nets {
        let (path, access) = match net.kind {
            // The other side may go and come back, and the socket with it.
            NetKind::Vhost => (layout::sockets(vm.directory()), LandlockAccess::ReadWrite),
            // No rule keeps from connecting.
            NetKind::User => continue,
            NetKind::Tap | NetKind::Bridge | NetKind::Macvtap => {
                (Path::new("/sys/class/net").join(&net.port), LandlockAccess::Read)
            }
        };
        // A path that isn't there fails the boot; `/sys` may show another network namespace.
        if let Ok(real) = path.canonicalize() {
            rules.push(LandlockRule::new(real, access));
        }
    }
    Ok(config.confined(rules))
}
